"""Two training samples in one, whose labels are mixed as they are: for fine-tuning with labels.

Each rule is a function of two samples and a generator; it says which share of the label is the first one's.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from codeword.data.audio_samples import AudioSample, MelStatistics, normalized
from codeword.data.mel_augment import MelMixup, SpecAugment
from codeword.quantizers.config import register


class Mixture(NamedTuple):
    """Two samples in one.

    Attributes:
        values: What is seen.
        share: How much of the label is the first sample's; the rest is the other's.
    """

    values: Float[Tensor, "channels *size"]
    share: float


class LabelMixing(ABC):
    """The contract of a rule."""

    @abstractmethod
    def __call__(
        self,
        x: Float[Tensor, "channels *size"],
        other: Float[Tensor, "channels *size"],
        generator: torch.Generator,
    ) -> Mixture:
        """The mixture; both stay as they were."""


@register
@dataclass(frozen=True, kw_only=True)
class Mixup(LabelMixing):
    """The weighted mean of both, the weight drawn from Beta(shape, shape) (Zhang et al. 2018).

    Attributes:
        shape: MAE's is 0.8.
    """

    shape: float = 0.8

    def __post_init__(self) -> None:
        _check_shape(self.shape)

    def __call__(
        self,
        x: Float[Tensor, "channels *size"],
        other: Float[Tensor, "channels *size"],
        generator: torch.Generator,
    ) -> Mixture:
        share = _beta(self.shape, generator)
        return Mixture(share * x + (1 - share) * other, share)


@register
@dataclass(frozen=True, kw_only=True)
class CutMix(LabelMixing):
    """A rectangle of the other, of a share of the area drawn from Beta(shape, shape) (Yun et al. 2019).

    Its middle is drawn evenly; what would lie outside is cut off, and labels are mixed by what is left. Of a clip the
    same rectangle of all frames.

    Attributes:
        shape: MAE's is 1.
    """

    shape: float = 1.0

    def __post_init__(self) -> None:
        _check_shape(self.shape)

    def __call__(
        self,
        x: Float[Tensor, "channels *size"],
        other: Float[Tensor, "channels *size"],
        generator: torch.Generator,
    ) -> Mixture:
        side = math.sqrt(1 - _beta(self.shape, generator))
        rows, columns = (_stretch(length, side, generator) for length in x.shape[-2:])
        values = x.clone()
        values[..., rows, columns] = other[..., rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        return Mixture(values, 1 - area / (x.shape[-2] * x.shape[-1]))


@register
@dataclass(frozen=True, kw_only=True)
class MelLabelMixup(LabelMixing):
    """Two recordings at once: normalised log-mels whose energies add; see ``MelMixup``.

    Attributes:
        statistics: What the front end normalises with.
        shape: Of the Beta distribution of shares; BRIDLE's and AST's is 10.
    """

    statistics: MelStatistics
    shape: int = 10

    def __call__(
        self,
        x: Float[Tensor, "channels *size"],
        other: Float[Tensor, "channels *size"],
        generator: torch.Generator,
    ) -> Mixture:
        sample, share = MelMixup(shape=self.shape)(self._heard(x), self._heard(other), generator)
        return Mixture(normalized(sample, self.statistics).values, share)

    def _heard(self, x: Float[Tensor, "channels *size"]) -> AudioSample:
        return AudioSample(2.0 * self.statistics.deviation * x + self.statistics.mean, _sounding(x))


def spec_augmented(
    rule: SpecAugment, x: Float[Tensor, "channels *size"], generator: torch.Generator
) -> Float[Tensor, "channels *size"]:
    """A normalised log-mel with stretches of frames and bins at its mean; padding stays padding."""
    valid = _sounding(x)
    return rule(AudioSample(x, valid), generator).values if bool(valid.any()) else x


def _sounding(x: Float[Tensor, "channels *size"]) -> Tensor:
    """Frames that are no padding: ``normalized`` makes that 0, which no whole frame of a recording is."""
    return (x[0] != 0).any(-1)


def _stretch(length: int, share: float, generator: torch.Generator) -> slice:
    half = round(length * share) / 2
    middle = float(torch.rand((), generator=generator, dtype=torch.float64)) * length
    return slice(max(0, round(middle - half)), min(length, round(middle + half)))


def _beta(shape: float, generator: torch.Generator) -> float:
    seed = int(torch.randint(1 << 62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(shape, shape))


def _check_shape(shape: float) -> None:
    if not shape > 0:
        raise ValueError(f"the shape of a Beta distribution is above 0, got {shape}")
