"""Quantizers for a matrix of vectors.

    codeword train vectors DATA --out MODEL --quantizer residual --levels 8 --size 256

On 100 000 SIFT descriptors of 128 features and two processor cores, eight codes of 256: seconds for a product
quantizer, a minute for a residual one, a few minutes for an additive one. The numbers to expect stand in
``results/vectors_sift.json``.
"""

import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from codeword.codecs.vectors import VectorCodec
from codeword.data.vectors import VectorSource, check_finite, open_vectors
from codeword.metrics.distortion import Distortion, DistortionReport
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
from codeword.training import em
from codeword.training.progress import ProgressBar
from codeword.training.run import EMConfig


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
        steps: Iterations of training; ``None`` takes those of ``EMConfig``.
        seed: Seeds every draw.
        seeds: Runs from different seeds, of which the best is kept.
        validation: Share of the vectors held out.
    """

    quantizer: Family = Family.RESIDUAL
    levels: int = 8
    size: int = 256
    beam: int = 5
    sweeps: int = 4
    steps: int | None = None
    seed: int = 0
    seeds: int = 1
    validation: float = 0.05


class TrainedVectors(NamedTuple):
    """What ``train`` reports.

    Attributes:
        training: Errors on the vectors it learned from.
        validation: Errors on those held out.
        bits_per_vector: Rate of the codes at fixed width.
        seconds: Wall-clock time.
    """

    training: DistortionReport
    validation: DistortionReport
    bits_per_vector: float
    seconds: float


def train(config: VectorsConfig, data: Path, out: Path, *, column: str | None = None) -> TrainedVectors:
    """Train on a file of vectors and save the model with its entropy tables.

    Raises:
        ValueError: If the data cannot be read, is not finite, or has fewer vectors than codewords.
    """
    start = time.perf_counter()
    source = open_vectors(data, column)
    held = min(max(1, round(len(source) * config.validation)), len(source) - 1)
    if not 0 < config.validation < 1 or len(source) - held < config.size:
        raise ValueError(
            f"{data} has {len(source)} vectors: {config.size} codewords need as many, and a share in (0, 1) held out"
        )
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(config.seed))
    learned, unseen = (_rows(source, order[part].sort().values) for part in (slice(held, None), slice(held)))
    quantizer = build(config, source.dim)
    defaults = EMConfig()
    settings = EMConfig(
        steps=config.steps or defaults.steps,
        rounds=config.steps or defaults.rounds,
        seed=config.seed,
        seeds=config.seeds,
    )
    checkpoint = Path(f"{out}.resume")
    em.train(quantizer, learned, settings, validation=unseen, checkpoint=checkpoint, progress=ProgressBar())
    codec = VectorCodec(quantizer)
    codec.learn_tables(learned)
    codec.save_pretrained(out)
    errors, unseen_errors = _distortion(quantizer, learned), _distortion(quantizer, unseen)
    return TrainedVectors(errors, unseen_errors, quantizer.bits_per_vector, time.perf_counter() - start)


def _rows(source: VectorSource, places: Tensor) -> Tensor:
    rows = source[places]
    check_finite(rows, name=str(source.path))
    return rows


def _distortion(quantizer: Quantizer, x: Tensor) -> DistortionReport:
    total = Distortion(x.shape[1])
    for chunk in x.split(65536):
        total.add(chunk, quantizer.decode(quantizer.encode(chunk)))
    return total.report()


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
