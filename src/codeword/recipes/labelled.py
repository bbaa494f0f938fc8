"""Data sets with labels: their classes as numbers, and who learns, who chooses, who tests."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from codeword.data.listing import Kind, Listing
from codeword.evaluation.data_check import open_listing
from codeword.metrics.classification import Labels, multi_hot
from codeword.pretraining.folds import divided, folds

_TEST_SHARE, _VALIDATION_SHARE = 0.2, 0.15


class Split(NamedTuple):
    """Numbers of items, each in one part at most.

    Attributes:
        name: Of the fold that tests; empty where there are no folds.
        train: To learn from.
        validation: To choose by.
        test: To be looked at once.
    """

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor


class LabelledData(NamedTuple):
    """A listing with labels.

    Attributes:
        listing: Of items that have a class.
        labels: Theirs: numbers, or 1 for each of several classes.
        splits: One, or one for every fold.
        note: Who chose the splits, in words.
    """

    listing: Listing
    labels: Labels
    splits: tuple[Split, ...]
    note: str


def open_labelled(
    path: Path | Listing,
    kind: Kind,
    *,
    few: float = 1.0,
    seed: int = 0,
    readable: Callable[[Listing], Listing] = lambda listing: listing,
) -> LabelledData:
    """A data set with labels, and its splits; those that it does not name are drawn, whole groups together.

    Args:
        path: A data set, or a listing of one.
        kind: What it holds.
        few: Share of the training items of every class that are learned from.
        seed: Of draws.
        readable: Leaves out what cannot be read.

    Raises:
        ValueError: In one line, if there are fewer than two classes, too few items to divide, or no such share.
    """
    listing = path if isinstance(path, Listing) else open_listing(path, kind)
    listing = readable(replace(listing, items=tuple(item for item in listing.items if item.labels)))
    if len(listing.classes) < 2:
        raise ValueError(f"{listing.layout}: labels of two classes at least are needed, got {len(listing.classes)}")
    labels = labels_of(listing.not_empty(), listing.classes)
    names = [item.split for item in listing.items]
    if len({name for name in names if name.startswith("fold")}) >= 3:
        splits = tuple(Split(*fold) for fold in folds(names))
        note = f"{len(splits)} folds: each tests once, the one after it chooses"
    else:
        split, note = _split(listing, labels, names, seed)
        splits = (split,)
    if few != 1:
        splits = tuple(one._replace(train=_few(one.train, labels, few, seed)) for one in splits)
        note += f", {few:.4g} of the training labels"
    for one in splits:
        if not min(len(one.train), len(one.validation), len(one.test)):
            raise ValueError(
                f"{len(listing)} items are too few: {len(one.train)} to learn from, {len(one.validation)} to choose by "
                f"and {len(one.test)} to test"
            )
    return LabelledData(listing, labels, splits, note)


def labels_of(listing: Listing, classes: Sequence[str]) -> Labels:
    """Numbers of the classes of all items; 1 for each of its classes where an item has several.

    Raises:
        ValueError: If an item has no class, or one that is not among them.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    strange = sorted({label for item in listing.items for label in item.labels} - numbers.keys())
    if strange:
        more = " ..." if len(classes) > 10 else ""
        raise ValueError(f"class {strange[0]!r} is not known: there are {', '.join(classes[:10])}{more}")
    targets = [[numbers[label] for label in item.labels] for item in listing.items]
    if not all(targets):
        raise ValueError(f"{listing.items[targets.index([])].path} has no label")
    if all(len(target) == 1 for target in targets):
        return torch.tensor(targets)[:, 0]
    return torch.stack([multi_hot(torch.tensor(target), len(classes)).amax(0) for target in targets])


def _split(listing: Listing, labels: Labels, names: Sequence[str], seed: int) -> tuple[Split, str]:
    rows = {name: _rows([own == name for own in names]) for name in ("val", "test")}
    free, notes = _rows([name not in rows for name in names]), list[str]()
    for name, share in (("test", _TEST_SHARE), ("val", _VALIDATION_SHARE)):
        if not len(rows[name]):
            free, rows[name] = _parted(listing, labels, free, share, seed)
            notes.append(f"{'test' if name == 'test' else 'validation'} items drawn ({share:.0%})")
    return Split("", free, rows["val"], rows["test"]), ", ".join(notes) or "splits of the data set"


def _parted(listing: Listing, labels: Labels, rows: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows that stay and rows that are drawn: whole groups where there are several, else a share of every class."""
    groups = [listing.items[row].group or f" {row}" for row in rows.tolist()]
    known = sorted(set(groups))
    if len(known) == len(rows) or len(known) < 3:
        drawn = divided(labels[rows], share, seed=seed)
        return rows[drawn.rest], rows[drawn.chosen]
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed)).tolist()
    taken = {known[place] for place in order[: max(1, round(share * len(known)))]}
    chosen = torch.tensor([group in taken for group in groups])
    return rows[~chosen], rows[chosen]


def _few(rows: Tensor, labels: Labels, share: float, seed: int) -> Tensor:
    return rows[divided(labels[rows], share, seed=seed).chosen]


def _rows(chosen: Sequence[bool]) -> Tensor:
    return torch.tensor(chosen, dtype=torch.bool).nonzero()[:, 0]
