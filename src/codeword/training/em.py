"""Quantizers trained on a matrix of vectors, in closed form: no gradient, no learning rate."""

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codeword.quantizers.additive import AdditiveQuantizer
from codeword.quantizers.base import Quantizer
from codeword.quantizers.config import describe
from codeword.quantizers.geometry import Euclidean
from codeword.quantizers.product import ProductQuantizer
from codeword.quantizers.residual import ResidualQuantizer
from codeword.quantizers.unit_scale import UnitScale
from codeword.quantizers.vector import VectorQuantizer
from codeword.quantizers.wrappers import Normalized, Rotated
from codeword.training.additive import additive_passes, train_additive
from codeword.training.lloyd import mean_error, train_kmeans, train_product, train_residual
from codeword.training.rotation import train_rotated
from codeword.training.run import EMConfig, Progress, Run, Step
from codeword.training.stream import VectorData, VectorStream


@dataclass(frozen=True)
class TrainingReport:
    """What a training run did.

    Attributes:
        error: Mean squared distance of training vectors from their reconstructions by the trained quantizer.
        validation: That of the validation vectors, ``None`` without them.
        seed: The seed whose result was kept.
        seconds: Wall time of this call.
        history: Every step, also those before a kill.
    """

    error: float
    validation: float | None
    seed: int
    seconds: float
    history: tuple[Step, ...]


class _Data(NamedTuple):
    """Training vectors and, for choosing, validation vectors, seen the same way."""

    training: VectorStream
    validation: VectorStream | None

    def changed(self, change: Callable[[Tensor], Tensor]) -> "_Data":
        return _Data(self.training.changed(change), self.validation and self.validation.changed(change))

    def centred(self) -> "tuple[_Data, Tensor]":
        """The same about the mean of the training vectors, and that mean."""
        mean = self.training.moments.mean
        return self.changed(lambda x: x - mean.to(x.device)), mean


@torch.no_grad()
def train(
    quantizer: Quantizer,
    data: VectorData | Float[Tensor, "count dim"],
    config: EMConfig | None = None,
    *,
    validation: VectorData | Float[Tensor, "_ dim"] | None = None,
    weights: Float[Tensor, " count"] | None = None,
    checkpoint: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> TrainingReport:
    """Train a quantizer on vectors, in closed form; its codebooks are overwritten.

    A vector quantizer by k-means; a product by k-means of its blocks; a rotated product by optimized product
    quantization; a residual quantizer greedily, level by level; an additive quantizer by alternating search and least
    squares. Products and residuals of other quantizers, and normalised ones, are trained part by part. Data that does
    not fit into memory is streamed, several times. In a process group every rank passes its own share and gets the
    same quantizer: ranks exchange sums only.

    Args:
        quantizer: What to train.
        data: A tensor, or anything with ``dim``, ``len`` and ``chunks(rows)``.
        config: The configuration.
        validation: Vectors that choose the best step and seed and end stages early; else the training error does.
        weights: Weight of every training vector.
        checkpoint: File to resume from if it exists, and to write to while training.
        progress: Called with every chunk and step, for example a :class:`~codeword.training.progress.ProgressBar`.

    Raises:
        ValueError: If data, weights or checkpoint do not fit, or if the quantizer has no closed-form training.
    """
    began, config = time.monotonic(), config or EMConfig()
    work = config.seeds * passes(quantizer, config)
    stored = quantizer.state_dict(keep_vars=True).values()
    if len({id(value) for value in stored}) < len(stored):
        raise ValueError("levels that share a codebook have no closed-form training: give every level its own")
    device = next(iter(stored)).device
    both = _Data(
        VectorStream(data, weights, chunk=config.chunk, device=device),
        None if validation is None else VectorStream(validation, chunk=config.chunk, device=device),
    )
    _check(quantizer, both)
    stream, held = both
    run = Run(
        config,
        identity=[describe(quantizer), stream.fingerprint(), held and held.fingerprint()] if checkpoint else [],
        total=work * len(stream),
        checkpoint=None if checkpoint is None else Path(checkpoint),
        progress=progress,
        device=device,
    )
    chosen: tuple[float, int, float, float | None] | None = None
    state: dict[str, Tensor] = {}
    for seed in range(config.seed, config.seed + config.seeds):
        run.config = replace(config, seed=seed)
        _train(quantizer, both, run, f"seed {seed} / ")
        error, judged = _error(quantizer, stream), None if held is None else _error(quantizer, held)
        found = (error if judged is None else judged, seed, error, judged)
        if chosen is None or found[0] < chosen[0]:
            chosen, state = found, copy.deepcopy(quantizer.state_dict())
    quantizer.load_state_dict(state)
    run.finish()
    assert chosen is not None
    _, seed, error, judged = chosen
    return TrainingReport(error, judged, seed, time.monotonic() - began, tuple(run.history))


def _check(quantizer: Quantizer, data: _Data) -> None:
    """Refuse data that does not fit; one pass over it."""
    for part, name in zip(data, ("training", "validation"), strict=True):
        if part is None:
            continue
        if part.dim != quantizer.dim:
            raise ValueError(f"the quantizer takes {quantizer.dim} features, the {name} vectors have {part.dim}")
        try:
            _ = part.moments
        except ValueError as error:
            raise ValueError(f"{name} data: {error}") from error


def passes(quantizer: Quantizer, config: EMConfig) -> int:
    """Passes over the data that training takes if no stage ends early, what reads it once aside.

    Raises:
        ValueError: If the quantizer has no closed-form training.
    """
    count = 0
    match quantizer:
        case VectorQuantizer():
            count = config.steps
        case ProductQuantizer():
            parts = _quantizers(quantizer.parts)
            count = config.steps if _plain(parts) else sum(passes(part, config) for part in parts)
        case ResidualQuantizer():
            count = sum(passes(stage, config) for stage in _quantizers(quantizer.stages))
        case AdditiveQuantizer():
            count = additive_passes(quantizer.levels, quantizer.dim, config)
        case Rotated(quantizer=ProductQuantizer() as product) if _plain(_quantizers(product.parts)):
            count = config.rounds  # what comes before takes a sample
        case Normalized() | UnitScale():
            count = passes(_quantizers([quantizer.quantizer])[0], config)
    if not count:
        raise ValueError(
            f"{type(quantizer).__name__} has no closed-form training: pass a vector, product, residual or additive "
            "quantizer, a rotated product of vector quantizers, or one of these inside Normalized"
        )
    return count


def _train(quantizer: Quantizer, data: _Data, run: Run, name: str) -> None:
    match quantizer:
        case VectorQuantizer():
            _train_vector(quantizer, data, run, name)
        case ProductQuantizer():
            _train_product(quantizer, data, run, name)
        case ResidualQuantizer():
            _train_levels(_quantizers(quantizer.stages), data, run, name, train_residual)
        case AdditiveQuantizer():
            _train_levels(_quantizers(quantizer.parts), data, run, name, train_additive)
        case Rotated(quantizer=ProductQuantizer() as product):
            about, mean = data.centred()
            sizes = product.sizes
            found = train_rotated(about.training, product.widths, sizes, run, validation=about.validation, name=name)
            quantizer.rotation.copy_(found.rotation)
            turned = (found.rotation.double() @ mean.double()).float()
            _assign(_quantizers(product.parts), found.tables, turned.split(product.widths))
        case Normalized(mean=mean, deviation=deviation):
            moments = data.training.moments
            mean.copy_(moments.mean)
            deviation.copy_(moments.deviation.where(moments.deviation > 0, 1.0))
            inner = _quantizers([quantizer.quantizer])[0]
            _train(inner, data.changed(lambda x: (x - mean) / deviation), run, name)
        case UnitScale():
            _train(quantizer.quantizer, data.changed(quantizer.direction), run, name)


def _train_vector(quantizer: VectorQuantizer, data: _Data, run: Run, name: str) -> None:
    size, geometry = quantizer.sizes[0], quantizer.codebook.geometry
    if _plain([quantizer]):
        about, mean = data.centred()
        table = train_kmeans(about.training, size, run, validation=about.validation, name=name) + mean
    else:  # angles are angles at the origin: nothing may be taken off
        table = train_kmeans(data.training, size, run, validation=data.validation, name=name, search=geometry.search)
    quantizer.codebook.assign(table)


def _train_product(quantizer: ProductQuantizer, data: _Data, run: Run, name: str) -> None:
    parts = _quantizers(quantizer.parts)
    if _plain(parts):
        about, mean = data.centred()
        widths, sizes = quantizer.widths, quantizer.sizes
        tables = train_product(about.training, widths, sizes, run, validation=about.validation, name=name)
        _assign(parts, tables, mean.split(widths))
        return
    left = 0
    for number, part in enumerate(parts):
        columns = slice(left, left + part.dim)
        _train(part, data.changed(lambda x, columns=columns: x[:, columns]), run, f"{name}part {number} / ")
        left += part.dim


def _train_levels(
    parts: Sequence[Quantizer],
    data: _Data,
    run: Run,
    name: str,
    trainer: Callable[..., list[Tensor]],
) -> None:
    if _plain(parts):
        about, mean = data.centred()
        sizes = [part.sizes[0] for part in parts]
        tables = trainer(about.training, sizes, run, validation=about.validation, name=name)
        _assign(parts, tables, [mean, *[torch.zeros_like(mean)] * (len(parts) - 1)])
        return
    for number, stage in enumerate(parts):
        _train(stage, data, run, f"{name}stage {number} / ")
        data = data.changed(lambda x, stage=stage: x - stage.decode(stage.encode(x)))


def _assign(parts: Sequence[Quantizer], tables: Sequence[Tensor], offsets: Sequence[Tensor]) -> None:
    for part, table, offset in zip(parts, tables, offsets, strict=True):
        assert isinstance(part, VectorQuantizer)
        part.codebook.assign(table + offset)


def _quantizers(modules: Iterable[nn.Module]) -> list[Quantizer]:
    return [module for module in modules if isinstance(module, Quantizer)]


def _plain(parts: Iterable[Quantizer]) -> bool:
    """Whether all parts are Euclidean vector quantizers, which are trained together."""
    return all(isinstance(part, VectorQuantizer) and isinstance(part.codebook.geometry, Euclidean) for part in parts)


def _error(quantizer: Quantizer, stream: VectorStream) -> float:
    return mean_error(stream, lambda chunk: [_distance(quantizer, chunk.vectors)])


def _distance(quantizer: Quantizer, x: Tensor) -> Tensor:
    return (x - quantizer.decode(quantizer.encode(x))).square().sum(1)
