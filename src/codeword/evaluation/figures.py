"""Plots of the demo and the reports."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colours that stay apart for most kinds of colour vision; one method, one colour, in every figure.
COLOURS = {
    "product": "#0072b2",
    "residual": "#e69f00",
    "additive": "#009e73",
    "faiss PQ": "#56b4e9",
    "faiss RQ": "#d9a441",
    "faiss LSQ": "#7fcfb5",
}
_DATA, _WORD = "#c9d3de", "#c0392b"


class Cloud(NamedTuple):
    """A set of points with a codebook: one panel of ``codebook_grid``.

    Attributes:
        points: Data, (points, 2).
        codewords: Codebook, (size, 2).
        error: Mean squared error, written into the panel.
    """

    points: np.ndarray
    codewords: np.ndarray
    error: float


def codebook_grid(panels: Mapping[str, Mapping[str, Cloud]]) -> Figure:
    """Codebooks over data, a row per data set and a column per method (the NSVQ paper's figure 4)."""
    sets, methods = list(panels), list(next(iter(panels.values())))
    figure, axes = plt.subplots(
        len(sets), len(methods), figsize=(2.3 * len(methods), 2.3 * len(sets)), squeeze=False, layout="constrained"
    )
    for row, name in zip(axes, sets, strict=True):
        best = min(cloud.error for cloud in panels[name].values())
        for axis, method in zip(row, methods, strict=True):
            cloud = panels[name][method]
            axis.scatter(*cloud.points.T, s=1.5, color=_DATA, linewidths=0, rasterized=True)
            axis.scatter(*cloud.codewords.T, s=9, color=_WORD, linewidths=0)
            low, high = cloud.points.min(0), cloud.points.max(0)
            pad = 0.08 * (high - low)
            axis.set(
                xlim=(low[0] - pad[0], high[0] + pad[0]), ylim=(low[1] - pad[1], high[1] + pad[1]), xticks=[], yticks=[]
            )
            weight = "bold" if cloud.error == best else "normal"
            axis.set_xlabel(f"error {cloud.error:.4g}", fontsize=8, fontweight=weight)
            _frame(axis)
        row[0].set_ylabel(name)
    for axis, method in zip(axes[0], methods, strict=True):
        axis.set_title(method, fontsize=9)
    return figure


def curves(
    series: Mapping[str, tuple[Sequence[int | float], Sequence[float]]], *, x: str, y: str, title: str
) -> Figure:
    """One line per method, named at its end rather than in a legend."""
    figure, axis = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    ends = []
    for name, (xs, ys) in series.items():
        dashes = "--" if name.startswith("faiss") else "-"
        axis.plot(xs, ys, dashes, color=COLOURS.get(name, "#555555"), marker="o", markersize=4, linewidth=1.8)
        ends.append((ys[-1], name))
    axis.set(xlabel=x, ylabel=y, title=title)
    _name_ends(axis, ends)
    axis.grid(axis="y", color="#e4e8ee", linewidth=0.8)
    _frame(axis)
    return figure


def usage_bars(usage: Mapping[str, Sequence[float]]) -> Figure:
    """Perplexity over codebook size, per level and method: 1 is a codebook used evenly."""
    figure, axis = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
    width = 0.8 / len(usage)
    for number, (name, shares) in enumerate(usage.items()):
        place = np.arange(len(shares)) + (number - (len(usage) - 1) / 2) * width
        axis.bar(place, shares, width * 0.92, label=name, color=COLOURS.get(name, "#555555"))
    longest = max(len(shares) for shares in usage.values())
    axis.set(
        xticks=range(longest),
        xticklabels=range(1, longest + 1),
        ylim=(0, 1),
        xlabel="level",
        ylabel="perplexity / size",
    )
    axis.legend(frameon=False, ncols=len(usage), fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axis.grid(axis="y", color="#e4e8ee", linewidth=0.8)
    axis.set_axisbelow(True)
    _frame(axis)
    return figure


def _name_ends(axis: Axes, ends: list[tuple[float, str]]) -> None:
    """Write names beside the last points, pushed up where they would overlap."""
    low, high = axis.get_ylim()
    last = -1.0
    for value, name in sorted(ends):
        last = max((value - low) / (high - low), last + 0.065)
        axis.annotate(
            name, (1.02, last), xycoords="axes fraction", color=COLOURS.get(name, "#555555"), va="center", fontsize=8
        )


def _frame(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color("#aab4c0")
