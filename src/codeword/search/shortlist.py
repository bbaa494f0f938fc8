"""The k best of every query from tiles of approximate scores: what all engines share."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SCORES = 1 << 20  # scores of a tile: 4 MB, written and read back before they leave the cache
DEPTH = 16  # scores that one minimum stands for
_LANES = 64  # minima taken side by side: narrower rows would leave vector registers idle
_KEPT = 1 << 20  # candidates held for a block of queries before they are cut back to the k best
_ID_BITS = 40  # of a key: the query above, the vector below
_ID_MASK = (1 << _ID_BITS) - 1
_NO_KEY = torch.iinfo(torch.int64).max
_WORST = torch.finfo(torch.float32).max
_TINY = torch.finfo(torch.float32).tiny

Metric = Literal["l2", "ip"]
Rescore = Callable[[Tensor, Tensor], Tensor]


class Neighbors(NamedTuple):
    """What a search returns, best first.

    Attributes:
        ids: Numbers of the vectors in the order they were added; -1 where the index holds fewer than k.
        distances: Squared Euclidean distances, or inner products; the worst value there is where ids are -1.
    """

    ids: Int[Tensor, "queries k"]
    distances: Float[Tensor, "queries k"]


def rounding(terms: int) -> float:
    r"""Relative error of a float32 sum of ``terms`` products.

    .. math:: \gamma(n) = \min(n, 8 \sqrt n)\, 2^{-24}

    Source: Higham and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41 (2019),
    theorem 2.4 with lambda = 8, which fails with a probability below 1e-12 a sum.
    """
    return min(terms, 8 * math.sqrt(terms)) * 2.0**-24


def score_error(largest: Float[Tensor, " columns"], terms: int) -> Float[Tensor, " columns"]:
    """The largest error of float32 sums of ``terms`` products.

    Args:
        largest: Sums of the absolute products, at most.
        terms: Products in a sum; each may also lose the smallest normal number where it leaves the range downwards.
    """
    return largest * rounding(terms) + terms * _TINY


def padded_columns(queries: int) -> int:
    """Columns of a tile for so many queries: 1, or a power of two from 16, which keeps rows on whole cache lines."""
    return 1 if queries == 1 else max(16, 1 << (queries - 1).bit_length())


def padded_rows(rows: int, columns: int) -> int:
    """Rows of a tile for so many vectors, such that it divides into whole blocks; the last ones score infinity."""
    step = DEPTH * max(1, _LANES // columns)
    return -(-rows // step) * step


def as_neighbors(ids: Int[Tensor, "queries k"], costs: Float[Tensor, "queries k"], metric: Metric) -> Neighbors:
    """Costs, lower is better, as the distances of a metric."""
    return Neighbors(ids, (costs if metric == "l2" else -costs).float())


class Shortlist:
    """Collects, tile by tile, every vector that may be among the k best of a query.

    ::

        scores (rows, columns) ──amin of blocks──► minima ──≤ bound + error?──► blocks ──≤ bound + error?──► candidates
                                                     │                                                          │
                                                     └──first tile: k-th smallest──► bound ◄──k-th smallest─────┘

    A score is lower for a better vector and wrong by at most ``error``. The bound is a cost that k vectors do not
    exceed, so what scores more than ``bound + error`` cannot belong to the answer. What is left, little more than k
    vectors a query, is ranked by ``rescore``; if that does not depend on how queries are batched, neither does the
    answer, and both have the accuracy of ``rescore``, not that of the tables or products which made the scores.

    Args:
        rescore: Maps query numbers, ascending, and as many vector numbers to exact costs, lower is better.
        k: How many neighbours are wanted.
        queries: Number of queries: the first columns of a tile; the others are not looked at.
        columns: Columns of a tile: ``padded_columns`` of the largest block, or ``queries`` where only runs are offered.
        device: Where the scores are.
    """

    def __init__(self, rescore: Rescore, k: int, *, queries: int, columns: int, device: torch.device):
        self.rescore, self.k, self.queries, self.columns = rescore, k, queries, columns
        self.bound = torch.full((columns,), -math.inf, device=device)
        self.bound[:queries] = _WORST
        self.worst_error = torch.zeros_like(self.bound)
        self.keys: list[Tensor] = []
        self.costs: list[Tensor] = []
        self.kept = self.fresh = 0

    def offer(self, scores: Float[Tensor, "rows columns"], error: Float[Tensor, " columns"], first: int) -> None:
        """Look at one tile.

        Args:
            scores: Approximate costs; infinity in the rows that fill the tile up.
            error: The largest error of a score, for every query.
            first: Number of the first vector; the others follow.
        """
        lanes = max(1, _LANES // self.columns)
        width = lanes * self.columns
        low = scores.view(-1, DEPTH, width).amin(1)
        torch.maximum(self.worst_error, error, out=self.worst_error)
        if self.kept == 0:
            self._open(low.view(-1, self.columns), scores, error)
        limit = (self.bound + error).clamp_(max=_WORST).repeat(lanes)
        spot = true_places(low <= limit)
        if not len(spot):
            return
        # Both are powers of two: integer division is what would cost here.
        column = spot & (width - 1)
        steps = torch.arange(DEPTH, device=spot.device) * width
        place = ((spot - column) * DEPTH + column)[:, None] + steps
        inside = scores.view(-1).index_select(0, place.view(-1)).view(-1, DEPTH)
        chosen = true_places(inside <= limit.index_select(0, column)[:, None])
        place = place.view(-1).index_select(0, chosen)
        query, row = place & (self.columns - 1), place >> (self.columns.bit_length() - 1)
        self._keep(query, row + first, inside.view(-1).index_select(0, chosen), error)

    def offer_runs(
        self,
        scores: Float[Tensor, "groups depth"],
        numbers: Int[Tensor, "groups depth"],
        query: Int[Tensor, " groups"],
        error: Float[Tensor, " columns"],
    ) -> None:
        """Look at scores in runs, where every query has vectors of its own.

        Args:
            scores: Approximate costs in groups of ``DEPTH``, each of one query; infinity where a group is filled up.
            numbers: The vector of every score.
            query: The query of every group, ascending.
            error: The largest error of a score, for every query.
        """
        low = scores.amin(1)
        torch.maximum(self.worst_error, error, out=self.worst_error)
        minima = _matrix(query, low, self.queries, math.inf)
        if minima.shape[1] >= self.k:
            bound = self.bound[: self.queries]
            torch.minimum(bound, minima.kthvalue(self.k, 1).values + error[: self.queries], out=bound)
        limit = (self.bound + error).clamp_(max=_WORST).index_select(0, query)
        spot = true_places(low <= limit)
        inside = scores.index_select(0, spot)
        chosen = true_places(inside <= limit.index_select(0, spot)[:, None])
        owner = query.index_select(0, spot.index_select(0, chosen // scores.shape[1]))
        number = numbers.index_select(0, spot).view(-1).index_select(0, chosen)
        self._keep(owner, number, inside.view(-1).index_select(0, chosen), error)

    def _keep(self, query: Tensor, number: Tensor, score: Tensor, error: Tensor) -> None:
        self.keys.append((query << _ID_BITS) + number)
        self.costs.append(score + error.index_select(0, query))
        # The first tile has just set the bound: its own vectors cannot lower it by much.
        self.fresh += len(query) if self.kept else 0
        self.kept += len(query)
        if self.fresh > self.queries * self.k:
            self._tighten()

    def neighbors(self) -> tuple[Int[Tensor, "queries k"], Float[Tensor, "queries k"]]:
        """The k best of every query, best first: numbers (-1 where there are none) and costs (infinite there)."""
        ids = torch.full((self.queries, self.k), -1, device=self.bound.device)
        costs = torch.full((self.queries, self.k), math.inf, dtype=torch.float64, device=self.bound.device)
        if self.kept:
            self._tighten()
            found, cost = self._rank(self.keys[0])
            ids[:, : found.shape[1]], costs[:, : cost.shape[1]] = found & _ID_MASK, cost
            ids[costs == math.inf] = -1
        return ids, costs

    def _open(self, low: Tensor, scores: Tensor, error: Tensor) -> None:
        """A first bound: minima of disjoint groups belong to different vectors."""
        if len(scores) < self.k:
            return
        groups = 4 * self.k
        if len(low) >= 2 * groups:
            low = low[: len(low) // groups * groups].view(-1, groups, self.columns).amin(0)
        distinct = (low if len(low) >= self.k else scores)[:, : self.queries].t().contiguous()
        bound = distinct.kthvalue(self.k, 1).values + error[: self.queries]
        self.bound[: self.queries] = bound.clamp_(max=_WORST)

    def _tighten(self) -> None:
        """Lower the bound to the k-th candidate, drop what it rules out, and cut ties back when they pile up."""
        key, cost = torch.cat(self.keys), torch.cat(self.costs)
        order = _by_query(key >> _ID_BITS)
        key, cost = key.index_select(0, order), cost.index_select(0, order)
        query = key >> _ID_BITS
        matrix = _matrix(query, cost, self.queries, _WORST)
        if matrix.shape[1] >= self.k:
            bound = self.bound[: self.queries]
            torch.minimum(bound, matrix.kthvalue(self.k, 1).values, out=bound)
        limit = (self.bound + 2 * self.worst_error).clamp_(max=_WORST)
        chosen = true_places(cost <= limit.index_select(0, query))
        key, cost = key.index_select(0, chosen), cost.index_select(0, chosen)
        if len(key) > max(_KEPT, 4 * self.queries * self.k):
            # Copies of one vector all meet the bound; of those the k first are enough.
            best, _ = self._rank(key)
            chosen = true_places(torch.isin(key, best.reshape(-1)))
            key, cost = key.index_select(0, chosen), cost.index_select(0, chosen)
        self.keys, self.costs = [key], [cost]
        self.kept, self.fresh = len(key), 0

    def _rank(self, key: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and exact costs of the k best, from keys ordered by query; ties go to the lowest number."""
        rows = _matrix(key >> _ID_BITS, key, self.queries, _NO_KEY).sort(1).values
        real = rows.view(-1) != _NO_KEY
        key = rows.view(-1)[real]
        cost = torch.full(rows.shape, math.inf, dtype=torch.float64, device=key.device)
        cost.view(-1)[real] = self.rescore(key >> _ID_BITS, key & _ID_MASK)
        cost, order = cost.sort(dim=1, stable=True)
        return rows.gather(1, order)[:, : self.k], cost[:, : self.k]


def true_places(mask: Bool[Tensor, "..."]) -> Int[Tensor, " places"]:
    """Flat places of the true elements; NumPy's search is several times faster than PyTorch's where few are true."""
    if mask.device.type != "cpu":
        return mask.reshape(-1).nonzero()[:, 0]
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def _by_query(query: Tensor) -> Tensor:
    """Order that brings equal queries together; on the processor a radix sort, ten times faster than PyTorch's."""
    if query.device.type != "cpu":
        return query.argsort(stable=True)
    return torch.from_numpy(query.to(torch.int16).numpy().argsort(kind="stable"))


def _matrix(query: Tensor, value: Tensor, queries: int, fill: int | float) -> Tensor:
    """Values ordered by query as one row a query, filled up at the end."""
    count = torch.bincount(query, minlength=queries)
    width = max(1, int(count.max()))
    first = torch.arange(queries, device=query.device) * width - count.cumsum(0) + count
    place = first.index_select(0, query) + torch.arange(len(query), device=query.device)
    return value.new_full((queries * width,), fill).index_copy_(0, place, value).view(queries, width)
