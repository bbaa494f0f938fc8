"""Who learns, who chooses and who tests: folds of a data set, and the few labels of a share of it."""

import math
import re
import statistics
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from codeword.metrics.classification import Labels

_FOLD = re.compile(r"fold(\d+)")


class Fold(NamedTuple):
    """Numbers of samples, each in one part at most.

    Attributes:
        name: Of the fold that tests.
        train: To learn from.
        validation: To choose by: the fold after the one that tests.
        test: To be looked at once.
    """

    name: str
    train: Int[Tensor, " rows"]
    validation: Int[Tensor, " rows"]
    test: Int[Tensor, " rows"]


class OverFolds(NamedTuple):
    """One figure of every fold.

    Attributes:
        mean: Over folds, each counting as one.
        spread: Their standard deviation, as that of a sample (n - 1).
        values: Of every fold.
    """

    mean: float
    spread: float
    values: tuple[float, ...]


def folds(splits: Sequence[str]) -> list[Fold]:
    """Every fold tests once, the one after it chooses, and all others are learned from.

    Args:
        splits: ``fold1``, ``fold2`` ... of every sample; samples of other names are in no fold.

    Raises:
        ValueError: If there are fewer than three folds.
    """
    numbers = [int(found[1]) if (found := _FOLD.fullmatch(split)) else -1 for split in splits]
    names = sorted(set(numbers) - {-1})
    if len(names) < 3:
        raise ValueError(f"one fold tests, one chooses and others train: got {len(names)} folds, 3 are needed")
    of = torch.tensor(numbers)

    def rows(chosen: Sequence[int]) -> Tensor:
        return torch.isin(of, torch.tensor(chosen)).nonzero()[:, 0]

    parts = []
    for place, name in enumerate(names):
        chooses = names[(place + 1) % len(names)]
        others = [other for other in names if other not in (name, chooses)]
        parts.append(Fold(f"fold{name}", rows(others), rows([chooses]), rows([name])))
    return parts


def over_folds(splits: Sequence[str], test: Callable[[Fold], float]) -> OverFolds:
    """The figure of every fold, with mean and spread.

    Args:
        splits: See ``folds``.
        test: Learns from a fold's training samples, chooses by its validation samples, and returns its test figure.
    """
    values = tuple(test(fold) for fold in folds(splits))
    return OverFolds(statistics.fmean(values), statistics.stdev(values), values)


class Divided(NamedTuple):
    """Numbers of samples in two parts, ascending.

    Attributes:
        chosen: A share of every class, one sample of each at least.
        rest: All others.
    """

    chosen: Int[Tensor, " rows"]
    rest: Int[Tensor, " rows"]


def divided(labels: Labels, share: float, *, seed: int = 0) -> Divided:
    """Choose a share of every class: the few labels of an experiment, or samples that choose where no split does.

    Args:
        labels: Of all samples; those with several classes count as of their first.
        share: Of every class, above 0 and at most 1; rounded up.
        seed: Of the draw; smaller shares are part of larger ones.

    Raises:
        ValueError: If it is no such share.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share is above 0 and at most 1, got {share}")
    classes = labels.argmax(1) if labels.is_floating_point() else labels
    taken = torch.zeros(len(labels), dtype=torch.bool)
    for number in classes.unique().tolist():
        rows = (classes == number).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {number}".encode()))
        order = torch.randperm(len(rows), generator=generator)
        taken[rows[order[: math.ceil(share * len(rows))]]] = True
    return Divided(taken.nonzero()[:, 0], (~taken).nonzero()[:, 0])
