"""Search in a few cells of a coarse quantizer instead of everywhere."""

import math
import os
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from codeword.quantizers.base import Quantizer
from codeword.search.flat import FlatIndex
from codeword.search.rows import Rows, check_codes, check_count, check_integers, check_vectors, compact
from codeword.search.shortlist import DEPTH, Metric, Neighbors, Shortlist, as_neighbors
from codeword.search.storage import Saved, write
from codeword.search.tables import AdditiveTables
from codeword.search.turn import Turn

_BLOCK = 64  # queries whose tables are made together
_PAIRS = 1 << 20  # pairs of a query and a vector whose scores are held at once, if one query has not more
_ROWS = 1 << 16  # pairs looked up at once


class InvertedIndex:
    r"""Codes in inverted lists, one list for each cell of a coarse quantizer (Jegou et al. 2011, section IV).

    ::

        x ──► coarse.encode ──► list l       x - c_l (or x) ──► quantizer.encode ──► codes, stored in list l

        q ──► the `probes` nearest centroids ──► their lists laid end to end ──► look-ups ──► Shortlist ──► neighbors

    With residuals a reconstruction is the sum :math:`c_l + \hat r`: the coarse codebook is one level more of an
    additive quantizer, the list number its code. So one table per query serves all lists, the coarse level adds one
    number per list, and the norm of the whole reconstruction is stored with the vector. Equal distances keep the order
    of lists, then that in which vectors were added.

    Args:
        coarse: A quantizer of one level; its codewords are the centres of the cells.
        quantizer: Encodes what lies in the cells; its decoder is a sum of codewords.
        by_residual: Whether it encodes the difference from the centre or the vector itself.
        metric: ``"l2"`` for squared Euclidean distances, ``"ip"`` for inner products (largest first).

    Raises:
        ValueError: If the coarse quantizer has several levels or another dimension.
    """

    KIND = "inverted"

    def __init__(self, coarse: Quantizer, quantizer: Quantizer, *, by_residual: bool = True, metric: Metric = "l2"):
        if coarse.levels != 1 or coarse.dim != quantizer.dim:
            raise ValueError(
                f"the coarse quantizer needs 1 level and the {quantizer.dim} features of the quantizer, "
                f"got {coarse.levels} levels and {coarse.dim} features"
            )
        self.coarse, self.quantizer, self.by_residual, self.metric = coarse, quantizer, by_residual, metric
        self.centroids = coarse.codebooks()[0].detach().float()
        self._cells = FlatIndex(coarse.dim, metric=metric)
        self._cells.add(self.centroids)
        self._turn = Turn(quantizer)
        fine = self._turn.inner.codebooks()
        self.tables = AdditiveTables([self._turn(self.centroids).float(), *fine] if by_residual else fine, metric)
        sizes, device = quantizer.sizes, self.centroids.device
        self._codes = Rows(compact(torch.empty(0, len(sizes), dtype=torch.int64, device=device), sizes))
        self._norms = Rows(torch.empty(0, device=device))
        self._lists = Rows(torch.empty(0, dtype=torch.int64, device=device))
        self._ids = Rows(torch.empty(0, dtype=torch.int64, device=device))
        self._edges = torch.zeros(len(self.centroids) + 1, dtype=torch.int64)
        self._sorted = 0

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, vectors: Float[Tensor, "vectors dim"]) -> None:
        """Assign vectors to lists, encode them and store their codes."""
        check_vectors(vectors, self.tables.dim, "vectors")
        lists = self.coarse.encode(vectors)[:, 0]
        rest = vectors - self.centroids[lists] if self.by_residual else vectors
        self.add_codes(self.quantizer.encode(rest), lists)

    def add_codes(self, codes: Integer[Tensor, "vectors levels"], lists: Int[Tensor, " vectors"]) -> None:
        """Store codes that exist already.

        Args:
            codes: Codes of the residuals, or of the vectors themselves without ``by_residual``; -1 for no codeword.
            lists: The list of every vector.
        """
        codes = check_codes(codes, self.quantizer.sizes)
        check_integers("lists", lists)
        if lists.shape != codes.shape[:1]:
            raise ValueError(f"{len(codes)} vectors need one list each, got lists of shape {tuple(lists.shape)}")
        if len(lists) and not 0 <= int(lists.min()) <= int(lists.max()) < self.size:
            raise ValueError(f"lists must lie in 0..{self.size - 1}, got {int(lists.min())}..{int(lists.max())}")
        if self.tables.needs_norms:
            self._norms.append(self.tables.norms(self._whole(codes, lists)))
        self._ids.append(torch.arange(len(self), len(self) + len(codes), device=codes.device))
        self._lists.append(lists.long())
        self._codes.append(compact(codes, self.quantizer.sizes))

    @property
    def size(self) -> int:
        """Number of lists."""
        return len(self.centroids)

    def members(self, number: int) -> tuple[Int[Tensor, " vectors"], Integer[Tensor, "vectors levels"]]:
        """Numbers and codes of the vectors of one list, in the order they were added."""
        if not 0 <= number < self.size:
            raise ValueError(f"this index has the lists 0..{self.size - 1}, asked for {number}")
        self._settle()
        part = slice(int(self._edges[number]), int(self._edges[number + 1]))
        return self._ids.tensor[part], self._codes.tensor[part]

    def search(self, queries: Float[Tensor, "queries dim"], k: int, *, probes: int = 8) -> Neighbors:
        """The k nearest vectors of every query among those in its ``probes`` nearest lists."""
        check_vectors(queries, self.tables.dim, "queries")
        check_count("k", k)
        check_count("probes", probes)
        self._settle()
        ids = torch.full((len(queries), k), -1, device=queries.device)
        costs = torch.full((len(queries), k), math.inf, dtype=torch.float64, device=queries.device)
        for start in range(0, len(queries) if len(self) else 0, _BLOCK):
            part = slice(start, start + _BLOCK)
            ids[part], costs[part] = self._search(queries[part].detach(), k, min(probes, self.size))
        return as_neighbors(ids, costs, self.metric)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index, its quantizers included, to a file that ``load_index`` reads."""
        order = self._ids.tensor.argsort()
        tensors = {"codes": self._codes.tensor[order], "lists": self._lists.tensor[order]}
        header = {"kind": self.KIND, "metric": self.metric, "by_residual": self.by_residual}
        write(path, header, tensors, coarse=self.coarse, quantizer=self.quantizer)

    @staticmethod
    def restore(saved: Saved) -> "InvertedIndex":
        """The index of a file."""
        by_residual = bool(saved.header.get("by_residual"))
        coarse, quantizer = saved.quantizer("coarse"), saved.quantizer("quantizer")
        index = InvertedIndex(coarse, quantizer, by_residual=by_residual, metric=saved.metric)
        index.add_codes(saved.tensor("codes"), saved.tensor("lists"))
        return index

    def _search(self, queries: Tensor, k: int, probes: int) -> tuple[Tensor, Tensor]:
        cells = self._cells.search(queries, probes).ids.sort(1).values
        prepared = self.tables.prepare(self._turn(queries), len(queries))
        table = prepared.rows.t().contiguous()

        def rescore(query: Tensor, places: Tensor) -> Tensor:
            lists, codes = self._lists.tensor.index_select(0, places), self._codes.tensor.index_select(0, places)
            return self.tables.costs(prepared.queries, query, self._whole(codes, lists))

        shortlist = Shortlist(rescore, k, queries=len(queries), columns=len(queries), device=queries.device)
        runs = self._runs(cells, table)
        for some in runs.split(_PAIRS):
            scores, places = self._scores(some, table)
            groups = some.query.repeat_interleave(some.count)[::DEPTH]
            shortlist.offer_runs(scores.view(-1, DEPTH), places.view(-1, DEPTH), groups, prepared.error)
        places, costs = shortlist.neighbors()
        return torch.where(places < 0, -1, self._ids.tensor[places.clamp_min(0)]), costs

    def _runs(self, cells: Tensor, table: Tensor) -> "_Runs":
        """The lists of every query, and behind them as many places of infinite score as fill up its last group."""
        edges = self._edges.to(cells.device)
        first, count = edges[cells], edges[cells + 1] - edges[cells]
        constant = torch.zeros(cells.shape, device=cells.device)
        if self.by_residual:
            constant = table.gather(1, cells + int(self.tables.starts[0]))
        fill = -count.sum(1, keepdim=True) % DEPTH
        query = torch.arange(len(cells), device=cells.device)[:, None].expand(-1, cells.shape[1] + 1)
        return _Runs(
            query.reshape(-1),
            torch.cat([first, torch.zeros_like(fill)], 1).view(-1),
            torch.cat([count, fill], 1).view(-1),
            torch.cat([constant, torch.full_like(fill, math.inf, dtype=constant.dtype)], 1).view(-1),
            cells.shape[1] + 1,
        )

    def _scores(self, runs: "_Runs", table: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of all vectors in some runs, and where these vectors lie."""
        ends = runs.count.cumsum(0)
        place = (runs.first - ends + runs.count).repeat_interleave(runs.count)
        place += torch.arange(len(place), device=place.device)
        if len(self) < DEPTH:
            place.clamp_(max=len(self) - 1)  # what fills a group up may be more places than there are
        scores = runs.constant.repeat_interleave(runs.count)
        row = (runs.query * table.shape[1]).repeat_interleave(runs.count).to(torch.int32)
        flat, starts = table.view(-1), self.tables.starts[1 if self.by_residual else 0 :].tolist()
        for start in range(0, len(place), _ROWS):
            part = slice(start, start + _ROWS)
            codes = self._codes.tensor.index_select(0, place[part])
            rows = torch.empty(codes.shape[1], len(codes), dtype=torch.int32, device=codes.device).copy_(codes.t())
            total = scores[part]
            for level, first in enumerate(starts):
                total += flat.index_select(0, rows[level].add_(row[part]).add_(first))
            if self.tables.needs_norms:
                total += self._norms.tensor.index_select(0, place[part])
        return scores, place

    def _whole(self, codes: Tensor, lists: Tensor) -> Tensor:
        """Codes of whole reconstructions: with residuals, the list is the code of the first level."""
        return torch.cat([lists[:, None], codes.long()], 1) if self.by_residual else codes

    def _settle(self) -> None:
        """Bring each list together, in the order its vectors were added."""
        if self._sorted == len(self):
            return
        order = self._lists.tensor.argsort(stable=True)
        for rows in (self._codes, self._ids, self._lists, *([self._norms] if self.tables.needs_norms else [])):
            rows.reorder(order)
        self._edges[1:] = torch.bincount(self._lists.tensor, minlength=self.size).cumsum(0)
        self._sorted = len(self)


class _Runs(NamedTuple):
    """Stretches of the stored vectors that queries look at, ``per_query`` for each."""

    query: Tensor
    first: Tensor
    count: Tensor
    constant: Tensor
    per_query: int

    def split(self, pairs: int) -> "Iterator[_Runs]":
        """Whole queries together, about so many vectors at a time."""
        total = self.count.view(-1, self.per_query).sum(1).tolist()
        start = size = 0
        for number, count in enumerate(total):
            if size and size + count > pairs:
                yield self._part(start, number)
                start, size = number, 0
            size += count
        yield self._part(start, len(total))

    def _part(self, start: int, stop: int) -> "_Runs":
        part = slice(start * self.per_query, stop * self.per_query)
        return _Runs(self.query[part], self.first[part], self.count[part], self.constant[part], self.per_query)
