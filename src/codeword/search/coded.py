"""Search in codes, without decoding them."""

import math
import os

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from codeword.quantizers.base import Quantizer
from codeword.search.rows import Rows, check_codes, check_count, check_vectors, compact
from codeword.search.shortlist import SCORES, Metric, Neighbors, Shortlist, as_neighbors, padded_columns
from codeword.search.storage import Saved, write
from codeword.search.tables import AdditiveTables, Prepared, Scan
from codeword.search.turn import Turn

_BLOCK = 64  # queries scanned together: their table of 8 x 256 rows fills half a second-level cache
_TABLES = 1 << 24  # table entries held at once: 64 MB
_ROWS = 1 << 16  # vectors of a tile at most


class CodedIndex:
    r"""Codes of any quantizer whose codewords add up, searched by asymmetric distances with an exact top-k.

    ::

        queries ──► tables (rows, 64) ─┐
                                       ├─ embedding_bag ──► scores (vectors, 64) ──► Shortlist ──► exact costs
        codes ──► places (vectors, M) ─┘                                                                │
                                                                                   neighbors ◄──────────┘

    Sixty-four queries share every look-up: a table has one row per codeword and one column per query, and a vector's
    scores are the sum of one row per level. Neighbours are ranked by their distance to the float32
    reconstruction, so the answer does not depend on how queries are batched. A rotation around the quantizer is
    applied to the queries, not to the codebooks: those of a product stay disjoint.

    Args:
        quantizer: Encodes what is added. Its codebooks are copied here: a later change of the quantizer is not seen.
        metric: ``"l2"`` for squared Euclidean distances, ``"ip"`` for inner products (largest first).

    Raises:
        ValueError: If the quantizer's decoder is not a sum of codewords.
    """

    KIND = "coded"

    def __init__(self, quantizer: Quantizer, *, metric: Metric = "l2"):
        self.quantizer, self.metric = quantizer, metric
        self._turn = Turn(quantizer)
        self.tables = AdditiveTables(self._turn.inner.codebooks(), metric)
        sizes, device = self.tables.sizes, self.tables.rows.device
        self._codes = Rows(compact(torch.empty(0, len(sizes), dtype=torch.int64, device=device), sizes))
        self._norms = Rows(torch.empty(0, device=device))

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def codes(self) -> Integer[Tensor, "vectors levels"]:
        """The codes stored, in the narrowest type that holds them."""
        return self._codes.tensor

    def add(self, vectors: Float[Tensor, "vectors dim"]) -> None:
        """Encode vectors and store their codes."""
        check_vectors(vectors, self.tables.dim, "vectors")
        self.add_codes(self.quantizer.encode(vectors))

    def add_codes(self, codes: Integer[Tensor, "vectors levels"]) -> None:
        """Store codes that exist already; -1 stands for a level that adds nothing."""
        codes = check_codes(codes, self.tables.sizes)
        if self.tables.needs_norms:
            self._norms.append(self.tables.norms(codes))
        self._codes.append(compact(codes, self.tables.sizes))

    def search(self, queries: Float[Tensor, "queries dim"], k: int) -> Neighbors:
        """The k nearest stored vectors of every query, by the exact distance to their reconstructions."""
        check_vectors(queries, self.tables.dim, "queries")
        check_count("k", k)
        ids = torch.full((len(queries), k), -1, device=queries.device)
        costs = torch.full((len(queries), k), math.inf, dtype=torch.float64, device=queries.device)
        group = max(_BLOCK, _TABLES // len(self.tables.rows))
        if len(self):
            for start in range(0, len(queries), group):
                part = slice(start, start + group)
                ids[part], costs[part] = self._search(self._turn(queries[part].detach()), k)
        return as_neighbors(ids, costs, self.metric)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index, its quantizer included, to a file that ``load_index`` reads."""
        header = {"kind": self.KIND, "metric": self.metric}
        write(path, header, {"codes": self.codes}, quantizer=self.quantizer)

    @staticmethod
    def restore(saved: Saved) -> "CodedIndex":
        """The index of a file."""
        index = CodedIndex(saved.quantizer("quantizer"), metric=saved.metric)
        index.add_codes(saved.tensor("codes"))
        return index

    def _search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        blocks = queries.tensor_split(-(-len(queries) // _BLOCK))
        columns = padded_columns(len(blocks[0]))
        prepared = [self.tables.prepare(block, columns) for block in blocks]
        lists = [self._shortlist(block, k, columns) for block in prepared]
        rows = min(len(self), _ROWS, SCORES // columns)
        scan = Scan(self.tables.starts, columns=columns, rows=rows)
        for first in range(0, len(self), rows):
            norms = self._norms.tensor[first : first + rows] if self.tables.needs_norms else None
            scan.load(self.codes[first : first + rows], norms)
            for block, shortlist in zip(prepared, lists, strict=True):
                shortlist.offer(scan.scores(block.rows), block.error, first)
        found = [shortlist.neighbors() for shortlist in lists]
        return torch.cat([ids for ids, _ in found]), torch.cat([costs for _, costs in found])

    def _shortlist(self, block: Prepared, k: int, columns: int) -> Shortlist:
        def rescore(query: Tensor, ids: Tensor) -> Tensor:
            return self.tables.costs(block.queries, query, self.codes.index_select(0, ids))

        return Shortlist(rescore, k, queries=len(block.queries), columns=columns, device=block.rows.device)
