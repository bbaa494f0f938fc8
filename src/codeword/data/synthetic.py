"""Data of known distribution: the 2-D toy sets, Gaussian and uniform vectors, and the least distortion they allow.

The toy sets follow the definitions of scikit-learn's generators. Neither paper publishes its parameters; those used
here were worked out from the published errors. NSVQ's Table 2 (per dimension) at 12 bits is what high-rate theory
gives, ``D K = G ||f||_{1/2}`` with the hexagonal ``G = 0.0802`` of the plane, for three blobs of standard deviation 1
far apart, and for circles and moons enlarged ten times and the swiss roll as it is, all with noise of standard
deviation 0.1; at 6 bits, where a noisy curve is coded like a line, the circles' radii come out as 10 and 5.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

_TOY_NOISE = 0.1  # standard deviation per coordinate, beside shapes of about 20 across


def blobs(count: int, *, seed: int, centers: int = 3) -> Float[Tensor, "count 2"]:
    """Gaussian blobs of standard deviation 1, equally many points each, centred uniformly in the square [-10, 10]^2."""
    random = np.random.default_rng(seed)
    middle = random.uniform(-10, 10, size=(centers, 2))
    return _shuffled(random, middle[np.arange(count) % centers], noise=1.0)


def circles(count: int, *, seed: int) -> Float[Tensor, "count 2"]:
    """Two circles about the origin of radii 10 and 5, half of the points evenly spaced on each, and noise."""
    random = np.random.default_rng(seed)
    outer = count // 2
    angles = np.concatenate([_turns(outer), _turns(count - outer)])
    radii = np.where(np.arange(count) < outer, 10.0, 5.0)
    return _shuffled(random, radii[:, None] * _directions(angles), _TOY_NOISE)


def moons(count: int, *, seed: int) -> Float[Tensor, "count 2"]:
    """Two interlocked half circles of radius 10, half of the points evenly spaced on each, and noise."""
    random = np.random.default_rng(seed)
    outer = count // 2
    upper = _directions(np.linspace(0, math.pi, outer))
    lower = np.array([1.0, 0.5]) - _directions(np.linspace(0, math.pi, count - outer))
    return _shuffled(random, 10 * np.concatenate([upper, lower]), _TOY_NOISE)


def swiss_roll(count: int, *, seed: int) -> Float[Tensor, "count 2"]:
    """The spiral ``t (cos t, sin t)``, t uniform from 1.5 to 4.5 pi, and noise: the swiss roll seen from its end."""
    random = np.random.default_rng(seed)
    angles = 1.5 * math.pi * (1 + 2 * random.uniform(size=count))
    return _shuffled(random, angles[:, None] * _directions(angles), _TOY_NOISE)


TOY_SETS = {"blobs": blobs, "circles": circles, "moons": moons, "swiss-roll": swiss_roll}


def gaussian(count: int, dim: int, *, seed: int, variance: int | float = 1.0) -> Float[Tensor, "count dim"]:
    """Independent Gaussian numbers of mean 0."""
    numbers = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    return torch.from_numpy(numbers).mul_(math.sqrt(variance))


def uniform(count: int, dim: int, *, seed: int, variance: int | float = 1.0) -> Float[Tensor, "count dim"]:
    """Independent uniform numbers of mean 0, that is from ``-sqrt(3 variance)`` to ``sqrt(3 variance)``.

    The uncorrelated data of the ICASSP 2023 paper is unpublished; its errors fit uniform numbers of variance 140 per
    dimension better than Gaussian ones. Ratios between methods are what can be compared.
    """
    edge = math.sqrt(3 * variance)
    return torch.from_numpy(np.random.default_rng(seed).uniform(-edge, edge, (count, dim)).astype(np.float32))


def correlated_gaussian(count: int, covariance: Float[Tensor, "dim dim"], *, seed: int) -> Float[Tensor, "count dim"]:
    """Gaussian vectors of mean 0 with the given covariance."""
    variances, axes = torch.linalg.eigh(covariance.double())
    # The symmetric root, because the signs of eigenvectors differ between machines; Cholesky would refuse a low rank.
    root = (axes * variances.clamp_min(0).sqrt()) @ axes.T
    return (torch.from_numpy(np.random.default_rng(seed).standard_normal((count, len(root)))) @ root).float()


def low_rank_covariance(dim: int, *, seed: int, rank: int = 17) -> Float[Tensor, "dim dim"]:
    """Covariance of ``rank`` independent sources mixed at random into ``dim`` numbers, scaled to a trace of ``dim``.

    The correlated data of the ICASSP 2023 paper is unpublished. Its errors fall by ``2^(-2 bits / 17)``, as they do
    when 17 sources fill 64 dimensions, and product quantization ends 6.7 times above residual quantization. Sources
    mixed over all dimensions do that, because every block of 16 numbers then looks nearly uncorrelated by itself:
    with k-means codebooks of 4 x 256 the ratio here is 3.7, published 4.2. Correlation between neighbours
    (``autoregressive_covariance``) gives 1.1 and is ruled out.
    """
    mixing = torch.from_numpy(np.random.default_rng(seed).standard_normal((dim, rank)))
    covariance = mixing @ mixing.T
    return covariance * (dim / covariance.trace())


def autoregressive_covariance(dim: int, correlation: float) -> Float[Tensor, "dim dim"]:
    """Covariance ``correlation^|i - j|`` of a first-order autoregressive sequence of variance 1."""
    places = torch.arange(dim, dtype=torch.float64)
    return correlation ** (places[:, None] - places).abs()


def shannon_bound(bits: int | float, dim: int, *, variance: int | float = 1.0) -> float:
    """Least mean squared error per dimension of any code of ``bits`` per vector, for independent Gaussian numbers.

    ``D = variance * 2^(-2 bits / dim)`` (Cover and Thomas, section 10.3.2)
    """
    return variance * 2 ** (-2 * bits / dim)


class WaterFilling(NamedTuple):
    """Solution of reverse water-filling.

    Attributes:
        distortion: Least mean squared error per dimension.
        level: Error of every component that is coded at all.
        active: How many components are coded.
    """

    distortion: float
    level: float
    active: int


def reverse_water_filling(bits: int | float, covariance: Float[Tensor, "dim dim"]) -> WaterFilling:
    """Least distortion of Gaussian vectors at ``bits`` per vector (Cover and Thomas, section 10.3.3).

    ``D = sum_i min(level, variance_i) / dim`` with the level at which ``bits = sum_i max(0, log2(variance_i / level)
    / 2)``, over the variances along the principal axes. For independent numbers it is ``shannon_bound``.
    """
    variances = torch.linalg.eigvalsh(covariance.double()).flip(0).clamp_min(0)
    log_sums = variances.log2().cumsum(0)
    active, level = int((variances > 0).sum()), 0.0
    while active:
        level = 2.0 ** ((float(log_sums[active - 1]) - 2 * bits) / active)
        if level <= float(variances[active - 1]):
            break
        active -= 1  # the weakest component is not worth a bit: the others share them
    error = active * level + float(variances[active:].sum())
    return WaterFilling(error / len(variances), level, active)


def _turns(count: int) -> npt.NDArray[np.float64]:
    return np.linspace(0, 2 * math.pi, count, endpoint=False)


def _directions(angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _shuffled(random: np.random.Generator, points: npt.NDArray[np.float64], noise: float) -> Float[Tensor, "count 2"]:
    noisy = points + random.normal(scale=noise, size=points.shape)
    return torch.from_numpy(random.permutation(noisy).astype(np.float32))
