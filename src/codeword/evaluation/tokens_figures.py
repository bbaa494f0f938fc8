"""Pictures of tokens: how evenly codewords are used, and which patches of an input share a code."""

from collections.abc import Mapping

import matplotlib
import numpy as np
from jaxtyping import Float64, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from codeword.data.listing import Kind
from codeword.evaluation.tokens import TokenizedSamples
from codeword.metrics.tokens import TokenReport

_LEVEL_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
_CODE_COLOURS = (  # more could not be told apart
    0xE6194B, 0x3CB44B, 0x4363D8, 0xF58231, 0x911EB4, 0x42D4F4,
    0xF032E6, 0xBFEF45, 0xFFE119, 0x469990, 0x9A6324, 0xFABED4,
)  # fmt: skip
_NARROW, _WIDE, _TITLE = 2.0, 5.0, 0.25  # inches: of the width of an input, and of the height of a title
_FRAMES = 4  # of a video that are shown
_PALE, _TINT = 0.3, 0.6  # how light black becomes below colours, and how much of a patch is its colour
_FLOOR = 1e-2  # use that is drawn as none


def usage_figure(reports: Mapping[str, TokenReport]) -> Figure:
    """How often every codeword is used, the most frequent first: a row per report, a column per level.

    A level that uses all codewords alike is a flat line at 1. With one report for every iteration of a pretraining it
    is seen what the training of tokenizers changes.
    """
    columns = max(len(report.histograms) for report in reports.values())
    figure = Figure(figsize=(0.9 + 1.9 * columns, 0.7 + 1.5 * len(reports)), layout="constrained")
    axes = figure.subplots(len(reports), columns, squeeze=False, sharex=True, sharey=True)
    for row, (name, report) in zip(axes, reports.items(), strict=True):
        row[0].set_ylabel(name, fontsize=9)
        for axis in row[len(report.histograms) :]:
            axis.set_visible(False)
        for number, (axis, counts) in enumerate(zip(row, report.histograms, strict=False)):
            level = report.codes.levels[number]
            _usage(axis, np.array(counts), _LEVEL_COLOURS[number % len(_LEVEL_COLOURS)])
            said = f"used {level.usage_rate:.1%}\nperplexity {level.perplexity_share:.1%}"
            axis.text(0.97, 0.94, said, transform=axis.transAxes, ha="right", va="top", fontsize=7)
    for number, column in enumerate(axes.T):
        seen = [axis for axis in column if axis.get_visible()]
        seen[0].set_title(f"level {number + 1}", fontsize=9)
        seen[-1].tick_params(labelbottom=True)
    axes[0, 0].set_ylim(_FLOOR, 2 * axes[0, 0].get_ylim()[1])
    figure.supxlabel("codewords, the most frequent first (%)", fontsize=8)
    figure.supylabel("use, 1 if all are used alike", fontsize=8)
    return figure


def token_figure(shown: TokenizedSamples, kind: Kind) -> Figure:
    """Inputs, and beside them which patches share a code: a picture per level, in which equal colours are equal codes.

    The codes that most patches share have a colour, the same in all inputs; the others have none. Of a video the first
    frames of some patches in time are shown; of a log-mel time goes to the right and frequency upwards.
    """
    pictures = [_picture(values, kind, shown.grid) for values in shown.values.double().numpy()]
    height, width = pictures[0].shape[:2]
    wide, panels = width > 2 * height, 1 + shown.codes.shape[-1]
    rows, columns = (panels, len(pictures)) if wide else (len(pictures), panels)
    scale = (_WIDE if wide else _NARROW) / width
    size = (columns * width * scale, rows * (height * scale + _TITLE) if wide else rows * height * scale + 2 * _TITLE)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    axes = axes.T if wide else axes
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        if kind == "video":
            for edge in range(1, len(_moments(shown.grid[0]))):
                axis.axvline(edge * shown.values.shape[-1] - 0.5, color="white", linewidth=2)
    for axis, picture in zip(axes[:, 0], pictures, strict=True):
        axis.imshow(picture)
    axes[0, 0].set_title("input", fontsize=8, loc="left")
    for level, codes in enumerate(shown.codes.unbind(-1)):
        common = _common(codes.numpy())
        for axis, picture, own in zip(axes[:, level + 1], pictures, codes.numpy(), strict=True):
            axis.imshow(_coloured(picture, _arranged(own.reshape(shown.grid), kind), common))
        there = codes[codes >= 0]
        said = f"level {level + 1}: {len(there.unique())} codes in {len(there)} patches"
        axes[0, level + 1].set_title(said, fontsize=8, loc="left")
    return figure


def _usage(axis: Axes, counts: Int64[np.ndarray, " size"], colour: str) -> None:
    even = np.sort(counts)[::-1] * len(counts) / max(counts.sum(), 1)
    axis.stairs(
        np.maximum(even, _FLOOR), np.linspace(0, 100, len(counts) + 1), baseline=_FLOOR, fill=True, color=colour
    )
    axis.axhline(1, color="#555555", linewidth=0.8, linestyle="--")
    axis.set(yscale="log", ylim=(_FLOOR, None), xlim=(0, 100))
    axis.tick_params(labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _picture(
    values: Float64[np.ndarray, "channels *size"], kind: Kind, grid: tuple[int, ...]
) -> Float64[np.ndarray, "height width 3"]:
    """An input as colours between 0 and 1."""
    low, high = np.percentile(values, (1, 99))
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    if kind == "audio":
        return matplotlib.colormaps["magma"](share[0].T[::-1])[..., :3]
    if kind == "video":
        step = share.shape[1] // grid[0]
        share = np.concatenate([share[:, place * step] for place in _moments(grid[0])], axis=2)
    return np.broadcast_to(share.transpose(1, 2, 0), (*share.shape[1:], 3))


def _arranged(codes: Int64[np.ndarray, "*size"], kind: Kind) -> Int64[np.ndarray, "rows columns"]:
    """Codes of patches where they are in the picture."""
    if kind == "audio":
        return codes.T[::-1]
    if kind == "video":
        return np.concatenate([codes[place] for place in _moments(len(codes))], axis=1)
    return codes


def _moments(count: int) -> list[int]:
    """Places of patches in time that are shown."""
    return sorted({round(place) for place in np.linspace(0, count - 1, _FRAMES)})


def _common(codes: Int64[np.ndarray, "batch patches"]) -> Int64[np.ndarray, " count"]:
    """The codes that most patches share, the most frequent first."""
    found, counts = np.unique(codes[codes >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")[: len(_CODE_COLOURS)]
    return found[order[counts[order] > 1]]


def _coloured(
    picture: Float64[np.ndarray, "height width 3"],
    codes: Int64[np.ndarray, "rows columns"],
    common: Int64[np.ndarray, " count"],
) -> Float64[np.ndarray, "height width 3"]:
    height, width = picture.shape[:2]
    rows = np.arange(height) * codes.shape[0] // height
    columns = np.arange(width) * codes.shape[1] // width
    grey = _PALE + (1 - _PALE) * picture.mean(-1, keepdims=True)
    made = np.repeat(grey, 3, axis=-1)
    for code, colour in zip(common, _CODE_COLOURS, strict=False):
        here = (codes == code)[rows][:, columns]
        made[here] = (1 - _TINT) * made[here] + _TINT * np.array([colour >> shift & 255 for shift in (16, 8, 0)]) / 255
    return made
