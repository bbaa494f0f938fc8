"""Figures of the NSVQ papers about quantizers inside of a VQ-VAE, from the results.

python -m benchmarks.image_curves   # docs/figures/image_estimators.svg and image_compositions.svg

Figures 2 and 3 of the first paper: error and perplexity while the models of ``benchmarks.image_estimators`` learn.
Figure 4 of the other one: quality of those of ``benchmarks.image_compositions`` against what a search costs.
"""

from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.pages import ROOT, read

FIGURES = ROOT / "docs" / "figures"
EVERY = 500  # updates from one validation to the next
COLOURS = {
    "straight-through": "#4c78a8",
    "moving average": "#72b7b2",
    "rotation": "#e45756",
    "DiVeQ": "#b279a2",
    "NSVQ without replacement": "#eeca3b",
    "NSVQ": "#f58518",
}
CODES = {"additive": "#4c78a8", "residual": "#f58518", "product": "#e45756"}
QUALITIES = {"ssim": "SSIM", "psnr": "PSNR, dB"}
COSTS = {"wmops": "WMOPS a latent", "encoding": "CPU seconds, 256 images"}


def curves(rows: list[dict[str, Any]], out: Path) -> None:
    """Means over seeds: a column for every size, two rows of each form."""
    sizes, forms = (sorted({row[name] for row in rows}) for name in ("bits", "form"))
    shape = (2 * len(forms), len(sizes))
    figure, axes = pyplot.subplots(
        *shape, figsize=(3.6 * shape[1], 2.4 * shape[0]), layout="constrained", squeeze=False
    )
    for place, form in enumerate(forms):
        for column, bits in enumerate(sizes):
            own = [row for row in rows if (row["form"], row["bits"]) == (form, bits)]
            upper, lower = axes[2 * place][column], axes[2 * place + 1][column]
            _lines(upper, own, "loss", lambda loss: -10 * np.log10(loss))
            _lines(lower, own, "perplexity_0", lambda value: value)
            upper.set(title=f"{bits} bits, {form}", ylabel="" if column else "PSNR, dB")
            lower.set(xlabel="updates", ylabel="" if column else "perplexity", ylim=(0, None))
    named = {line.get_label(): line for panel in axes.flat for line in panel.get_lines()}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=len(named), frameon=False)
    figure.savefig(out, metadata={"Date": None})


def costs(result: dict[str, Any], out: Path) -> None:
    """What a search costs, and how good images are after the last update: means over seeds, points with their bits."""
    figure, axes = pyplot.subplots(2, 2, figsize=(7.2, 5), layout="constrained", sharex="col", sharey="row")
    for (quality, label), across in zip(QUALITIES.items(), axes, strict=True):
        across[0].set(ylabel=label)
        for cost, panel in zip(COSTS, across, strict=True):
            for codes, colour in CODES.items():
                points = [
                    (row[cost], mean(_last(result["rows"], codes, row["bits"], quality)), row["bits"])
                    for row in result["costs"]
                    if row["method"] == codes
                ]
                panel.plot(*np.array(points)[:, :2].T, "o-", color=colour, label=codes, linewidth=1.5, markersize=4)
                for x, y, count in points:
                    panel.annotate(str(count), (x, y), (4, -9), textcoords="offset points", color=colour, fontsize=7)
            panel.set(xscale="log")
            panel.margins(0.1)
            panel.grid(alpha=0.25)
    for panel, unit in zip(axes[-1], COSTS.values(), strict=True):
        panel.set(xlabel=unit)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(CODES), frameon=False)
    figure.savefig(out, metadata={"Date": None})


def _last(rows: list[dict[str, Any]], method: str, bits: int, quality: str) -> list[float]:
    return [row["figures"][-1][quality] for row in rows if (row["method"], row["bits"]) == (method, bits)]


def _lines(axes: Axes, rows: list[dict[str, Any]], name: str, shown: Any) -> None:
    for method, colour in COLOURS.items():
        found = [shown(np.array(row["curves"][name])) for row in rows if row["method"] == method]
        if found:
            steps = EVERY * np.arange(1, len(found[0]) + 1)
            axes.plot(steps, np.mean(found, 0), color=colour, label=method, linewidth=1.5)
    axes.grid(alpha=0.25)
    axes.set_xticks(range(0, 15_001, 5_000))


if __name__ == "__main__":
    mpl.rcParams |= {"svg.hashsalt": "codeword", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    curves(read("image_estimators")["rows"], FIGURES / "image_estimators.svg")
    costs(read("image_compositions"), FIGURES / "image_compositions.svg")
