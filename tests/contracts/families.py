"""Small quantizers of every family that is trained in closed form, and vectors to train them on."""

import torch

from codeword.quantizers import (
    AdditiveQuantizer,
    Beam,
    Normalized,
    ProductQuantizer,
    Refined,
    ResidualQuantizer,
    Rotated,
    VectorQuantizer,
)
from codeword.training.run import EMConfig

DIM, SIZE = 6, 8
QUICK = EMConfig(steps=6, rounds=4)


def vectors(count=1500, seed=0):
    """Correlated features of different scales."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(99))
    return torch.randn(count, DIM, generator=generator) @ mix * torch.tensor([1.0, 1, 2, 2, 3, 3])


def levels(count=3, dim=DIM, size=SIZE):
    return [VectorQuantizer(dim, size) for _ in range(count)]


FAMILIES = {
    "vector": lambda: VectorQuantizer(DIM, SIZE),
    "product": lambda: ProductQuantizer([VectorQuantizer(2, SIZE), VectorQuantizer(4, 5)]),
    "optimized": lambda: Rotated(ProductQuantizer(levels(3, 2))),
    "residual": lambda: ResidualQuantizer([VectorQuantizer(DIM, size) for size in (8, 5, 3)], search=Beam(4)),
    "additive": lambda: AdditiveQuantizer(levels(), search=Refined(Beam(5), sweeps=2)),
    "normalized": lambda: Normalized(VectorQuantizer(DIM, SIZE)),
    "groups of residuals": lambda: ProductQuantizer([ResidualQuantizer(levels(2, 3)), VectorQuantizer(3, 4)]),
    "residuals of groups": lambda: ResidualQuantizer([ProductQuantizer(levels(2, 3)), VectorQuantizer(DIM, 4)]),
}


def error(quantizer, x):
    return float((x - quantizer.decode(quantizer.encode(x))).double().square().sum(1).mean())


def tables(quantizer):
    return [value for name, value in quantizer.state_dict().items() if name.endswith("table") or "rotation" in name]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(tables(one), tables(other), strict=True))
