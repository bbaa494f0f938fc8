import math

import numpy as np
import pytest
import torch
from sklearn import datasets

from codeword.data.synthetic import (
    TOY_SETS,
    autoregressive_covariance,
    blobs,
    circles,
    correlated_gaussian,
    gaussian,
    low_rank_covariance,
    moons,
    reverse_water_filling,
    shannon_bound,
    swiss_roll,
    uniform,
)

COUNT = 20001  # odd, so that the halves differ
NOISE = 0.1


def distance_to_shape(points, shape):
    """Distance from every point to the nearest point of a finely sampled shape."""
    nearest = [torch.cdist(some.double(), shape.double()).amin(1) for some in points.split(2048)]
    return torch.cat(nearest)


def reference(name):
    """What scikit-learn makes without noise, at the size of our sets."""
    if name == "circles":
        return 10 * datasets.make_circles(COUNT, factor=0.5)[0]
    if name == "moons":
        return 10 * datasets.make_moons(COUNT)[0]
    return datasets.make_swiss_roll(COUNT, random_state=0)[0][:, [0, 2]]


@pytest.mark.parametrize("name", ["circles", "moons", "swiss-roll"])
def test_curves_are_those_of_scikit_learn_with_noise(name):
    shape = torch.from_numpy(reference(name))
    ours = TOY_SETS[name](COUNT, seed=0)
    away = distance_to_shape(ours, shape[::4])
    # Across a curve only one of the two noise components counts: its root mean square is the noise itself.
    assert away.square().mean().sqrt().item() == pytest.approx(NOISE, rel=0.05)
    # Along the curve the points are spread alike: the means of many smooth functions of the place agree.
    waves = torch.randn(2, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 5
    means = [torch.cos(points.double() @ waves).mean(0) for points in (ours, shape)]
    assert (means[0] - means[1]).abs().max() < 4 / math.sqrt(COUNT)


def test_blobs_are_as_even_as_those_of_scikit_learn():
    ours = blobs(COUNT, seed=0)  # three that lie far apart
    middle = np.random.default_rng(0).uniform(-10, 10, size=(3, 2))
    theirs, labels = datasets.make_blobs(COUNT, centers=middle, random_state=0)
    nearest = torch.cdist(ours.double(), torch.from_numpy(middle)).argmin(1)
    assert torch.bincount(nearest).tolist() == pytest.approx(np.bincount(labels).tolist(), abs=20)
    for blob in range(3):
        points = ours[nearest == blob].double()
        assert points.mean(0).tolist() == pytest.approx(middle[blob].tolist(), abs=0.05)
        assert points.var(0).tolist() == pytest.approx(theirs[labels == blob].var(0).tolist(), rel=0.05)


@pytest.mark.parametrize("name", sorted(TOY_SETS))
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_seeds_and_small_counts(name, count):
    first, again = (TOY_SETS[name](count, seed=5) for _ in range(2))
    assert torch.equal(first, again)
    assert (first.shape, first.dtype) == ((count, 2), torch.float32)
    assert count == 0 or not torch.equal(first, TOY_SETS[name](count, seed=6))


@pytest.mark.parametrize("make", [circles, moons, swiss_roll, blobs])
def test_order_carries_no_information(make):
    points = make(10000, seed=0)
    halves = [half.mean(0) for half in points.split(5000)]
    assert (halves[0] - halves[1]).abs().max() < 0.6


@pytest.mark.parametrize("make", [gaussian, uniform])
def test_moments_of_independent_numbers(make):
    numbers = make(4000, 64, seed=1, variance=140).double()
    assert numbers.mean().item() == pytest.approx(0, abs=0.1)
    assert numbers.var().item() == pytest.approx(140, rel=0.02)
    fourth = {gaussian: 3.0, uniform: 9 / 5}[make]
    assert (numbers**4).mean().item() / 140**2 == pytest.approx(fourth, rel=0.03)
    assert torch.equal(make(5, 3, seed=1), make(5, 3, seed=1))
    assert make(0, 3, seed=1).shape == (0, 3)


@pytest.mark.parametrize("covariance", [low_rank_covariance(12, rank=5, seed=0), autoregressive_covariance(12, 0.8)])
def test_correlated_vectors_have_their_covariance(covariance):
    vectors = correlated_gaussian(60000, covariance, seed=0).double()
    assert (vectors.T @ vectors / 60000 - covariance).abs().max() < 0.05
    assert torch.equal(correlated_gaussian(3, covariance, seed=2), correlated_gaussian(3, covariance, seed=2))


def test_covariances_by_hand():
    assert autoregressive_covariance(3, 0.5).tolist() == [[1, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 1]]
    low = low_rank_covariance(64, seed=0)
    assert torch.linalg.matrix_rank(low) == 17
    assert low.trace().item() == pytest.approx(64, rel=1e-12)


def test_shannon_bound_by_hand():
    assert shannon_bound(32, 64) == 0.5
    assert shannon_bound(0, 64, variance=140) == 140
    assert shannon_bound(128, 64, variance=2.0) == 0.125


@pytest.mark.parametrize("bits", [0, 0.5, 32, 300.0])
def test_water_filling_of_independent_numbers_is_the_shannon_bound(bits):
    filled = reverse_water_filling(bits, 3 * torch.eye(64))
    assert filled.distortion == pytest.approx(shannon_bound(bits, 64, variance=3), rel=1e-9)


@pytest.mark.parametrize("bits", [0.0, 0.3, 2.0, 7.5, 40.0])
@pytest.mark.parametrize(
    "covariance",
    [autoregressive_covariance(10, 0.9), torch.diag(torch.tensor([8.0, 4, 4, 1, 0.01, 0])), torch.ones(1, 1)],
)
def test_water_filling_equals_bisection_for_the_level(bits, covariance):
    variances = torch.linalg.eigvalsh(covariance.double()).clamp_min(0).tolist()
    low, high = 0.0, max(variances)
    for _ in range(200):
        level = (low + high) / 2
        rate = sum(max(0.0, math.log2(variance / level) / 2) for variance in variances if variance and level)
        low, high = (level, high) if rate > bits else (low, level)
    expected = sum(min(high, variance) for variance in variances) / len(variances)
    filled = reverse_water_filling(bits, covariance)
    assert filled.distortion == pytest.approx(expected, rel=1e-9)
    assert filled.active == sum(variance > high * (1 + 1e-9) for variance in variances) or bits == 0


def test_water_filling_of_nothing():
    assert reverse_water_filling(5, torch.zeros(3, 3)) == (0, 0, 0)


def test_low_rank_data_falls_as_published():
    """The published curve falls by 2^(-2 bits / 17): so does the bound, once all sources are coded."""
    covariance = low_rank_covariance(64, seed=0)
    at = {bits: reverse_water_filling(bits, covariance) for bits in (32, 40)}
    assert at[32].active == 17
    assert at[40].distortion / at[32].distortion == pytest.approx(2 ** (-16 / 17), rel=1e-9)
