"""How much a frozen encoder knows of a data set with labels, beside the same network with random weights."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from torch import Tensor

from codeword.data.listing import Listing
from codeword.formats.atomic import atomic_write
from codeword.metrics.classification import Figures
from codeword.nn.pooling import Fixed
from codeword.pretraining.attentive import AttentiveConfig, LabelledPatches, attentive_probe
from codeword.pretraining.encoder import Encoder, unlearned
from codeword.pretraining.kept_samples import KeptSamples
from codeword.pretraining.probes import (
    Labelled,
    PatchFeatures,
    ProbeResult,
    features,
    linear_probe,
    neighbour_probe,
    patch_features,
)
from codeword.pretraining.samples import Samples
from codeword.recipes.labelled import LabelledData, Split, open_labelled

Method = Literal["linear", "knn", "attentive"]
METHODS: tuple[Method, ...] = ("linear", "knn", "attentive")


class Pooled(NamedTuple):
    """Features of one vector for every item.

    Attributes:
        layer: Which block's output: 0 is the first's, -1 the last's.
        pooling: Of its patches.
    """

    layer: int = -1
    pooling: Fixed = "mean"


@dataclass(frozen=True, kw_only=True)
class ProbeRow:
    """What one probe found.

    Attributes:
        encoder: ``pretrained`` or ``random``.
        method: Which probe.
        figure: Accuracy or mean average precision on test items; the mean over folds.
        spread: Its standard deviation over folds; 0 without folds.
        validation: The figure on the items that chose.
        chosen: What they chose, for every fold.
        test: All figures of the test items, for every fold.
    """

    encoder: str
    method: Method
    figure: float
    spread: float
    validation: float
    chosen: tuple[float, ...]
    test: tuple[Figures, ...]


@dataclass(frozen=True, kw_only=True)
class ProbeReport:
    """All of them.

    Attributes:
        data: What was probed on, in words.
        measure: ``accuracy`` or ``mAP``.
        layer: Of the features.
        pooling: Of the features.
        rows: One for every encoder and probe.
        classes: Names, in the order of their numbers.
        folds: Names; a single empty one without folds.
    """

    data: str
    measure: str
    layer: int
    pooling: str
    rows: tuple[ProbeRow, ...]
    classes: tuple[str, ...]
    folds: tuple[str, ...]

    def table(self) -> list[tuple[str, ...]]:
        """Rows for a terminal, the title first."""
        title = ("encoder", "probe", self.measure, "over folds", "validation", "chosen")
        lines = [
            (
                row.encoder,
                row.method,
                f"{row.figure:.4f}",
                f"± {row.spread:.4f}" if row.spread else "-",
                f"{row.validation:.4f}",
                ", ".join(f"{value:g}" for value in row.chosen),
            )
            for row in self.rows
        ]
        return [title, *lines]

    def remarks(self) -> list[str]:
        """What could not be judged, a line for every fold; the same for all encoders."""
        told = zip(self.folds, (one.remark(self.classes) for one in self.rows[0].test), strict=True)
        return [f"{fold}: {remark}" if fold else remark for fold, remark in told if remark]

    def write(self, path: Path) -> None:
        """As JSON."""
        rows = [{**vars(row), "test": [_plain(one) for one in row.test]} for row in self.rows]
        said = ("data", "measure", "layer", "pooling", "classes", "folds")
        record = {name: getattr(self, name) for name in said}
        with atomic_write(path) as file:
            file.write(json.dumps({**record, "rows": rows}, indent=1).encode())


def probe(
    encoder: Encoder,
    data: Path | Listing,
    *,
    methods: Sequence[Method] = ("linear", "knn"),
    pooled: Pooled | None = None,
    beside: Mapping[str, Encoder] | None = None,
    few: float = 1.0,
    seed: int = 0,
    workers: int = 2,
) -> ProbeReport:
    """Probe an encoder, and the same network with random weights.

    Args:
        encoder: With a front end.
        data: A data set with labels. Its splits are used: folds, or train, val and test; what it does not name is
            drawn, whole groups together.
        methods: Which probes.
        pooled: Which features; the attentive probe pools for itself.
        beside: Other encoders of the same front end, by the names that their rows get; ``None``: one called
            ``random``.
        few: Share of the training labels that are used.
        seed: Of draws and of random weights.
        workers: Threads that read files.

    Raises:
        ValueError: In one line, if the data has no labels, the encoder no front end, there is no method or no such
            features.
    """
    if not methods:
        raise ValueError(f"a probe needs a method: one or several of {', '.join(METHODS)}")
    pooled, front_end = pooled or Pooled(), encoder.front_end
    if front_end is None:
        raise ValueError("the encoder does not say what its inputs are made of, so that no file can become one")
    encoder.check(*pooled)
    found = open_labelled(
        data, front_end.kind, few=few, seed=seed, readable=lambda listing: front_end.readable(listing, workers=workers)
    )
    samples = KeptSamples(front_end.samples(found.listing, encoder.config.patch, workers=workers))
    networks = {"pretrained": encoder, **({"random": unlearned(encoder, seed)} if beside is None else beside)}
    rows: list[ProbeRow] = []
    for name, own in networks.items():
        rows += [_row(name, method, results) for method, results in _probed(own, samples, found, methods, pooled)]
    listing = found.listing
    left_out = f", {len(listing.bad)} left out that cannot be read" if listing.bad else ""
    return ProbeReport(
        data=f"{listing.layout}, {len(listing)} items of {len(listing.classes)} classes{left_out}; {found.note}",
        measure="mAP" if found.labels.is_floating_point() else "accuracy",
        layer=pooled.layer,
        pooling=pooled.pooling,
        rows=tuple(rows),
        classes=tuple(listing.classes),
        folds=tuple(split.name for split in found.splits),
    )


def _plain(figures: Figures) -> dict[str, object]:
    """As JSON knows it, without NaN."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in vars(figures).items()
        if name != "per_class"
    }


def _probed(
    encoder: Encoder,
    samples: Samples,
    data: LabelledData,
    methods: Sequence[Method],
    pooled: Pooled,
) -> "list[tuple[Method, list[ProbeResult]]]":
    results: list[tuple[Method, list[ProbeResult]]] = []
    of_vectors = [method for method in methods if method != "attentive"]
    if of_vectors:
        rows = features(encoder.network, samples, layer=pooled.layer, pooling=pooled.pooling)
        for method in of_vectors:
            own = linear_probe if method == "linear" else neighbour_probe
            found = [own(*(Labelled(rows[part], data.labels[part]) for part in _parts(one))) for one in data.splits]
            results.append((method, found))
    if "attentive" in methods:
        patches = patch_features(encoder.network, samples, layer=pooled.layer)
        config = AttentiveConfig(heads=encoder.config.heads)
        found = [
            attentive_probe(
                *(LabelledPatches(_some(patches, part), data.labels[part]) for part in _parts(one)), config=config
            )
            for one in data.splits
        ]
        results.append(("attentive", found))
    return results


def _parts(split: Split) -> tuple[Tensor, Tensor, Tensor]:
    return split.train, split.validation, split.test


def _some(patches: PatchFeatures, rows: Tensor) -> PatchFeatures:
    return PatchFeatures(patches.patches[rows], None if patches.valid is None else patches.valid[rows])


def _row(encoder: str, method: Method, results: Sequence[ProbeResult]) -> ProbeRow:
    values = [result.accuracy for result in results]
    return ProbeRow(
        encoder=encoder,
        method=method,
        figure=fmean(values),
        spread=stdev(values) if len(values) > 1 else 0.0,
        validation=fmean(result.validation for result in results),
        chosen=tuple(float(result.chosen) for result in results),
        test=tuple(result.test for result in results),
    )
