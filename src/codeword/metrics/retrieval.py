"""How often a search finds the true nearest neighbour, and whether one search is better than another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class Interval(NamedTuple):
    """An estimate with its confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Recall:
    """Hits of every query at several ranks.

    Attributes:
        ranks: The ranks T, as given.
        hits: Whether the query's true nearest neighbour is among the first T found.
    """

    ranks: tuple[int, ...]
    hits: Bool[Tensor, "queries ranks"]

    @property
    def values(self) -> tuple[float, ...]:
        """Recall at each rank, the mean of the hits."""
        return tuple(self.hits.double().mean(dim=0).tolist())

    def interval(self, rank: int, *, confidence: float = 0.95) -> Interval:
        """Recall at one rank with Wilson's score interval (1927), which stays inside [0, 1]."""
        hits = self.at(rank)
        total, share, z = len(hits), float(hits.double().mean()), _normal_quantile(confidence)
        centre = (share + z * z / (2 * total)) / (1 + z * z / total)
        half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
        return Interval(share, max(centre - half, 0.0), min(centre + half, 1.0))

    def at(self, rank: int) -> Bool[Tensor, " queries"]:
        """Hits of every query at one rank."""
        if rank not in self.ranks:
            raise ValueError(f"recall was measured at ranks {list(self.ranks)}, not at {rank}: ask recall_at for it")
        return self.hits[:, self.ranks.index(rank)]


def recall_at(
    ids: Int[Tensor, "queries found"], truth: Int[Tensor, "queries neighbours"], ranks: Sequence[int]
) -> Recall:
    """Recall@T of a search: is the true nearest neighbour, ``truth[:, 0]``, among the first T of ``ids``?

    Shapes: ids found, best first, -1 where nothing was found; true neighbours, nearest first, of which only the first
    is used.

    Note:
        Where the data holds exact duplicates, finding the twin of ``truth[:, 0]`` counts as a miss.

    Raises:
        ValueError: There are no queries or no true neighbours, or a rank is outside 1..found.
    """
    if not truth.numel():
        raise ValueError(f"recall needs a query and its true neighbour, got a truth of shape {tuple(truth.shape)}")
    if not ranks or min(ranks) < 1 or max(ranks) > ids.shape[1]:
        raise ValueError(
            f"ranks must lie in 1..{ids.shape[1]}, the ids found of a query, got {list(ranks)}: search deeper"
        )
    found = (ids == truth[:, :1]) & (truth[:, :1] >= 0)
    by_rank = torch.cummax(found.long(), dim=1)[0].bool()
    return Recall(tuple(ranks), by_rank[:, [rank - 1 for rank in ranks]])


def paired_difference(first: Recall, second: Recall, rank: int, *, confidence: float = 0.95) -> Interval:
    """Recall of ``first`` less that of ``second`` on the same queries, with a confidence interval for the difference.

    With ``b`` queries that only ``first`` hits and ``c`` that only ``second`` hits, of ``n``, and half a query added
    to each of the four cells: ``(b - c) / (n + 2) +- z sqrt((b + c + 1) - (b - c)^2 / (n + 2)) / (n + 2)`` (Agresti
    and Min 2005). Queries on which both agree carry no noise into the difference, so the interval is far narrower
    than that of two separate recalls, and the added queries keep it honest where the two never differ.
    """
    ours, theirs = first.at(rank), second.at(rank)
    if len(ours) != len(theirs):
        raise ValueError(f"a paired difference needs the same queries, got {len(ours)} and {len(theirs)}")
    total = len(ours)
    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    centre = (wins - losses) / (total + 2)
    spread = math.sqrt((wins + losses + 1) - (wins - losses) ** 2 / (total + 2)) / (total + 2)
    half = _normal_quantile(confidence) * spread
    return Interval((wins - losses) / total, centre - half, centre + half)


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}: write 0.95 for 95 %")
    return NormalDist().inv_cdf((1 + confidence) / 2)
