"""Loudness in LUFS: ITU-R BS.1770-4, with the K weighting applied in the frequency domain."""

from functools import lru_cache
from math import pi, tan

import numpy as np
from jaxtyping import Complex, Float

_HOP_SECONDS, _HOPS = 0.1, 4  # a block of 0.4 s starts every 0.1 s
_ABSOLUTE, _RELATIVE = -70.0, -10.0
# Left, right, centre, low effects, left and right surround of BS.1770; further channels count 1.
_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.41, 1.41)


def loudness(audio: Float[np.ndarray, "channels time"], rate: int) -> float:
    """Integrated loudness with both gates, in LUFS; minus infinity where nothing passes the gate of -70.

    Note:
        What is shorter than a block of 0.4 s is one block of its own length, where the standard gives no number.
    """
    if not audio.size:
        return float("-inf")
    squares = np.square(_weighted(audio, rate), dtype=np.float32)
    hop = round(_HOP_SECONDS * rate)
    hops = audio.shape[1] // hop if hop else 0
    if hops < _HOPS:
        blocks = squares.mean(axis=1, dtype=np.float64)[:, None]
    else:
        parts = squares[:, : hops * hop].reshape(len(audio), hops, hop).mean(axis=2, dtype=np.float64)
        blocks = sum(parts[:, first : hops - _HOPS + 1 + first] for first in range(_HOPS)) / _HOPS
    gains = np.array([_WEIGHTS[c] if len(audio) > 4 and c < len(_WEIGHTS) else 1.0 for c in range(len(audio))])
    power = gains @ blocks
    kept = power[power > 10.0 ** ((_ABSOLUTE + 0.691) / 10.0)]
    if not len(kept):
        return float("-inf")
    kept = kept[kept > kept.mean() * 10.0 ** (_RELATIVE / 10.0)]
    return float(-0.691 + 10.0 * np.log10(kept.mean()))


def _weighted(audio: Float[np.ndarray, "channels time"], rate: int) -> Float[np.ndarray, "channels time"]:
    # The zeros after the signal take up the tail of the filters, which is inaudible after a tenth of a second.
    length = _fast(audio.shape[1] + rate // 10)
    spectrum = np.fft.rfft(audio, n=length, axis=1) * _response(rate, length)
    return np.fft.irfft(spectrum, n=length, axis=1)[:, : audio.shape[1]]


def _fast(length: int) -> int:
    """The next length that is a small number times a power of two, where the Fourier transform is fast."""
    exponent = max(length.bit_length() - 4, 0)
    return next(small << exponent for small in (8, 9, 10, 12, 15, 16) if small << exponent >= length)


@lru_cache(maxsize=16)
def _response(rate: int, length: int) -> Complex[np.ndarray, " out"]:
    """Shelf (BS.1770 stage 1) times high-pass (stage 2), their analogue prototypes mapped to any rate."""
    z = np.exp(-2j * pi * np.arange(length // 2 + 1) / length)
    total = np.ones(len(z), np.complex128)
    for numerator, denominator in (_shelf(rate), _high_pass(rate)):
        total *= np.polyval(numerator[::-1], z) / np.polyval(denominator[::-1], z)
    return total.astype(np.complex64)


def _shelf(rate: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    k, quality, gain = tan(pi * 1681.974450955533 / rate), 0.7071752369554196, 10.0 ** (3.999843853973347 / 20.0)
    middle = gain**0.4996667741545416
    scale = 1.0 + k / quality + k * k
    numerator = (gain + middle * k / quality + k * k, 2.0 * (k * k - gain), gain - middle * k / quality + k * k)
    return tuple(value / scale for value in numerator), _denominator(k, quality)


def _high_pass(rate: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    k = tan(pi * 38.13547087602444 / rate)
    return (1.0, -2.0, 1.0), _denominator(k, 0.5003270373238773)


def _denominator(k: float, quality: float) -> tuple[float, float, float]:
    scale = 1.0 + k / quality + k * k
    return 1.0, 2.0 * (k * k - 1.0) / scale, (1.0 - k / quality + k * k) / scale
