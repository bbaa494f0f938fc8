"""What happens to a log-mel sample before it is normalised: each a pure function of the sample and a generator.

Padding stays padding. What mixes in something that the recording does not hold is marked ``mixing``: it may change what
a network sees, never what a tokenizer sees, whose tokens are those of the recording.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.data.audio_samples import SILENCE, AudioSample
from codeword.quantizers.config import register


class MelAugmentation(ABC):
    """A change of a sample.

    Attributes:
        mixing: Whether it brings in what the recording does not hold.
    """

    mixing: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, sample: AudioSample, generator: torch.Generator) -> AudioSample:
        """The changed sample; the given one stays as it was."""


@register
@dataclass(frozen=True)
class RollTime(MelAugmentation):
    """Begin at any frame and append what was before it; padding stays at its place.

    Note:
        The shift of the published code is always 0.
    """

    def __call__(self, sample: AudioSample, generator: torch.Generator) -> AudioSample:
        places = sample.valid.nonzero()[:, 0]
        shift = int(torch.randint(len(places), (), generator=generator))
        values = sample.values.clone()
        values[:, places] = sample.values[:, places.roll(shift)]
        return sample._replace(values=values)


@register
@dataclass(frozen=True, kw_only=True)
class BetaGain(MelAugmentation):
    """Amplify by a factor Beta(shape, shape) + 1/2 of the waveform.

    Attributes:
        shape: BRIDLE's is 10: most factors lie between 0.8 and 1.2.
    """

    shape: int = 10

    def __post_init__(self) -> None:
        _check_shape(self.shape)

    def __call__(self, sample: AudioSample, generator: torch.Generator) -> AudioSample:
        factor = _beta(self.shape, generator) + 0.5
        louder = (sample.values + 2.0 * math.log(factor)).clamp_min(SILENCE)
        # What lies on the floor is not known to be louder than it.
        known = sample.valid.unsqueeze(-1) & (sample.values > SILENCE)
        return sample._replace(values=torch.where(known, louder, sample.values))


@register
@dataclass(frozen=True, kw_only=True)
class SpecAugment(MelAugmentation):
    """Set stretches of frames and of bins to the mean of the sample (Park et al. 2019, section 2).

    The width of every mask is drawn from 0 to its bound, and its place from all where it fits.

    Attributes:
        time: Most frames of a mask.
        bins: Most bins of a mask.
        masks: How many of each.
        most: No mask covers more than this share of the valid frames, or of the bins.
    """

    time: int = 192
    bins: int = 48
    masks: int = 1
    most: float = 0.5

    def __post_init__(self) -> None:
        if min(self.time, self.bins, self.masks) < 0 or not 0.0 <= self.most <= 1.0:
            raise ValueError(f"masks have sizes of 0 or more and shares from 0 to 1: got {self}")

    def __call__(self, sample: AudioSample, generator: torch.Generator) -> AudioSample:
        places = sample.valid.nonzero()[:, 0]
        values, mean = sample.values.clone(), sample.values[:, places].mean()
        for _ in range(self.masks):
            values[:, places[self._stretch(self.time, len(places), generator)]] = mean
            values[:, places, self._stretch(self.bins, values.shape[-1], generator)] = mean
        return sample._replace(values=values)

    def _stretch(self, bound: int, size: int, generator: torch.Generator) -> slice:
        width = int(torch.randint(min(bound, int(self.most * size)) + 1, (), generator=generator))
        start = int(torch.randint(size - width + 1, (), generator=generator))
        return slice(start, start + width)


@register
@dataclass(frozen=True, kw_only=True)
class MelNoise(MelAugmentation):
    """Add noise that is equally loud in all bins, at a ratio of signal to noise drawn from [low, high].

    As of any noise, the energy of a frame in a bin is distributed exponentially.

    Attributes:
        low: Least ratio, in dB.
        high: Largest ratio, in dB.
    """

    mixing: ClassVar[bool] = True

    low: float = 10.0
    high: float = 40.0

    def __call__(self, sample: AudioSample, generator: torch.Generator) -> AudioSample:
        ratio = self.low + (self.high - self.low) * _uniform((), generator).item()
        loudness = sample.values[:, sample.valid].double().exp().mean().log().item() - ratio * math.log(10.0) / 10.0
        noise = loudness + (-_uniform(sample.values.shape, generator).log()).log()
        mixed = torch.logaddexp(sample.values, noise)
        return sample._replace(values=torch.where(sample.valid.unsqueeze(-1), mixed, sample.values))


class Mixed(NamedTuple):
    """Two samples in one.

    Attributes:
        sample: What is heard; valid where either is.
        share: Of the first sample: its label counts so much, that of the other the rest.
    """

    sample: AudioSample
    share: float


@register
@dataclass(frozen=True, kw_only=True)
class MelMixup:
    r"""Two recordings at once, the first with a share drawn from Beta(shape, shape) (Tokozume et al. 2018).

    The energies of :math:`\lambda a + (1 - \lambda) b`, whose phases are unrelated, add:
    :math:`\log(\lambda^2 e^A + (1 - \lambda)^2 e^B)`. Where one of them is padding, the other is heard alone.

    Attributes:
        shape: BRIDLE's and AST's is 10: mostly nearly half of each.
    """

    mixing: ClassVar[bool] = True

    shape: int = 10

    def __post_init__(self) -> None:
        _check_shape(self.shape)

    def __call__(self, sample: AudioSample, other: AudioSample, generator: torch.Generator) -> Mixed:
        """The mixture; both samples stay as they were."""
        share = _beta(self.shape, generator)
        parts = [
            torch.where(one.valid.unsqueeze(-1), one.values + 2.0 * math.log(part), -math.inf)
            for one, part in ((sample, share), (other, 1.0 - share))
        ]
        values = torch.logaddexp(*parts).clamp_min(SILENCE)
        return Mixed(AudioSample(values, sample.valid | other.valid), share)


def bridle_augmentations() -> tuple[MelAugmentation, ...]:
    """What BRIDLE pretrains on: any gain, and a roll that rolls."""
    return BetaGain(), RollTime()


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "*_"]:
    """Numbers in (0, 1], whose logarithm is finite."""
    return 1.0 - torch.rand(shape, generator=generator)


def _beta(shape: int, generator: torch.Generator) -> float:
    """Beta(a, a) with a whole a is the middle one of 2 a - 1 uniform numbers."""
    return torch.rand(2 * shape - 1, generator=generator, dtype=torch.float64).median().item()


def _check_shape(shape: int) -> None:
    if shape < 1:
        raise ValueError(f"the shape of a Beta distribution is a whole number, 1 or more: got {shape}")
