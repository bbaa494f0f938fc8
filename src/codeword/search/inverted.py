"""Search in a few cells of a coarse quantizer instead of everywhere."""

import math
import os
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.quantizers.base import Quantizer
from codeword.search.flat import FlatIndex
from codeword.search.rows import Rows, check_codes, check_count, check_vectors, compact
from codeword.search.shortlist import Metric, Neighbors, Shortlist, as_neighbors
from codeword.search.storage import Saved, write
from codeword.search.tables import AdditiveTables, Prepared, Scan
from codeword.search.turn import Turn

_BLOCK = 64  # queries whose tables are made together
_ROWS = 1 << 16  # vectors of a tile at most


class InvertedIndex:
    r"""Codes in inverted lists, one list for each cell of a coarse quantizer (Jegou et al. 2011, section IV).

    ::

        x ──► coarse.encode ──► list l       x - c_l (or x) ──► quantizer.encode ──► codes, stored in list l

        q ──► the `probes` nearest centroids ──► their lists, one after the other ──► scan ──► Shortlist ──► neighbors

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

    def add_codes(self, codes: Int[Tensor, "vectors levels"], lists: Int[Tensor, " vectors"]) -> None:
        """Store codes that exist already.

        Args:
            codes: Codes of the residuals, or of the vectors themselves without ``by_residual``; -1 for no codeword.
            lists: The list of every vector.
        """
        check_codes(codes, self.quantizer.sizes)
        if lists.shape != codes.shape[:1] or (len(lists) and not 0 <= int(lists.min()) <= int(lists.max()) < self.size):
            raise ValueError(
                f"every vector needs a list in 0..{self.size - 1}, got lists of shape {tuple(lists.shape)}"
            )
        if self.tables.needs_norms:
            self._norms.append(self.tables.norms(self._whole(codes, lists)))
        self._ids.append(torch.arange(len(self), len(self) + len(codes), device=codes.device))
        self._lists.append(lists.long())
        self._codes.append(compact(codes, self.quantizer.sizes))

    @property
    def size(self) -> int:
        """Number of lists."""
        return len(self.centroids)

    def members(self, number: int) -> tuple[Int[Tensor, " vectors"], Int[Tensor, "vectors levels"]]:
        """Numbers and codes of the vectors of one list, in the order they were added."""
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
        for start in range(0, len(queries), _BLOCK):
            block = queries[start : start + _BLOCK]
            cells = self._cells.search(block, min(probes, self.size)).ids
            prepared = self.tables.prepare(self._turn(block), _BLOCK)
            tables = prepared.rows.t().contiguous()
            for number in range(len(block)):
                found = self._search(prepared, number, tables[number], cells[number].sort().values, k)
                ids[start + number], costs[start + number] = found
        return as_neighbors(ids, costs, self.metric)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index, its quantizers included, to a file that ``load_index`` reads."""
        order = self._ids.tensor.argsort()
        tensors = {"codes": self._codes.tensor[order], "lists": self._lists.tensor[order]}
        header = {"kind": self.KIND, "metric": self.metric, "by_residual": self.by_residual}
        write(path, header, tensors, coarse=self.coarse, quantizer=self.quantizer)

    @classmethod
    def restore(cls, saved: Saved) -> Self:
        """The index of a file."""
        by_residual = bool(saved.header.get("by_residual"))
        coarse, quantizer = saved.quantizer("coarse"), saved.quantizer("quantizer")
        index = cls(coarse, quantizer, by_residual=by_residual, metric=saved.metric)
        index.add_codes(saved.tensor("codes"), saved.tensor("lists"))
        return index

    def _search(self, prepared: Prepared, number: int, table: Tensor, cells: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The answer to one query: the lists are laid end to end and scanned like one short index."""
        spans = [slice(*self._edges[cell : cell + 2].tolist()) for cell in cells.tolist()]
        codes = torch.cat([self._codes.tensor[span] for span in spans])
        ids = torch.cat([self._ids.tensor[span] for span in spans])
        counts = torch.tensor([span.stop - span.start for span in spans], device=cells.device)
        lists = cells.repeat_interleave(counts)
        query = prepared.queries[number : number + 1]

        def rescore(numbers: Tensor, places: Tensor) -> Tensor:
            whole = self._whole(codes.index_select(0, places), lists.index_select(0, places))
            return self.tables.costs(query, numbers, whole)

        constants = table.new_zeros(len(codes))
        if self.tables.needs_norms:
            constants += torch.cat([self._norms.tensor[span] for span in spans])
        if self.by_residual:
            constants += table[cells + int(self.tables.starts[0])].repeat_interleave(counts)
        shortlist = Shortlist(rescore, k, queries=1, columns=1, device=cells.device)
        scan = Scan(self.tables.starts[1 if self.by_residual else 0 :], columns=1, rows=min(len(codes), _ROWS))
        for first in range(0, len(codes), _ROWS):
            scan.load(codes[first : first + _ROWS], constants[first : first + _ROWS])
            shortlist.offer(scan.scores(table[:, None]), prepared.error[number : number + 1], first)
        places, costs = shortlist.neighbors()
        return torch.where(places[0] < 0, -1, ids[places[0].clamp_min(0)] if len(ids) else -1), costs[0]

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
