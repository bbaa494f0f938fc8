"""Players of one recording in several versions: sound, spectrogram and depths over one time axis, as markup."""

import base64
import html
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import soundfile
from jaxtyping import Float, Int64
from torch import Tensor

from codeword.evaluation.charts import ticks
from codeword.evaluation.spectrogram import frequency_ticks, loudness_map, spectrogram


class Take(NamedTuple):
    """One version of a recording.

    Attributes:
        title: What it is.
        detail: More about it.
        audio: Samples.
        depths: Levels that every frame spends; ``None`` where no levels were.
    """

    title: str
    detail: str
    audio: Float[Tensor, " time"]
    depths: Int64[np.ndarray, " frames"] | None


class Comparison(NamedTuple):
    """Versions of one signal, of one length.

    Attributes:
        name: Of the recording.
        detail: Which part of it this is.
        takes: The original first.
    """

    name: str
    detail: str
    takes: Sequence[Take]


def players(comparison: Comparison, *, sample_rate: int, hop: int, levels: int) -> str:
    """A row per version: a player, a spectrogram and, under it, how many levels each frame spends.

    All spectrograms share one scale of loudness, that of the original.

    Args:
        comparison: The versions.
        sample_rate: Samples per second.
        hop: Samples per frame.
        levels: Codebooks of the model: the height of the map of depths.
    """
    maps = [loudness_map(take.audio, sample_rate) for take in comparison.takes]
    loudest = float(maps[0].max())
    axes = _Axes(sample_rate, hop, levels, comparison.takes[0].audio.shape[-1])
    rows = "".join(
        _row(take, spectrogram(decibels, loudest), axes) for take, decibels in zip(comparison.takes, maps, strict=True)
    )
    return (
        f'<section class="recording"><h3>{html.escape(comparison.name)}</h3>'
        f'<p class="soft">{html.escape(comparison.detail)}</p>{rows}{_time_axis(axes)}</section>'
    )


def flac(audio: Float[Tensor, " time"], sample_rate: int) -> bytes:
    """Samples as FLAC, 16 bits: every browser plays it and it adds no loss of a codec to what is to be judged."""
    buffer = io.BytesIO()
    samples = np.clip(audio.numpy(), -1.0, 1.0)
    soundfile.write(buffer, samples, sample_rate, subtype="PCM_16", format="FLAC")
    return buffer.getvalue()


class _Axes(NamedTuple):
    """What all pictures of a recording share."""

    sample_rate: int
    hop: int
    levels: int
    num_samples: int


def _row(take: Take, image: bytes, axes: _Axes) -> str:
    title, sound = html.escape(take.title), _data("audio/flac", flac(take.audio, axes.sample_rate))
    scale, depths = ("", "") if take.depths is None else (_level_scale(axes.levels), _depths(take.depths, axes))
    return (
        f'<div class="take"><div class="label"><b>{title}</b><span>{html.escape(take.detail)}</span>'
        f'<audio controls preload="metadata" aria-label="{title}" src="{sound}"></audio></div>'
        f'<div class="picture">{_frequency_scale(axes.sample_rate)}{scale}<div class="canvas">'
        f'<img alt="Spectrogram: {title}" src="{_data("image/png", image)}">{depths}<i></i></div></div></div>'
    )


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _frequency_scale(sample_rate: int) -> str:
    ticks_of = frequency_ticks(sample_rate)
    marks = "".join(f'<s style="bottom:{100 * height:.1f}%">{name}</s>' for name, height in ticks_of)
    return f'<div class="frequencies">{marks}</div>'


def _level_scale(levels: int) -> str:
    return (
        f'<div class="levels"><s style="top:0">{levels}</s><s class="middle">levels</s><s style="bottom:0">0</s></div>'
    )


def _depths(depths: Int64[np.ndarray, " frames"], axes: _Axes) -> str:
    """Steps over the width of the image, one per frame, as high as levels are spent."""
    levels, frames = axes.levels, axes.num_samples / axes.hop
    values = depths.tolist()
    changes = enumerate(zip([None, *values], values, strict=False))
    steps = "".join(f"H{number}V{levels - now}" for number, (before, now) in changes if now != before)
    lines = "".join(
        f'<path class="grid" d="M0 {level}H{frames:g}"/>' for level in range(0, levels, math.ceil(levels / 4))
    )
    return (
        f'<svg class="depths" viewBox="0 0 {frames:g} {levels}" preserveAspectRatio="none" role="img" '
        f'aria-label="Levels that each frame spends, 0 to {levels}">{lines}'
        f'<path d="M0 {levels}{steps}H{frames:g}V{levels}z"/></svg>'
    )


def _time_axis(axes: _Axes) -> str:
    seconds = axes.num_samples / axes.sample_rate
    marks = "".join(f'<s style="left:{100 * tick / seconds:.2f}%">{tick:g} s</s>' for tick in ticks(0.0, seconds))
    return f'<div class="take"><div></div><div class="picture"><div class="times">{marks}</div></div></div>'
