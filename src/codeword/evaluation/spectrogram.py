"""Spectrograms as small PNG images, without axes, so that a page can lay other things over and under them."""

import math
import struct
import zlib

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from codeword.functional.spectral import Mel, hertz_to_mel, least_samples, mel_spectrogram

RANGE = 80.0  # decibels from the darkest colour to the brightest
_BANDS, _COLUMNS, _SHADES = 96, 640, 64
_SECONDS = 0.032  # of a frame
_TICKS = (250, 500, 1000, 2000, 4000, 8000, 16000)
# The colour map magma, from dark to bright: its lightness rises evenly, also for the colour-blind and in grey.
_MAGMA = (0x000004, 0x1D1147, 0x51127C, 0x832681, 0xB73779, 0xE75263, 0xFC8961, 0xFEC488, 0xFCFDBF)


def loudness_map(audio: Float[Tensor, " time"], sample_rate: int) -> Float[Tensor, "frames bands"]:
    """Power in mel bands, in decibels of full scale."""
    window = 2 ** round(math.log2(_SECONDS * sample_rate))
    mel = Mel(
        sample_rate=sample_rate,
        window=window,
        hop=max(math.ceil(audio.shape[-1] / _COLUMNS), 1),
        bands=_BANDS,
        norm=False,
        power=2.0,
    )
    short = max(least_samples(window, mel.hop) - audio.shape[-1], 0)
    power = mel_spectrogram(F.pad(audio, (0, short)), mel) / (window / 4) ** 2
    return 10 * power.clamp_min(1e-12).log10()


def spectrogram(levels: Float[Tensor, "frames bands"], loudest: float) -> bytes:
    """A PNG image, time to the right and frequency upwards.

    Args:
        levels: From :func:`loudness_map`.
        loudest: The decibels of the brightest colour, the same for all images that are to be compared.
    """
    share = ((levels - loudest) / RANGE + 1).clamp(0, 1)
    shades = (share * (_SHADES - 1)).round().to(torch.uint8).T.flip(0).numpy()
    return palette_png(np.ascontiguousarray(shades), _colours(_SHADES))


def frequency_ticks(sample_rate: int) -> list[tuple[str, float]]:
    """Names of some frequencies in kHz, and their height as a share of the image; none too near to another."""
    top = float(hertz_to_mel(np.array(sample_rate / 2)))
    heights = [(f"{hertz / 1000:g}", float(hertz_to_mel(np.array(float(hertz)))) / top) for hertz in _TICKS]
    kept: list[tuple[str, float]] = []
    for name, height in heights:
        if height <= 0.97 and (not kept or height - kept[-1][1] >= 0.16):
            kept.append((name, height))
    return kept


def palette_png(shades: UInt8[np.ndarray, "rows columns"], colours: UInt8[np.ndarray, "shades 3"]) -> bytes:
    """A PNG image of numbered colours (PNG specification, third edition, colour type 3)."""
    rows, columns = shades.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), shades], axis=1)  # each line begins with its filter, none
    chunks = (
        (b"IHDR", header),
        (b"PLTE", colours.tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _colours(count: int) -> UInt8[np.ndarray, "shades 3"]:
    points = np.array([[colour >> shift & 255 for shift in (16, 8, 0)] for colour in _MAGMA], dtype=np.float64)
    place = np.linspace(0, len(points) - 1, count)
    mixed = [np.interp(place, np.arange(len(points)), points[:, channel]) for channel in range(3)]
    return np.stack(mixed, axis=1).round().astype(np.uint8)
