import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.metrics.distortion import Distortion, distortion, mse_per_dimension, relative_error, squared_error
from reference import distortion as slow

RELATIVE = 1e-12  # of float64 sums over a few thousand float32 numbers


def pair(seed, *shape, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(shape, generator=generator) + offset
    return vectors, vectors + 0.1 * torch.randn(shape, generator=generator)


def test_values_by_hand():
    vectors, copies = torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.tensor([[3.0, 4.0], [4.0, 1.0]])
    assert squared_error(vectors, copies) == (25 + 1) / 2
    assert mse_per_dimension(vectors, copies) == 26 / 4
    assert relative_error(vectors, copies) == 26 / 8  # the variance is 4 per vector
    assert distortion(vectors, copies).num_vectors == 2


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(2, 30), st.integers(1, 5), st.sampled_from([0.0, 5000.0]))
def test_equals_loops_with_exact_sums(seed, rows, dim, offset):
    vectors, copies = pair(seed, rows, dim, offset=offset)
    error = slow.squared_error(vectors.tolist(), copies.tolist())
    report = distortion(vectors, copies)
    assert report.squared_error == pytest.approx(error, rel=RELATIVE)
    assert report.mse_per_dimension == pytest.approx(error / dim, rel=RELATIVE)
    assert report.relative_error == pytest.approx(error / slow.variance(vectors.tolist()), rel=1e-9)


def test_mean_as_the_only_codeword_has_relative_error_one():
    vectors, _ = pair(0, 1000, 8, offset=3.0)
    mean = vectors.double().mean(0).expand(1000, 8)
    assert relative_error(vectors.double(), mean) == pytest.approx(1, rel=RELATIVE)


@pytest.mark.parametrize("size", [1, 7, 999, 1000, 5000])
def test_chunks_add_up(size):
    vectors, copies = pair(1, 1000, 6, offset=100.0)
    total = Distortion(6)
    for rows, their in zip(vectors.split(size), copies.split(size), strict=True):
        total.add(rows, their)
    total.add(vectors[:0], copies[:0])
    assert total.report() == pytest.approx(distortion(vectors, copies), rel=1e-9)


def test_many_vectors_pass_through_several_blocks():
    vectors, copies = pair(2, 40000, 2, offset=5000.0)
    rows, their = vectors.double(), copies.double()
    expected = (rows - their).square().sum() / (rows - rows.mean(0)).square().sum()
    assert relative_error(vectors, copies) == pytest.approx(expected.item(), rel=1e-9)


def test_any_leading_shape():
    vectors, copies = pair(3, 4, 5, 6)
    assert distortion(vectors, copies) == distortion(vectors.reshape(20, 6), copies.reshape(20, 6))
    assert distortion(vectors[0, 0], copies[0, 0]).num_vectors == 1


def test_vectors_that_are_all_equal():
    same = torch.ones(3, 2)
    assert relative_error(same, same) == 0
    assert relative_error(same, same + 1) == math.inf
    assert squared_error(same, same + 1) == 2


def test_nothing_measured_is_an_error():
    with pytest.raises(ValueError, match="the distortion of no vectors is undefined"):
        squared_error(torch.empty(0, 4), torch.empty(0, 4))
    with pytest.raises(ValueError, match="vectors must have 4 dimensions, as announced, got 3"):
        Distortion(4).add(torch.ones(2, 3), torch.ones(2, 3))


def test_measuring_keeps_no_graph():
    vectors = torch.ones(2, 2, requires_grad=True)
    total = Distortion(2)
    total.add(vectors, vectors * 2)
    assert total.report().squared_error == 2
