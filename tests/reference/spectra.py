"""Spectra by their definitions, in float64, bin by bin and band by band; slow."""

import math

import numpy as np


def stft(audio, window, hop, edges="centred"):
    """Spectra of one signal, frames by bins, as a product with the matrix of the transform."""
    audio = np.asarray(audio, dtype=np.float64)
    if edges == "centred":
        audio = np.pad(audio, window // 2, mode="reflect")
    elif edges == "strided":  # as DAC does: pad by stride, then centre as well, then drop the two outermost frames
        around, missing = (window - hop) // 2, -len(audio) % hop
        audio = np.pad(np.pad(audio, (around, around + missing), mode="reflect"), window // 2, mode="reflect")
    n = np.arange(window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / window)
    kernel = np.exp(-2j * np.pi * np.outer(n, np.arange(window // 2 + 1)) / window)
    starts = range(0, len(audio) - window + 1, hop)
    spectra = np.stack([(audio[start : start + window] * hann) @ kernel for start in starts])
    return spectra[2:-2] if edges == "strided" else spectra


def hertz_of_mel(mel, scale):
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return mel * 200.0 / 3.0 if mel < 15 else 1000.0 * 6.4 ** ((mel - 15.0) / 27.0)


def mel_of_hertz(hertz, scale):
    if scale == "htk":
        return 2595.0 * math.log10(1.0 + hertz / 700.0)
    return hertz * 3.0 / 200.0 if hertz < 1000 else 15.0 + 27.0 * math.log(hertz / 1000.0, 6.4)


def mel_filters(sample_rate, window, bands, lowest=0.0, highest=None, scale="slaney", norm=True):
    """The filterbank of ``librosa.filters.mel``, transposed: bins by bands."""
    first, last = (mel_of_hertz(f, scale) for f in (lowest, highest or sample_rate / 2))
    corners = [hertz_of_mel(first + (last - first) * i / (bands + 1), scale) for i in range(bands + 2)]
    filters = np.zeros((window // 2 + 1, bands))
    for band in range(bands):
        low, middle, high = corners[band : band + 3]
        for k in range(window // 2 + 1):
            f = k * sample_rate / window
            if low < f <= middle:
                filters[k, band] = (f - low) / (middle - low)
            elif middle < f < high:
                filters[k, band] = (high - f) / (high - middle)
        if norm:
            filters[:, band] *= 2.0 / (high - low)
    return filters


def mel_distance(estimate, reference, sample_rate, windows, bands, floor=1e-5):
    """The multi-scale mel loss of DAC for one signal."""
    total = 0.0
    for window, number in zip(windows, bands, strict=True):
        filters = mel_filters(sample_rate, window, number)
        logs = [
            np.log10(np.maximum(np.abs(stft(x, window, window // 4)) @ filters, floor)) for x in (estimate, reference)
        ]
        total += np.abs(logs[0] - logs[1]).mean()
    return total


def stft_distance(estimate, reference, windows=(2048, 512), floor=1e-5):
    """The multi-scale STFT loss of DAC for one signal: magnitudes, and logarithms of their squares."""
    total = 0.0
    for window in windows:
        mine, theirs = (np.abs(stft(x, window, window // 4)) for x in (estimate, reference))
        total += np.abs(mine - theirs).mean()
        total += np.abs(np.log10(np.maximum(mine, floor) ** 2) - np.log10(np.maximum(theirs, floor) ** 2)).mean()
    return total
