"""How good the scores of a classifier are, whether items have one class each or several.

A class that no item of a set has (or that all have) cannot be judged on it: it is left out of means, and named.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Real
from torch import Tensor

Labels = Int[Tensor, " count"] | Float[Tensor, "count classes"]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What scores are worth.

    Attributes:
        top1: Share of items whose class has the largest score; NaN where items have several classes.
        top5: Share of items whose class is among the five largest; NaN likewise.
        mean_average_precision: Over the classes that items have.
        d_prime: See ``d_prime``.
        per_class: Of every class the share of its items that were found; its average precision where items have
            several classes; NaN of the classes that are missing.
        missing: Numbers of the classes that no item has.
    """

    top1: float
    top5: float
    mean_average_precision: float
    d_prime: float
    per_class: tuple[float, ...]
    missing: tuple[int, ...]

    @property
    def figure(self) -> float:
        """The one that counts: top-1, or mean average precision where items have several classes."""
        return self.mean_average_precision if math.isnan(self.top1) else self.top1

    def remark(self, classes: Sequence[str] | None = None) -> str:
        """Which classes could not be judged, in a line; empty where all could.

        Args:
            classes: Their names; ``None``: they are told by their numbers.
        """
        if not self.missing:
            return ""
        names = [str(number) if classes is None else classes[number] for number in self.missing[:10]]
        few = ", ".join(names) + (" ..." if len(self.missing) > 10 else "")
        return f"{len(self.missing)} of {len(self.per_class)} classes have no item in this set, no mean has them: {few}"


def figures(scores: Float[Tensor, "count classes"], labels: Int[Tensor, " _"] | Float[Tensor, "_ _"]) -> Figures:
    """All figures of a set.

    Args:
        scores: The larger, the likelier.
        labels: The number of every item's class, or 1 for each of its classes and 0 for others.

    Raises:
        ValueError: If there are no items, or labels do not fit scores.
    """
    _check(scores, labels)
    classes, single = scores.shape[1], labels.ndim == 1
    truth = multi_hot(labels, classes)
    precisions = average_precisions(scores, truth)
    per_class = class_accuracies(scores, labels) if single else precisions
    return Figures(
        top1=top_k(scores, labels, 1) if single else math.nan,
        top5=top_k(scores, labels, 5) if single else math.nan,
        mean_average_precision=float(precisions.nanmean()),
        d_prime=d_prime(scores, truth),
        per_class=tuple(per_class.tolist()),
        missing=tuple(torch.nonzero(truth.sum(0) == 0)[:, 0].tolist()),
    )


def multi_hot(labels: Labels, classes: int) -> Float[Tensor, "count classes"]:
    """Labels as one row for every item: 1 for each of its classes, 0 for others."""
    return labels if labels.is_floating_point() else F.one_hot(labels.long(), classes).float()


def num_classes(*parts: Int[Tensor, " _"] | Float[Tensor, "_ _"]) -> int:
    """How many classes some sets have together; a class that a set lacks counts as well."""
    return max(part.shape[1] if part.is_floating_point() else 1 + int(part.max()) for part in parts)


def top_k(scores: Float[Tensor, "count classes"], labels: Int[Tensor, " count"], k: int) -> float:
    """Share of items whose class has one of the k largest scores; with fewer classes than k, all are found."""
    found = scores.topk(min(k, scores.shape[1]), 1).indices == labels.unsqueeze(1)
    return float(found.any(1).double().mean())


def class_accuracies(
    scores: Float[Tensor, "count classes"], labels: Int[Tensor, " count"]
) -> Float[Tensor, " classes"]:
    """Of every class the share of its items that have their largest score there; NaN of classes without items."""
    truth = multi_hot(labels, scores.shape[1]).double()
    right = (scores.argmax(1) == labels).double()
    return (truth * right.unsqueeze(1)).sum(0) / truth.sum(0)


def average_precisions(
    scores: Float[Tensor, "count classes"], truth: Real[Tensor, "count classes"]
) -> Float[Tensor, " classes"]:
    r"""Area under precision over recall, as a sum over the distinct scores; NaN of classes without items.

    .. math:: \sum_n (R_n - R_{n-1}) P_n

    Items with the same score are found together, so that their order does not matter (scikit-learn's
    ``average_precision_score``).
    """
    _, hits, last = _ranked(scores, truth)
    places = torch.arange(1, len(scores) + 1, dtype=torch.float64, device=scores.device).unsqueeze(1)
    precision = (hits.cumsum(0) / places).gather(0, last)
    return (hits * precision).sum(0) / hits.sum(0)


def areas_under_roc(
    scores: Float[Tensor, "count classes"], truth: Real[Tensor, "count classes"]
) -> Float[Tensor, " classes"]:
    """How often an item of a class scores above one of the others, equal scores half; NaN where either is missing."""
    ascending, hits, last = _ranked(scores, truth)
    misses = 1 - hits
    above = misses.cumsum(0)
    through = above.gather(0, last)  # those above, and those with the same score
    first = _first_of_equals(ascending)
    before = (above - misses).gather(0, first)
    total = misses.sum(0)
    return (hits * (total - (through + before) / 2)).sum(0) / (hits.sum(0) * total)


def d_prime(scores: Float[Tensor, "count classes"], truth: Real[Tensor, "count classes"]) -> float:
    r"""How far apart two normal distributions are whose area under ROC is the mean one (Gemmeke et al. 2017).

    .. math:: d' = \sqrt 2 \, \Phi^{-1}(\overline{\mathrm{AUC}})

    Infinite where every area is 1; NaN where no class can be judged.
    """
    return math.sqrt(2) * float(torch.special.ndtri(areas_under_roc(scores, truth).nanmean()))


def _ranked(scores: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of every class: scores from large to small, whether items have it, and the place of the last equal score."""
    ordered, order = scores.double().sort(dim=0, descending=True)
    count = len(scores)
    ends = torch.ones_like(ordered, dtype=torch.bool)
    ends[:-1] = ordered[:-1] != ordered[1:]
    places = torch.arange(count, device=scores.device).unsqueeze(1)
    last = torch.where(ends, places, count).flip(0).cummin(0).values.flip(0)
    return ordered, truth.double().gather(0, order), last


def _first_of_equals(ordered: Tensor) -> Tensor:
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[1:] = ordered[:-1] != ordered[1:]
    places = torch.arange(len(ordered), device=ordered.device).unsqueeze(1)
    return torch.where(begins, places, 0).cummax(0).values


def _check(scores: Tensor, labels: Tensor) -> None:
    if not len(scores) or len(scores) != len(labels) or labels.shape[1:] not in ((), scores.shape[1:]):
        raise ValueError(
            f"scores of shape {tuple(scores.shape)} need a class number or {scores.shape[1]} flags for each item, "
            f"one item at least: got labels of shape {tuple(labels.shape)}"
        )
    if labels.ndim == 1 and not 0 <= int(labels.min()) <= int(labels.max()) < scores.shape[1]:
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise ValueError(f"classes are numbered 0 to {scores.shape[1] - 1}: got labels from {found}")
