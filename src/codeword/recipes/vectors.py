"""Quantizers for a matrix of vectors.

::

    codeword train vectors DATA --out MODEL --quantizer residual --levels 8 --size 256

On 100 000 SIFT descriptors of 128 features and two processor cores, eight codes of 256: seconds for a product
quantizer, a minute for a residual one, a few minutes for an additive one. The numbers to expect stand in
``results/vectors_sift.json``.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from codeword.codecs.vectors import CodeCounter, VectorCodec
from codeword.data.vectors import VectorSource, check_scale, open_vectors
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
from codeword.training.run import EMConfig, Progress

_IN_MEMORY = 1 << 30  # bytes of vectors that are held in memory; more are read from the file in every pass
_CHUNK = 8192  # vectors encoded at a time, between two calls of the progress
_MOST_LEVELS = 4096  # of a .cw file
_SEEDS = 1 << 62


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

    def __post_init__(self) -> None:
        least = {"levels": 1, "size": 1, "beam": 1, "sweeps": 0, "seeds": 1, "seed": 0}
        if self.steps is not None:
            least["steps"] = 1
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        if self.levels > _MOST_LEVELS:
            raise ValueError(f"a vector takes at most {_MOST_LEVELS} codes, got levels={self.levels}")
        if self.seed >= _SEEDS:
            raise ValueError(f"seed must be below {_SEEDS}, got {self.seed}")
        if self.quantizer is Family.VECTOR and self.levels != 1:
            raise ValueError(
                f"the family vector has one code per vector: leave levels at 1, got {self.levels}, or take residual"
            )
        if not 0 < self.validation < 1:
            raise ValueError(f"the share held out for validation must lie between 0 and 1, got {self.validation}")


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


def train(
    config: VectorsConfig,
    data: Path,
    out: Path,
    *,
    column: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> TrainedVectors:
    """Train on a file of vectors and save the model with its entropy tables.

    While it runs, ``OUT.resume`` keeps what is done; the same call goes on from there, and the file is deleted at the
    end. Vectors beyond a gigabyte stay in their file.

    Raises:
        ValueError: If the data cannot be read, is not finite, or has fewer vectors than codewords.
    """
    start = time.perf_counter()
    source = open_vectors(data, column)
    held = held_out(config, len(source), str(data))
    quantizer = build(config, source.dim)
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(config.seed))
    learned, unseen = _split(source, order[held:].sort().values, order[:held].sort().values)
    defaults = EMConfig()
    settings = EMConfig(
        steps=config.steps or defaults.steps,
        rounds=config.steps or defaults.rounds,
        seed=config.seed,
        seeds=config.seeds,
    )
    checkpoint = resume_file(out)
    told = _Told(progress, len(source))
    em.train(quantizer, learned, settings, validation=unseen, checkpoint=checkpoint, progress=told.training)
    codec, counter = VectorCodec(quantizer), CodeCounter(quantizer.sizes)
    errors = _distortion(quantizer, learned, told, counter)
    unseen_errors = _distortion(quantizer, unseen, told)
    codec.tables = counter.tables()
    codec.save_pretrained(out)
    checkpoint.unlink(missing_ok=True)
    return TrainedVectors(errors, unseen_errors, quantizer.bits_per_vector, time.perf_counter() - start)


def resume_file(out: Path) -> Path:
    """Where an interrupted training of a model is kept."""
    return Path(f"{out}.resume")


def held_out(config: VectorsConfig, count: int, name: str = "the data") -> int:
    """How many of so many vectors are held out for validation.

    Raises:
        ValueError: If too few are left to learn from.
    """
    if count < 2:
        raise ValueError(f"{name} has {count} vector: at least 2 are needed, one to learn from and one held out")
    held = min(max(1, round(count * config.validation)), count - 1)
    if count - held < config.size:
        raise ValueError(
            f"{name} has {count} vectors, {held} of them held out for validation: {config.size} codewords need at "
            f"least {config.size} to learn from; give more vectors or a smaller size"
        )
    return held


class _Part:
    """Some vectors of a file, in the file's order, read anew in every pass."""

    def __init__(self, source: VectorSource, places: Tensor):
        self.source, self.places = source, places

    @property
    def dim(self) -> int:
        return self.source.dim

    def __len__(self) -> int:
        return len(self.places)

    def chunks(self, rows: int = _CHUNK) -> Iterator[Tensor]:
        for places in self.places.split(rows):
            yield self.source[places]


def _split(source: VectorSource, learned: Tensor, unseen: Tensor) -> tuple[Tensor | _Part, Tensor | _Part]:
    """The two parts of a file, all of which is checked first, such that a bad row is named by its place there."""
    kept = 4 * len(source) * source.dim <= _IN_MEMORY
    whole = torch.empty(len(source) if kept else 0, source.dim)
    done = 0
    for chunk in source.chunks():
        check_scale(chunk, name=str(source.path))
        if kept:
            whole[done : done + len(chunk)] = chunk
        done += len(chunk)
    return (whole[learned], whole[unseen]) if kept else (_Part(source, learned), _Part(source, unseen))


class _Told:
    """Tells of training, then of the pass that measures the trained quantizer, as of one run."""

    def __init__(self, progress: Callable[[Progress], None] | None, measured: int):
        self._progress, self._left = progress, measured
        self._last: Progress | None = None

    def training(self, progress: Progress) -> None:
        self._last = progress
        self._tell(progress)

    def measuring(self, count: int) -> None:
        self._left -= count
        if self._last is not None:
            done = self._last.done + count
            self._last = self._last._replace(done=done, total=done)
            self._tell(self._last)

    def _tell(self, progress: Progress) -> None:
        if self._progress is not None:
            self._progress(progress._replace(total=progress.total + self._left))


def _distortion(
    quantizer: Quantizer, data: Tensor | _Part, told: _Told, counter: CodeCounter | None = None
) -> DistortionReport:
    total = Distortion(quantizer.dim)
    for chunk in data.split(_CHUNK) if isinstance(data, Tensor) else data.chunks(_CHUNK):
        codes = quantizer.encode(chunk)
        total.add(chunk, quantizer.decode(codes))
        told.measuring(len(chunk))
        if counter is not None:
            counter.add(codes.numpy())
    return total.report()


def build(config: VectorsConfig, dim: int) -> Quantizer:
    """The untrained quantizer of a configuration.

    Raises:
        ValueError: If the configuration does not fit the dimension.
    """
    if config.quantizer is Family.VECTOR:
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
