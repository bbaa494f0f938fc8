"""What happens to an excerpt before it is trained on: each a pure function of the audio and a generator."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from codeword.data.audio_loudness import loudness


class Augmentation(ABC):
    """A change of an excerpt."""

    @abstractmethod
    def __call__(
        self, audio: Float[np.ndarray, "channels time"], rate: int, generator: np.random.Generator
    ) -> Float[np.ndarray, "channels time"]:
        """The changed excerpt; ``audio`` itself stays as it was."""


@dataclass(frozen=True, kw_only=True)
class NormalizeLoudness(Augmentation):
    """Bring an excerpt to a loudness; silence stays silence.

    Attributes:
        target: In LUFS.
        most: No more amplification than this, in dB, so that noise does not become a signal.
    """

    target: float = -16.0
    most: float = 40.0

    def __call__(
        self, audio: Float[np.ndarray, "channels time"], rate: int, generator: np.random.Generator
    ) -> Float[np.ndarray, "channels time"]:
        level = loudness(audio, rate)
        if not np.isfinite(level):
            return audio
        return audio * np.float32(10.0 ** (min(self.target - level, self.most) / 20.0))


@dataclass(frozen=True, kw_only=True)
class RescalePeak(Augmentation):
    """Scale down what exceeds a peak; what does not stays.

    Attributes:
        peak: Largest magnitude.
    """

    peak: float = 1.0

    def __call__(
        self, audio: Float[np.ndarray, "channels time"], rate: int, generator: np.random.Generator
    ) -> Float[np.ndarray, "channels time"]:
        largest = float(np.abs(audio).max(initial=0.0))
        return audio if largest <= self.peak else audio * np.float32(self.peak / largest)


@dataclass(frozen=True, kw_only=True)
class ShiftPhase(Augmentation):
    """Rotate the phase of every frequency by one angle drawn from [-most, most].

    x becomes x cos(angle) - H(x) sin(angle), with H the Hilbert transform of the excerpt.

    Attributes:
        most: Largest angle.
    """

    most: float = np.pi

    def __call__(
        self, audio: Float[np.ndarray, "channels time"], rate: int, generator: np.random.Generator
    ) -> Float[np.ndarray, "channels time"]:
        angle = generator.uniform(-self.most, self.most)
        if not audio.size:
            return audio
        spectrum = np.fft.rfft(audio, axis=1) * np.complex64(np.exp(1j * angle))
        return np.fft.irfft(spectrum, n=audio.shape[1], axis=1).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Gain(Augmentation):
    """Amplify by a number of dB drawn from [low, high].

    Attributes:
        low: Least gain.
        high: Largest gain.
    """

    low: float = -12.0
    high: float = 0.0

    def __call__(
        self, audio: Float[np.ndarray, "channels time"], rate: int, generator: np.random.Generator
    ) -> Float[np.ndarray, "channels time"]:
        return audio * np.float32(10.0 ** (generator.uniform(self.low, self.high) / 20.0))


def vrvq_augmentations() -> tuple[Augmentation, ...]:
    """What VRVQ and DAC train on: loudness -16 LUFS, peak at most 1, any phase."""
    return NormalizeLoudness(), RescalePeak(), ShiftPhase()
