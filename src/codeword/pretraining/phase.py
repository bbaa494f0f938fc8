"""What all phases of a pretraining share: batches with their tokens and masks, and how they are trained."""

import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from codeword.nn.swin import Swin
from codeword.nn.transformer import Transformer
from codeword.pretraining.ahead import read_ahead
from codeword.pretraining.cache import TokenCache
from codeword.pretraining.frozen import Frozen
from codeword.pretraining.masking import Masking, MaskRule, RandomMask, thinned
from codeword.pretraining.mixing import Mixing, mixed
from codeword.pretraining.samples import Drawn, Inputs, Order, Samples
from codeword.pretraining.tokenizer import Tokenizer
from codeword.quantizers.config import describe
from codeword.training.task import Task

_WITHOUT_EFFECT = ("recompute", "ahead")  # on numbers


class Batch:
    """What a step gets.

    No collection, so that the loop moves it to a device and leaves its precision alone: tokens that are made under
    bfloat16 have to be those of the inputs as they were read.

    Args:
        drawn: Which samples and views.
        inputs: Those.
        seen: What the encoder gets in place of their values; ``None`` where nothing is mixed in.
        codes: Their tokens; ``None`` where the step makes them, or has no use for them.
    """

    def __init__(
        self,
        drawn: Drawn,
        inputs: Inputs,
        seen: Float[Tensor, "batch channels *size"] | None = None,
        codes: Int[Tensor, "batch patches levels"] | None = None,
    ):
        self.drawn, self.inputs, self.seen, self.codes = drawn, inputs, seen, codes

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        moved = [None if part is None else part.to(device) for part in (self.inputs.valid, self.seen, self.codes)]
        valid, seen, codes = moved
        return Batch(self.drawn, Inputs(self.inputs.values.to(device), valid), seen, codes)


class Tokens(ABC):
    """Where the tokens of a phase come from.

    Attributes:
        kept: Whether they are read beside the inputs before a step, or made in the step.
    """

    kept: ClassVar[bool]

    @abstractmethod
    def codes(self, drawn: Drawn, inputs: Inputs) -> Int[Tensor, "batch patches levels"]:
        """Tokens of the samples of a batch."""


class CachedTokens(Tokens):
    """Read from a cache."""

    kept = True

    def __init__(self, cache: TokenCache):
        self.cache = cache

    def codes(self, drawn: Drawn, inputs: Inputs) -> Int[Tensor, "batch patches levels"]:
        return self.cache.read(drawn.samples, drawn.views)


class OnlineTokens(Tokens):
    """Made of every batch where its inputs are, in the tokenizer's own precision: the same that a cache holds."""

    kept = False

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = Frozen(tokenizer)

    def codes(self, drawn: Drawn, inputs: Inputs) -> Int[Tensor, "batch patches levels"]:
        with torch.autocast(inputs.values.device.type, enabled=False):
            return self.tokenizer.beside(inputs.values).encode(inputs.values, inputs.valid)


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """How a phase is trained.

    Attributes:
        batch: Samples of a batch, all ranks together; a step of the loop takes one batch or accumulates several.
        views: Fixed views of a sample; ``None``: new ones in every epoch, whose tokens cannot be cached.
        repeats: So many views of a sample follow each other; see ``Order``.
        window: Samples within which those of a few files are mixed, for shards on disks that are slow to seek; ``None``
            mixes all with all.
        learning_rate: Of AdamW.
        betas: Of AdamW.
        weight_decay: Of AdamW, on matrices alone.
        mask: Which patches the encoder sees.
        predicted: Share of the masked patches that are predicted, drawn anew in every step; the others are neither
            computed nor seen (Fu et al. 2024 need a quarter of them). In validation all are.
        mixing: What is mixed into the encoder's input, in this order.
        seed: Of the order, of masks and of what is mixed in.
        recompute: Save memory: the inside of blocks is computed again for the gradient, and not kept.
        ahead: Batches that another thread reads before they are asked for; 0 for none.
    """

    batch: int = 64
    views: int | None = 4
    repeats: int = 1
    window: int | None = None
    learning_rate: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 1e-4
    mask: MaskRule = field(default_factory=RandomMask)
    predicted: float = 1.0
    mixing: tuple[Mixing, ...] = ()
    seed: int = 0
    recompute: bool = False
    ahead: int = 2

    def __post_init__(self) -> None:
        least = {"batch": 1, "views": 1, "repeats": 1, "window": 1, "ahead": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise ValueError(f"{name} of a PhaseConfig must be at least {bound}, got {value}")
        if not 0 < self.predicted <= 1:
            raise ValueError(f"predicted of a PhaseConfig is a share above 0 and at most 1, got {self.predicted}")


class PhaseTask(Task[Batch]):
    """The contract of a phase: what it learns from, and in which order.

    All that is drawn for a sample belongs to its place in the order of the whole run, which neither the size of a batch
    nor the number of ranks changes: two batches that a step accumulates are one batch of twice the size.

    Args:
        samples: To learn from.
        held: To validate on.
        config: How.
    """

    tokens: Tokens | None = None

    def __init__(self, samples: Samples, held: Samples, config: PhaseConfig):
        super().__init__()
        self.samples, self.held, self.config = samples, held, config
        views = sys.maxsize if config.views is None else config.views
        window = None if config.window is None else samples.window(config.window)
        self.order = Order(len(samples), views, config.batch, config.seed, config.repeats, window)

    @abstractmethod
    def identity(self) -> Mapping[str, object]:
        """What is trained and with what, as plain values: a checkpoint goes on only under the same."""

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[Batch]:
        return read_ahead(self._batches(start, rank, world_size), self.config.ahead)

    def held_out(self) -> Iterator[Batch]:
        """All held-out samples as they are, on the device of the task."""
        device = next(self.parameters()).device
        for batch in read_ahead(self._held_out(), self.config.ahead):
            yield batch.to(device)

    def masking(self, batch: Batch, purpose: str) -> Masking:
        """The patches of a batch, divided by the rule."""
        key = torch.tensor(zlib.crc32(f"{self.config.seed} {purpose}".encode()), device=batch.inputs.values.device)
        first = self._place(batch.drawn)
        drawn = self.config.mask.draw(self.samples.grid, len(batch.inputs.values), key, first_row=first)
        return thinned(drawn, self.config.predicted if self.training else 1.0, key, first_row=first)

    def optimizer(self, modules: Iterable[nn.Module], learning_rate: float) -> Optimizer:
        """AdamW for modules, whose blocks are recomputed from now on if that is wanted."""
        modules = list(modules)
        for part in (part for module in modules for part in module.modules()):
            if isinstance(part, Transformer | Swin):
                part.recompute = self.config.recompute
        weights = [p for module in modules for p in module.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": self.config.weight_decay},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return AdamW(groups, lr=learning_rate, betas=self.config.betas)

    def settings(self) -> Mapping[str, object]:
        numbers = {part.name: getattr(self.config, part.name) for part in fields(self.config)}
        kept = {name: value for name, value in numbers.items() if name not in _WITHOUT_EFFECT}
        described = {"mask": describe(self.config.mask), "mixing": describe(self.config.mixing)}
        return {**self._data, **kept, **described, **self.identity()}

    @cached_property
    def _data(self) -> Mapping[str, object]:
        parts = {"data": self.samples, "held-out": self.held}
        return {f"{name} {key}": value for name, part in parts.items() for key, value in part.configuration().items()}

    def _place(self, drawn: Drawn) -> int:
        """That of a rank's first sample, in the order of the whole run."""
        return drawn.number * self.config.batch + drawn.first_row

    def _batches(self, start: int, rank: int, world_size: int) -> Iterator[Batch]:
        number = start
        while True:
            drawn = self.order.drawn(number, rank, world_size)
            inputs = self.samples.inputs(drawn.samples, drawn.views)
            codes = self.tokens.codes(drawn, inputs) if self.tokens is not None and self.tokens.kept else None
            yield Batch(drawn, inputs, self._seen(drawn, inputs, rank, world_size), codes)
            number += 1

    def _seen(self, drawn: Drawn, inputs: Inputs, rank: int, world_size: int) -> Tensor | None:
        """The inputs with what is mixed in; the partner of the last one is the first of the next share."""
        if not self.config.mixing:
            return None
        last = rank + 1 == world_size
        following = self.order.drawn(drawn.number + last, 0 if last else rank + 1, world_size)
        partner = self.samples.inputs(following.samples[:1], following.views[:1])
        first = self._place(drawn)
        keys = [f"{self.config.seed} mixing {place}" for place in range(first, first + len(inputs.values))]
        seeds = [zlib.crc32(key.encode()) for key in keys]
        return mixed(inputs.values, partner.values, self.config.mixing, seeds)

    def _held_out(self) -> Iterator[Batch]:
        for number, start in enumerate(range(0, len(self.held), self.config.batch)):
            samples = list(range(start, min(start + self.config.batch, len(self.held))))
            drawn = Drawn(number, 0, samples, [0] * len(samples))
            yield Batch(drawn, self.held.inputs(samples, drawn.views))
