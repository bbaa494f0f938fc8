"""What is mixed into the encoder's input and never into a tokenizer's: tokens are those of the sample alone.

::

    sample n ─────┬────────────────────────────────────► tokens
                  └──► mixing ──► encoder, decoder ──► predictions of these tokens
    sample n + 1 ──────┘ ▲
                         └── drawn from (seed, n)

Samples are numbered in the order in which they are drawn, through all batches. The partner of a sample is the one drawn
next, so a rank reads one sample more than its share, and what is mixed depends neither on the size of a batch nor on
the number of ranks.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.pretraining.label_mixing import LabelMixing
from codeword.quantizers.config import register


@dataclass(frozen=True, kw_only=True)
class Mixing(ABC):
    """The contract of a mixing augmentation, which changes a normalised sample.

    Attributes:
        probability: Share of samples that are changed.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"a share of samples is a number from 0 to 1, got probability={self.probability}")

    @abstractmethod
    def __call__(
        self,
        x: Float[Tensor, "channels *size"],
        other: Float[Tensor, "channels *size"],
        generator: torch.Generator,
    ) -> Float[Tensor, "channels *size"]:
        """A sample with another mixed in; both stay as they were."""


@register
@dataclass(frozen=True, kw_only=True)
class WithPartner(Mixing):
    """Two samples in one, of which the sample itself has the larger share: the tokens to be predicted are its own.

    Attributes:
        rule: How; where what it draws gives the partner the larger share, the two change places.
    """

    rule: LabelMixing

    def __call__(
        self,
        x: Float[Tensor, "channels *size"],
        other: Float[Tensor, "channels *size"],
        generator: torch.Generator,
    ) -> Float[Tensor, "channels *size"]:
        before = generator.get_state()
        made = self.rule(x, other, generator)
        return made.values if made.share >= 0.5 else self.rule(other, x, generator.set_state(before)).values


@register
@dataclass(frozen=True, kw_only=True)
class AddedNoise(Mixing):
    """Normal noise on every value, of a deviation drawn from 0 to ``most``; for log-mels it multiplies energies.

    Attributes:
        most: Largest deviation of the noise; normalised pixels have one of 1, log-mels of 0.5.
    """

    most: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.most >= 0:
            raise ValueError(f"the deviation of noise is 0 or more, got most={self.most}")

    def __call__(
        self,
        x: Float[Tensor, "channels *size"],
        other: Float[Tensor, "channels *size"],
        generator: torch.Generator,
    ) -> Float[Tensor, "channels *size"]:
        deviation = self.most * torch.rand((), generator=generator)
        return x + deviation * torch.randn(x.shape, generator=generator)


def mixed(
    values: Float[Tensor, "batch channels *size"],
    following: Float[Tensor, "1 channels *size"],
    mixings: Sequence[Mixing],
    seeds: Sequence[int],
) -> Float[Tensor, "batch channels *size"]:
    """Every sample after all mixings, its partner the next one.

    Args:
        values: Samples in their order.
        following: The one after them.
        mixings: What is done to a sample, in this order.
        seeds: Of the draws for every sample.
    """
    rows: list[Tensor] = []
    for x, other, seed in zip(values, torch.cat([values[1:], following]), seeds, strict=True):
        changed, generator = x, torch.Generator().manual_seed(seed)
        for part in mixings:
            if torch.rand((), generator=generator) < part.probability:
                changed = part(changed, other, generator)
        rows.append(changed)
    return torch.stack(rows)
