r"""Kaldi's log-mel filterbank, batched: what AST, AudioMAE, BEATs and BRIDLE look at.

::

    waveforms  (batch, time)
      |  cut every `shift_ms`, `frame_ms` long, no padding         (batch, frames, window)
      |  minus the mean of the frame; x_n - 0.97 x_{n-1}; window
      |  zeros up to a power of two, real FFT, squared magnitude   (batch, frames, lines)
      |  triangles over the lines, evenly spaced in mel
      v
    natural logarithm above a floor                                (batch, frames, bins)

Equal to ``kaldi-native-fbank`` within 1e-3 for waveforms whose full scale is 1, with ``dither=0`` and without energy;
in bands more than 74 dB below the loudest of their frame, float32 rounds in either and the two differ by up to 0.01.
:mod:`codeword.functional.spectral` has the other convention, that of librosa.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.matmul import wide
from codeword.functional.spectral import frames, hertz_to_mel

Window = Literal["hanning", "povey"]

FLOOR = float(np.finfo(np.float32).eps)  # Kaldi's: no energy is below it, so no value is below -15.94


@dataclass(frozen=True, kw_only=True)
class MelConfig:
    """How waveforms become log-mel frames; the defaults are those of BRIDLE and AudioMAE.

    Attributes:
        rate: Samples per second.
        bins: Mel bands. Low ones may be narrower than the distance of two frequencies and hold none: they are silent.
        frame_ms: Length of a frame.
        shift_ms: From frame to frame.
        window: ``hanning``, or ``povey``, which is its power of 0.85 and Kaldi's own default.
        preemphasis: Share of the sample before that is subtracted from each.
        low: Lower end of the lowest band in hertz.
        high: Upper end of the highest band in hertz; half the rate if None.
    """

    rate: int = 16000
    bins: int = 128
    frame_ms: float = 25.0
    shift_ms: float = 10.0
    window: Window = "hanning"
    preemphasis: float = 0.97
    low: float = 20.0
    high: float | None = None

    def __post_init__(self) -> None:
        if self.bins < 1 or self.frame_samples < 2 or self.shift_samples < 1:
            raise ValueError(f"a filterbank has 1 bin, frames of 2 samples and shifts of 1 sample at least: got {self}")
        if not 0 <= self.low < self.top <= self.rate / 2:
            raise ValueError(f"bins lie between 0 and half the rate {self.rate} hertz: got {self.low} to {self.top}")

    @property
    def frame_samples(self) -> int:
        """Samples of a frame."""
        return int(self.rate * self.frame_ms / 1000)

    @property
    def shift_samples(self) -> int:
        """Samples from frame to frame."""
        return int(self.rate * self.shift_ms / 1000)

    @property
    def top(self) -> float:
        """Upper end of the highest band in hertz."""
        return self.rate / 2 if self.high is None else self.high

    def samples(self, frames: int) -> int:
        """The least samples that give that many frames."""
        return self.frame_samples + (frames - 1) * self.shift_samples if frames else 0


def frame_counts(lengths: Int[Tensor, "*batch"], config: MelConfig) -> Int[Tensor, "*batch"]:
    """How many frames lie wholly within that many samples: the valid ones of a padded batch come first.

    Args:
        lengths: Samples of each waveform that are no padding.
        config: How frames are cut.
    """
    return ((lengths - config.frame_samples).div(config.shift_samples, rounding_mode="floor") + 1).clamp_min(0)


def log_mel(
    waveforms: Float[Tensor, "batch time"], rate: int, config: MelConfig | None = None
) -> Float[Tensor, "batch frames bins"]:
    r"""Natural logarithm of the energy in mel bands.

    With the triangles F_b over the frequencies k and frame t of window w, mean removed and pre-emphasised to y,

    .. math:: \log \max\Bigl(\varepsilon, \sum_k F_{bk} \Bigl|\sum_n w_n y_{tn} e^{-2 \pi i k n / N}\Bigr|^2\Bigr)

    Computed in float32 at least, on the device of the waveforms, with a gradient wherever the floor
    :math:`\varepsilon = 2^{-23}` is not reached.

    Args:
        waveforms: Samples, full scale 1.
        rate: Samples per second of the waveforms.
        config: What to compute; by default that of BRIDLE.

    Raises:
        ValueError: If the rate is not that of the configuration, or there are fewer samples than a frame has.
    """
    config = MelConfig() if config is None else config
    if rate != config.rate:
        raise ValueError(f"waveforms of {rate} hertz for a filterbank at {config.rate} hertz: resample them first")
    x = frames(wide(waveforms), config.frame_samples, config.shift_samples, "inner")
    x = x - x.mean(-1, keepdim=True)
    # Whatever the first sample of a frame becomes, both windows are 0 there.
    x = F.pad(x[..., 1:] - config.preemphasis * x[..., :-1], (1, 0))
    window, triangles = _tables(config, x.dtype, x.device)
    spectrum = torch.view_as_real(torch.fft.rfft(x * window, n=_padded(config))[..., :-1])
    with torch.autocast(x.device.type, enabled=False):
        return (spectrum.square().sum(-1) @ triangles).clamp_min(FLOOR).log()


def _padded(config: MelConfig) -> int:
    """Length of the transform: the next power of two."""
    return 1 << (config.frame_samples - 1).bit_length()


@torch.compiler.assume_constant_result
@lru_cache(maxsize=64)
def _tables(config: MelConfig, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Window and triangles, kept for each type and device."""
    with torch.inference_mode(False):  # else who comes later could not differentiate through them
        both = (_window(config), _triangles(config))
        window, triangles = (torch.from_numpy(table).to(device, dtype) for table in both)
        return window, triangles


def _window(config: MelConfig) -> np.ndarray:
    size = config.frame_samples
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / (size - 1))
    return window if config.window == "hanning" else window**0.85


def _triangles(config: MelConfig) -> np.ndarray:
    """Straight in mel, not in hertz as those of librosa; the highest frequency belongs to none."""
    padded = _padded(config)
    ends = hertz_to_mel(np.array([config.low, config.top]), "htk")
    corners = np.linspace(ends[0], ends[1], config.bins + 2)
    lines = hertz_to_mel(np.arange(padded // 2) * (config.rate / padded), "htk")[:, None]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    return np.minimum((lines - low) / (middle - low), (high - lines) / (high - middle)).clip(min=0.0)
