"""Quantizers with given codebooks, and one way to compare neighbours with a reference."""

import numpy as np
import torch

from codeword.quantizers import (
    AdditiveQuantizer,
    Beam,
    Normalized,
    ProductQuantizer,
    Projected,
    ResidualQuantizer,
    Rotated,
    VectorQuantizer,
)

NEAR = 1e-6  # of |q|^2 + |x|^2: closer squared distances count as a tie


def level(generator, dim, size, scale=1.0, offset=0.0):
    quantizer = VectorQuantizer(dim, size)
    quantizer.codebook.assign(scale * torch.randn(size, dim, generator=generator) + offset)
    return quantizer.eval()


def rotation(generator, dim):
    return torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))[0].float()


def build(kind, *, dim=12, sizes=(16, 16, 16, 16), seed=0, offset=0.0):
    """A quantizer of a kind, with random codebooks."""
    return _KINDS[kind](torch.Generator().manual_seed(seed), dim, sizes, offset)


def _stages(generator, dim, sizes, offset):
    return [level(generator, dim, size, 0.7**m, offset) for m, size in enumerate(sizes)]


def _product(generator, dim, sizes, offset):
    return ProductQuantizer([level(generator, dim // len(sizes), size, offset=offset) for size in sizes]).eval()


def _groups(generator, dim, sizes, offset):
    levels = _stages(generator, dim // 2, sizes, offset)
    half = len(levels) // 2
    return ProductQuantizer([ResidualQuantizer(levels[:half]), ResidualQuantizer(levels[half:])]).eval()


def _rotated(generator, dim, sizes, offset):
    turned = Rotated(_product(generator, dim, sizes, offset))
    turned.rotation.copy_(rotation(generator, dim))
    return turned.eval()


def _normalized(generator, dim, sizes, offset):
    scaled = Normalized(_product(generator, dim, sizes, offset))
    scaled.standardize(torch.randn(100, dim, generator=generator) * torch.arange(1, dim + 1) + 3)
    return scaled.eval()


def _projected(generator, dim, sizes, offset):
    torch.manual_seed(0)
    return Projected(_product(generator, len(sizes), sizes, offset), dim).eval()


_KINDS = {
    "vector": lambda g, dim, sizes, offset: level(g, dim, sizes[0], offset=offset),
    "product": _product,
    "residual": lambda *given: ResidualQuantizer(_stages(*given)).eval(),
    "beam": lambda *given: ResidualQuantizer(_stages(*given), search=Beam(5)).eval(),
    "additive": lambda *given: AdditiveQuantizer(_stages(*given)).eval(),
    "groups": _groups,
    "rotated": _rotated,
    "normalized": _normalized,
    "projected": _projected,
}


def random_codes(sizes, count, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (count,), generator=generator) for size in sizes], 1)


def assert_same_neighbours(found, expected, queries, vectors, metric="l2"):
    """Equal ids, except where the distances of the two in float64 are nearer than ``NEAR``; equal distances."""
    ids, distances = expected
    assert found.ids.shape == ids.shape
    assert found.ids.dtype == torch.int64 and found.distances.dtype == torch.float32
    scale = np.square(queries).sum(1)[:, None] + (np.square(vectors).sum(1).max() if len(vectors) else 0.0)
    actual = found.ids.numpy()
    assert ((actual < 0) == (ids < 0)).all()
    gaps = np.where(ids < 0, 0.0, _values(queries, vectors, actual, metric) - np.where(ids < 0, 0.0, distances))
    assert (np.abs(gaps)[actual != ids] <= (NEAR * scale * np.ones_like(gaps))[actual != ids]).all()
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in actual)
    np.testing.assert_allclose(found.distances.numpy(), distances, rtol=1e-5, atol=float(NEAR * scale.max()))


def _values(queries, vectors, ids, metric):
    if not len(vectors):
        return np.zeros(ids.shape)
    chosen = np.asarray(vectors, dtype=np.float64)[np.maximum(ids, 0)]
    wide = np.asarray(queries, dtype=np.float64)[:, None]
    return np.square(chosen - wide).sum(-1) if metric == "l2" else (chosen * wide).sum(-1)
