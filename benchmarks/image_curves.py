"""Figures 2 and 3 of the NSVQ paper: error and perplexity while the VQ-VAEs of ``image_estimators`` learn.

python -m benchmarks.image_curves   # docs/figures/image_estimators.svg, from the results
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from benchmarks.pages import ROOT, read

FIGURE = ROOT / "docs" / "figures" / "image_estimators.svg"
EVERY = 500  # updates from one validation to the next
COLOURS = {
    "straight-through": "#4c78a8",
    "moving average": "#72b7b2",
    "rotation": "#e45756",
    "DiVeQ": "#b279a2",
    "NSVQ without replacement": "#eeca3b",
    "NSVQ": "#f58518",
}


def draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Means over seeds that have curves: a column for every size, two rows of each form."""
    mpl.rcParams |= {"svg.hashsalt": "codeword", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
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


def _lines(axes: Axes, rows: list[dict[str, Any]], name: str, shown: Any) -> None:
    for method, colour in COLOURS.items():
        curves = [shown(np.array(row["curves"][name])) for row in rows if row["method"] == method and "curves" in row]
        if curves:
            steps = EVERY * np.arange(1, len(curves[0]) + 1)
            axes.plot(steps, np.mean(curves, 0), color=colour, label=method, linewidth=1.5)
    axes.grid(alpha=0.25)
    axes.set_xticks(range(0, 15_001, 5_000))


if __name__ == "__main__":
    draw(read("image_estimators")["rows"], FIGURE)
