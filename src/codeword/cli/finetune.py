"""``codeword finetune`` and ``codeword evaluate classifier``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from codeword.cli.common import (
    DataFile,
    ModelFolder,
    OptionalCount,
    OptionalNumber,
    OptionalPath,
    print_left_out,
    print_table,
    report_left_out,
)
from codeword.cli.train import check_model_folder
from codeword.recipes.names import Finetuning as Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeword.metrics.classification import Figures


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Train a classifier on a pretrained encoder, all layers; the test items are looked at once, in the end."""

    recipe: tyro.conf.Positional[Annotated[Recipe, tyro.conf.arg(metavar="RECIPE")]]
    """The paper's numbers for a data set, or small, for one processor."""
    model: ModelFolder
    """Folder of a pretrained encoder."""
    data: Path
    """A data set with labels: a folder, a table or tar shards; see codeword data check."""
    out: Annotated[OptionalPath, tyro.conf.arg(metavar="CLASSIFIER")] = None
    """Folder of the classifier; of a data set with folds, of one folder for each."""
    scratch: bool = False
    """Start from random weights instead, to compare with."""
    few: float = 1.0
    """Share of the training labels of every class that are used."""
    epochs: OptionalNumber = None
    """Unset: the recipe's."""
    batch: OptionalCount = None
    """Samples of a batch, all processes together; unset: the recipe's."""
    accumulate: OptionalCount = None
    """Batches of a step; unset: the recipe's."""
    learning_rate: OptionalNumber = None
    """Of the head; unset: the recipe's."""
    layer_decay: OptionalNumber = None
    """What the learning rate is multiplied with from layer to layer, down from the head; unset: the recipe's."""
    precision: Literal["recipe", "32-true", "bf16-mixed"] = "recipe"
    """Of forward and backward."""
    sharding: Literal["none", "full"] = "none"
    """Under torchrun, what a process has of weights, gradients and the optimizer's moments: all, or a share (full)."""
    seed: int = 0
    """Seeds every draw."""
    workers: int = 2
    """Threads that read files."""
    tensorboard: bool = False
    """Write TensorBoard's files as well."""
    dry_run: bool = False
    """Make two steps and one validation, and write nothing."""
    overwrite: bool = False
    """Replace an existing classifier and start anew; without it, an interrupted run goes on."""

    def run(self) -> None:
        """Train, test, save."""
        from dataclasses import replace
        from shutil import rmtree

        import torch

        from codeword.pretraining.encoder import read_encoder, unlearned
        from codeword.recipes.finetuning import finetune, recipe, resume_folder

        if self.out is None and not self.dry_run:
            raise ValueError("where to? give --out CLASSIFIER, or --dry-run")
        out = self.out or Path("unused")
        if not self.dry_run:
            _check_out(out, going_on=resume_folder(out).is_dir(), overwrite=self.overwrite)
        made = recipe(self.recipe)
        config = replace(made.config, seed=self.seed, **_given(self, "batch", "learning_rate", "layer_decay"))
        loop = replace(
            made.loop,
            seed=self.seed,
            precision=made.loop.precision if self.precision == "recipe" else self.precision,
            sharding=self.sharding,
            progress=sys.stderr is not None and sys.stderr.isatty(),
            tensorboard=self.tensorboard,
            **_given(self, "accumulate"),
        )
        made = replace(made, config=config, loop=loop, **_given(self, "epochs"))
        if self.epochs is not None:
            made = replace(made, least_steps=1)
        encoder = read_encoder(self.model)
        torch.manual_seed(self.seed)
        if self.scratch:
            encoder = unlearned(encoder, self.seed)
        if self.overwrite:
            rmtree(resume_folder(out), ignore_errors=True)
        try:
            result = finetune(made, encoder, self.data, out, few=self.few, workers=self.workers, dry_run=self.dry_run)
        except KeyboardInterrupt as stop:
            again = "; the same command goes on" if resume_folder(out).exists() else ""
            raise type(stop)(f"interrupted{again}") from None
        data = result.data
        print(f"{data.listing.layout}, {len(data.listing)} items of {len(data.listing.classes)} classes; {data.note}")
        print_left_out(data.listing.bad)
        if self.dry_run:
            print("two steps and a validation run; nothing was written")
            return
        names = [split.name or "test" for split in data.splits]
        _print(names, result.test, data.listing.classes)
        print(f"{out}: {result.outcome.step} steps, best after {result.outcome.best_step}")


@dataclass(frozen=True)
class EvaluateClassifier:
    """Test a classifier on items with labels."""

    model: ModelFolder
    """Folder of a classifier."""
    data: DataFile
    """A data set with labels."""
    split: str = "test"
    """Which items: of this split, or of all if it is empty."""
    workers: int = 2
    """Threads that read files."""

    def run(self) -> None:
        """Score and print."""
        from codeword.evaluation.data_check import open_listing
        from codeword.pretraining.classifier import Classifier, evaluate
        from codeword.recipes.labelled import labels_of

        if not self.model.is_dir():
            raise ValueError(f"there is no classifier {self.model}: give the folder that codeword finetune made")
        classifier = Classifier.from_pretrained(self.model)
        front_end = classifier.front_end
        if front_end is None:
            raise ValueError(f"{self.model} does not say what its inputs are made of")
        listing = open_listing(self.data, front_end.kind)
        listing = listing.only(self.split) if self.split else listing
        listing = front_end.readable(listing, workers=self.workers).not_empty()
        samples = front_end.samples(listing, classifier.config.patch, workers=self.workers)
        found = evaluate(classifier, samples, labels_of(listing, classifier.classes))
        _print([self.split or "all"], [found], classifier.classes)
        report_left_out(listing.bad, self.data, "the others are judged")


def _check_out(out: Path, *, going_on: bool, overwrite: bool) -> None:
    """As for any model; a folder of classifiers of folds is one as well."""
    entries = list(out.iterdir()) if out.is_dir() else []
    if not entries or not all(entry.name.startswith("fold") and entry.is_dir() for entry in entries):
        check_model_folder(out, overwrite=overwrite)
    elif not going_on and not overwrite:
        raise ValueError(f"{out} exists already: choose another name, or pass --overwrite")


def _given(options: object, *names: str) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _print(names: "Sequence[str]", found: "Sequence[Figures]", classes: "Sequence[str]") -> None:
    rows: list[tuple[str, ...]] = [("", "top-1", "top-5", "mAP", "d'")]
    for name, one in zip(names, found, strict=True):
        figures = (one.top1, one.top5, one.mean_average_precision, one.d_prime)
        rows.append((name, *(f"{value:.4f}" for value in figures)))
    if len(found) > 1:
        from statistics import fmean

        columns = ("top1", "top5", "mean_average_precision", "d_prime")
        rows.append(("mean", *(f"{fmean(getattr(one, column) for one in found):.4f}" for column in columns)))
    print_table(rows)
    for name, one in zip(names, found, strict=True):
        if remark := one.remark(classes):
            print(f"  {name}: {remark}")
