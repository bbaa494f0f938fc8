"""Quantizers for a matrix of vectors.

    codeword train vectors DATA --out MODEL --quantizer residual --levels 8 --size 256

On 100 000 SIFT descriptors of 128 features and two processor cores, eight codes of 256: seconds for a product
quantizer, a minute for a residual one, a few minutes for an additive one. The numbers to expect stand in
``results/vectors_sift.json``.
"""

from dataclasses import dataclass
from enum import StrEnum

from codeword.quantizers import (
    AdditiveQuantizer,
    Beam,
    ProductQuantizer,
    Quantizer,
    Refined,
    ResidualQuantizer,
    Rotated,
    VectorQuantizer,
)


class Family(StrEnum):
    """The families of quantizers that are trained in closed form."""

    VECTOR = "vector"
    PRODUCT = "product"
    OPTIMIZED = "optimized"
    RESIDUAL = "residual"
    ADDITIVE = "additive"


@dataclass(frozen=True, kw_only=True)
class VectorsConfig:
    """What to train on a matrix.

    Attributes:
        quantizer: The family.
        levels: Codes per vector; 1 for the family ``vector``.
        size: Codewords per level.
        beam: Width of the search of residual and additive codes.
        sweeps: Sweeps of iterated conditional modes after the beam of additive codes.
    """

    quantizer: Family = Family.RESIDUAL
    levels: int = 8
    size: int = 256
    beam: int = 5
    sweeps: int = 4


def build(config: VectorsConfig, dim: int) -> Quantizer:
    """The untrained quantizer of a configuration.

    Raises:
        ValueError: If the configuration does not fit the dimension.
    """
    if config.levels < 1 or config.size < 1:
        raise ValueError(f"levels and size must be at least 1, got {config.levels} and {config.size}")
    if config.quantizer is Family.VECTOR:
        if config.levels != 1:
            raise ValueError(f"the family vector has one code per vector: pass levels=1, got {config.levels}")
        return VectorQuantizer(dim, config.size)
    if config.quantizer in (Family.PRODUCT, Family.OPTIMIZED):
        if config.levels > dim:
            raise ValueError(f"{config.levels} blocks do not fit vectors of {dim} features: take at most {dim} levels")
        # As even as it goes: a dimension need not be a multiple of the number of blocks.
        widths = [dim // config.levels + (block < dim % config.levels) for block in range(config.levels)]
        product = ProductQuantizer([VectorQuantizer(width, config.size) for width in widths])
        return Rotated(product) if config.quantizer is Family.OPTIMIZED else product
    levels = [VectorQuantizer(dim, config.size) for _ in range(config.levels)]
    if config.quantizer is Family.RESIDUAL:
        return ResidualQuantizer(levels, search=Beam(config.beam))
    return AdditiveQuantizer(levels, search=Refined(Beam(config.beam), sweeps=config.sweeps))
