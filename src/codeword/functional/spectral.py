r"""Short-time spectra: framing, the Fourier transform of frames, mel bands.

::

    audio  (*batch, time)
      |  frames: cut every `hop` samples, `window` long            (*batch, frames, window)
      |  times a Hann window, real FFT                             stft (*batch, frames, bins)
      |  absolute value, to a power                                (*batch, frames, bins)
      |  times mel_filters (bins, bands)                           mel_spectrogram (*batch, frames, bands)
      v
    log10 above a floor                                            log_mel (*batch, frames, bands)

Frequency is the last axis and frames the one before. Everything is float32 at least, also under autocast.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from codeword.functional.matmul import wide

Edges = Literal["centred", "strided", "inner"]
Scale = Literal["slaney", "htk"]

_TINY_POWER = 1e-24  # magnitudes below 1e-12 count as this and pass no gradient; full scale is 1
_SLANEY_SLOPE, _SLANEY_KNEE = 200.0 / 3.0, 1000.0  # hertz per mel below the knee; logarithmic above
_SLANEY_STEP = np.log(6.4) / 27.0


@dataclass(frozen=True, kw_only=True)
class Mel:
    """A mel spectrogram: how it is cut and how its bands lie.

    The defaults of scale and norm are those of ``librosa.filters.mel``, which DAC uses; ``scale="htk", norm=False``
    is the filterbank of HTK.

    Attributes:
        sample_rate: Samples per second.
        window: Samples of a frame, and length of the transform.
        hop: Samples from frame to frame.
        bands: Number of mel bands. Bands narrower than the distance of two bins may hold none: they are always 0.
        lowest: Lower end of the lowest band in hertz.
        highest: Upper end of the highest band in hertz; half the sample rate if None.
        scale: Formula of the mel scale.
        norm: Whether each band is divided by half its width in hertz, so that all have the same area.
        power: Exponent of the magnitudes that are summed into bands.
    """

    sample_rate: int
    window: int
    hop: int
    bands: int
    lowest: float = 0.0
    highest: float | None = None
    scale: Scale = "slaney"
    norm: bool = True
    power: float = 1.0

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.window, self.hop, self.bands) < 1:
            raise ValueError(f"sample_rate, window, hop and bands must be 1 or more, got {self}")
        if not 0 <= self.lowest < self.top <= self.sample_rate / 2:
            raise ValueError(
                f"bands must lie between 0 and half the sample rate {self.sample_rate}, got {self.lowest} to {self.top}"
            )

    @property
    def top(self) -> float:
        """Upper end of the highest band in hertz."""
        return self.sample_rate / 2 if self.highest is None else self.highest


def num_frames(time: int, window: int, hop: int, edges: Edges = "centred") -> int:
    """How many frames :func:`frames` makes of that many samples."""
    return (time + sum(_padding(time, window, hop, edges)) - window) // hop + 1


def frames(
    audio: Float[Tensor, "*batch time"], window: int, hop: int, edges: Edges = "centred"
) -> Float[Tensor, "*batch frames window"]:
    """Overlapping stretches of a signal; a view where nothing has to be padded.

    Args:
        audio: Samples.
        window: Samples of a frame.
        hop: Samples from frame to frame.
        edges: ``"centred"``: frame t is centred on sample t hop, half a window is reflected at both ends, as
            ``torch.stft`` with ``center`` and librosa do. ``"strided"``: frame t is centred on the stretch from t hop
            to (t + 1) hop, as in strided convolutions ("match_stride" of DAC). ``"inner"``: no padding, an incomplete
            last frame is left out.

    Raises:
        ValueError: If there are too few samples to reflect, or fewer than a window with ``"inner"``.
    """
    return _padded(audio, window, hop, edges).unfold(-1, window, hop)


def _padded(audio: Tensor, window: int, hop: int, edges: Edges) -> Tensor:
    time = audio.shape[-1]
    if time < (least := least_samples(window, hop, edges)):
        raise ValueError(f"{time} samples are too few for frames of {window}: at least {least} are needed")
    left, right = _padding(time, window, hop, edges)
    if not left and not right:
        return audio
    flat = F.pad(audio.reshape(1, -1, time), (left, right), mode="reflect")
    return flat.reshape(*audio.shape[:-1], time + left + right)


def least_samples(window: int, hop: int, edges: Edges = "centred") -> int:
    """How long a signal must be to be cut into frames."""
    if edges == "centred":
        return window // 2 + 1
    return window if edges == "inner" else (max(0, window - hop) + 1) // 2 + hop


def _padding(time: int, window: int, hop: int, edges: Edges) -> tuple[int, int]:
    if edges == "centred":
        return window // 2, window // 2
    if edges == "inner":
        return 0, 0
    around = max(0, window - hop)
    return around // 2, around - around // 2 + -time % hop


def hann(window: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " window"]:
    r"""The periodic Hann window :math:`\sin^2(\pi n / N)`, computed in float64 and kept for each type and device."""
    return _table(_hann, window, dtype, device)


def _hann(window: int) -> np.ndarray:
    return np.sin(np.pi * np.arange(window) / window) ** 2


def stft(
    audio: Float[Tensor, "*batch time"], window: int, hop: int, edges: Edges = "centred"
) -> Complex[Tensor, "*batch frames bins"]:
    r"""Short-time Fourier transform under a Hann window w, not normalised.

    .. math:: X_{tk} = \sum_{n=0}^{N-1} w_n \, x_{tH + n} \, e^{-2 \pi i k n / N}, \qquad k = 0 .. \lfloor N/2 \rfloor

    Args:
        audio: Samples.
        window: Samples N of a frame.
        hop: Samples H from frame to frame.
        edges: What happens at both ends, see :func:`frames`.
    """
    return _Transform.apply(_padded(wide(audio), window, hop, edges), window, hop)


class _Transform(torch.autograd.Function):
    """Frames, window and transform as one node that saves nothing.

    The derivative of a real transform is an inverse real transform with the bins that stand for two counted half, and
    that of framing an overlapping sum: about half the time of what is derived from the single steps.
    """

    @staticmethod
    def forward(audio: Tensor, window: int, hop: int) -> Tensor:  # pyrefly: ignore
        return torch.fft.rfft(audio.unfold(-1, window, hop) * hann(window, audio.dtype, audio.device))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        audio, ctx.window, ctx.hop = inputs
        ctx.time = audio.shape[-1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # pyrefly: ignore
        dtype = grad.real.dtype
        counted_once = torch.full(grad.shape[-1:], 0.5, dtype=dtype, device=grad.device)
        counted_once[0] = 1.0
        if ctx.window % 2 == 0:
            counted_once[-1] = 1.0
        cut = torch.fft.irfft(grad * counted_once, n=ctx.window, norm="forward")
        return overlap_add(cut * hann(ctx.window, dtype, grad.device), ctx.hop, ctx.time), None, None


def overlap_add(cut: Float[Tensor, "*batch frames window"], hop: int, time: int) -> Float[Tensor, "*batch {time}"]:
    """Frames put back where ``"inner"`` frames come from, summed where they overlap: the adjoint of :func:`frames`."""
    *batch, count, window = cut.shape
    blocks = -(-window // hop)
    if blocks * hop > window:
        cut = F.pad(cut, (0, blocks * hop - window))
    cut = cut.unflatten(-1, (blocks, hop))
    total = cut.new_zeros(*batch, count + blocks - 1, hop)
    for block in range(blocks):
        total[..., block : block + count, :] += cut[..., block, :]
    total = total.flatten(-2)
    return total[..., :time] if total.shape[-1] >= time else F.pad(total, (0, time - total.shape[-1]))


def magnitude(spectrum: Complex[Tensor, "*batch frames bins"]) -> Float[Tensor, "*batch frames bins"]:
    """Absolute values, never below 1e-12, with a gradient of zero at zero.

    A third of the time of ``abs``, which minds magnitudes beyond 1e19.
    """
    return _Magnitude.apply(spectrum)


class _Magnitude(torch.autograd.Function):
    """The square root of the power."""

    @staticmethod
    def forward(spectrum: Tensor) -> Tensor:  # pyrefly: ignore
        squares = torch.view_as_real(spectrum).square()
        return (squares[..., 0] + squares[..., 1]).clamp_min_(_TINY_POWER).sqrt_()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyrefly: ignore
        spectrum, lengths = ctx.saved_tensors
        return spectrum * (grad / lengths)


def hertz_to_mel(hertz: np.ndarray, scale: Scale = "slaney") -> np.ndarray:
    r"""The mel scale.

    HTK: :math:`2595 \log_{10}(1 + f / 700)`. Slaney (Auditory Toolbox, 1998): :math:`3 f / 200` up to 1000 Hz, above it
    :math:`15 + 27 \log(f / 1000) / \log 6.4`.
    """
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hertz / 700.0)
    above = _SLANEY_KNEE / _SLANEY_SLOPE + np.log(np.maximum(hertz, _SLANEY_KNEE) / _SLANEY_KNEE) / _SLANEY_STEP
    return np.where(hertz < _SLANEY_KNEE, hertz / _SLANEY_SLOPE, above)


def mel_to_hertz(mel: np.ndarray, scale: Scale = "slaney") -> np.ndarray:
    """The inverse of :func:`hertz_to_mel`."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    knee = _SLANEY_KNEE / _SLANEY_SLOPE
    return np.where(
        mel < knee, _SLANEY_SLOPE * mel, _SLANEY_KNEE * np.exp(_SLANEY_STEP * (np.maximum(mel, knee) - knee))
    )


def mel_filters(mel: Mel, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "bins bands"]:
    r"""Triangles over the bins of a transform, evenly spaced in mel; kept for each type and device.

    With the corners :math:`c_0 .. c_{B+1}` in hertz, evenly spaced on the mel scale,

    .. math:: F_{kb} = \frac{2}{c_{b+2} - c_b} \max\left(0, \min\left(\frac{f_k - c_b}{c_{b+1} - c_b},
        \frac{c_{b+2} - f_k}{c_{b+2} - c_{b+1}}\right)\right)

    the factor in front only with ``norm``. These are the formulas of ``librosa.filters.mel``.
    """
    return _table(_mel_filters, mel, dtype, device)


def _mel_filters(mel: Mel) -> np.ndarray:
    ends = hertz_to_mel(np.array([mel.lowest, mel.top]), mel.scale)
    corners = mel_to_hertz(np.linspace(ends[0], ends[1], mel.bands + 2), mel.scale)
    bins = np.fft.rfftfreq(mel.window, 1.0 / mel.sample_rate)[:, None]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    triangles = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)).clip(min=0.0)
    return triangles * (2.0 / (high - low)) if mel.norm else triangles


def mel_spectrogram(audio: Float[Tensor, "*batch time"], mel: Mel) -> Float[Tensor, "*batch frames bands"]:
    """Magnitudes of centred frames, to a power, summed into mel bands."""
    return mel_bands(magnitude(stft(audio, mel.window, mel.hop)), mel)


def mel_bands(magnitudes: Float[Tensor, "*batch frames bins"], mel: Mel) -> Float[Tensor, "*batch frames bands"]:
    """Magnitudes, to a power, summed into mel bands."""
    if mel.power != 1.0:
        magnitudes = magnitudes**mel.power
    with torch.autocast(magnitudes.device.type, enabled=False):
        return magnitudes @ mel_filters(mel, magnitudes.dtype, magnitudes.device)


def log_mel(audio: Float[Tensor, "*batch time"], mel: Mel, floor: float = 1e-5) -> Float[Tensor, "*batch frames bands"]:
    """Base-10 logarithm of a mel spectrogram, clamped from below at ``floor``; so are empty bands."""
    return mel_spectrogram(audio, mel).clamp_min(floor).log10()


@torch.compiler.assume_constant_result
@lru_cache(maxsize=256)
def _table(make: Callable[[Any], np.ndarray], key: Hashable, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # else who comes later could not differentiate through it
        return torch.from_numpy(make(key)).to(device, dtype)
