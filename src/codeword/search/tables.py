"""Codebooks whose rows add up, laid out for scanning: query tables, sums of looked-up scores, exact costs."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Integer
from torch import Tensor

from codeword.functional.matmul import fast_matmul
from codeword.search.rows import check_metric
from codeword.search.shortlist import Metric, padded_rows, score_error

_CHUNK = 1 << 18  # numbers of a chunk of reconstructions: 1 MB
_LONG = 2.0**62  # the square of the sum of two such lengths is far below the largest float32


class Prepared(NamedTuple):
    """A block of queries, ready to scan with.

    Attributes:
        queries: The queries in float32, for the Euclidean metric less the mean of the codebooks.
        rows: For every codebook row, its share of the score of every query; padding columns score 0.
        error: The largest error of a score, for every column.
    """

    queries: Float[Tensor, "queries dim"]
    rows: Float[Tensor, "total columns"]
    error: Float[Tensor, " columns"]


class AdditiveTables:
    r"""Asymmetric distance computation for any sum of codewords (Jegou et al. 2011, section III-B).

    .. math::
        |q - \hat x|^2 - |q|^2 = \sum_m -2 \langle q, c_{m, k_m} \rangle + |\hat x|^2, \qquad \hat x = \sum_m c_{m, k_m}

    All codebooks are centred first, and with them the queries, so that data far from the origin keeps its digits. A
    level is multiplied only by the features it can change. Where no two levels share a feature (product codes), the
    norm is a sum over levels as well and goes into the table; otherwise it is stored with every vector.

    Every level has one row more, in front of its codewords: what it adds where the code is -1. So the row of a code is
    ``starts[level] + code``, whatever the code.

    Args:
        codebooks: One table ``(size, dim)`` per level, in the space of the vectors.
        metric: ``"l2"`` or ``"ip"``.
    """

    def __init__(self, codebooks: Sequence[Float[Tensor, "_ dim"]], metric: Metric):
        check_metric(metric)
        tables = [table.detach().double() for table in codebooks]
        means = torch.stack([table.mean(0) for table in tables])
        centred = [torch.cat([-mean[None], table - mean]).float() for table, mean in zip(tables, means, strict=True)]
        self.metric: Metric = metric
        self.sizes = tuple(len(table) for table in tables)
        self.rows, self.mean = torch.cat(centred), means.sum(0)
        stops = list(accumulate(len(table) for table in centred))
        self.starts = torch.tensor([1, *(stop + 1 for stop in stops[:-1])], dtype=torch.int32, device=self.rows.device)
        self._bands = _bands(centred)
        # A band of several levels, or two that overlap, means that norms are not sums over levels.
        ordered = sorted((band.left, band.right) for band in self._bands)
        self.disjoint = len(self._bands) == len(centred) and all(a[1] <= b[0] for a, b in pairwise(ordered))
        self._norms = self.rows.square().sum(1, keepdim=True)
        # No centred reconstruction is longer.
        self._radius = sum(float(table.norm(dim=1).max()) for table in centred)
        if not self._radius < _LONG:
            raise ValueError(
                f"sums of these codewords reach a length of {self._radius:.3g}: squared distances leave float32 beyond "
                f"{_LONG:.3g}, scale the data down"
            )

    @property
    def dim(self) -> int:
        """Features of a vector."""
        return self.rows.shape[1]

    @property
    def needs_norms(self) -> bool:
        """Whether a score is complete only with the stored norm of the vector."""
        return self.metric == "l2" and not self.disjoint

    def places(self, codes: Integer[Tensor, "vectors levels"]) -> Integer[Tensor, "vectors levels"]:
        """Rows of codes."""
        return codes.to(torch.int32) + self.starts

    def decode(self, places: Integer[Tensor, "vectors levels"]) -> Float[Tensor, "vectors dim"]:
        """Reconstructions, less the mean."""
        return F.embedding_bag(places, self.rows, mode="sum")

    def norms(self, codes: Integer[Tensor, "vectors levels"]) -> Float[Tensor, " vectors"]:
        """Squared norms of the centred reconstructions."""
        parts = codes.split(max(1, _CHUNK // self.dim))
        return torch.cat([self.decode(self.places(part)).double().square().sum(1) for part in parts]).float()

    def prepare(self, queries: Float[Tensor, "queries dim"], columns: int) -> Prepared:
        """Tables of a block of queries, padded to ``columns``."""
        seen = (queries.double() - self.mean if self.metric == "l2" else queries).float()
        factor = 2.0 if self.metric == "l2" else 1.0
        block = F.pad(seen * -factor, (0, 0, 0, columns - len(seen)))
        rows = block.new_empty(len(self.rows), columns)
        with torch.autocast(block.device.type, enabled=False), fast_matmul():
            for start, stop, left, right in self._bands:
                table, part = self.rows[start:stop, left:right], block[:, left:right]
                if self.metric == "l2" and self.disjoint:
                    torch.addmm(self._norms[start:stop], table, part.t(), out=rows[start:stop])
                else:
                    torch.mm(table, part.t(), out=rows[start:stop])
        length = block.norm(dim=1) / factor
        largest = (length + self._radius).square() if self.metric == "l2" else length * self._radius
        return Prepared(seen, rows, score_error(largest, self.dim + len(self.sizes) + 4))

    def costs(
        self,
        queries: Float[Tensor, "queries dim"],
        query: Int[Tensor, " pairs"],
        codes: Integer[Tensor, "pairs levels"],
    ) -> Float[Tensor, " pairs"]:
        """Costs of pairs from their reconstructions: squared distances, or inner products with the sign changed.

        Args:
            queries: ``Prepared.queries``.
            query: The query of every pair.
            codes: The codes of every pair.
        """
        costs = [queries.new_empty(0)]
        step = max(1, _CHUNK // self.dim)
        for part, numbers in zip(codes.split(step), query.split(step), strict=True):
            vectors, wanted = self.decode(self.places(part)), queries.index_select(0, numbers)
            if self.metric == "l2":
                vectors.sub_(wanted)
                costs.append(torch.linalg.vecdot(vectors, vectors))
            else:
                costs.append(torch.linalg.vecdot(vectors, wanted))
        found = torch.cat(costs).double()
        if self.metric == "l2":
            return found
        return -found - (queries * self.mean).sum(1).index_select(0, query)


class Scan:
    """Tiles of codes and their scores.

    A tile is loaded once and scored for many blocks of queries. With many columns the codes of a vector stand
    together, for ``embedding_bag``; with one column those of a level do, for one gather a level.

    Args:
        starts: Of every level, the row of code 0: ``AdditiveTables.starts``.
        columns: Columns of the prepared queries.
        rows: The largest tile, in vectors.
    """

    def __init__(self, starts: Int[Tensor, " levels"], *, columns: int, rows: int):
        self._columns, self._levels = columns, len(starts)
        most = padded_rows(rows, columns) * self._levels
        self._starts = starts[:, None] if columns == 1 else starts.repeat(most // self._levels)
        self._places = torch.zeros(most, dtype=torch.int32, device=starts.device)
        self._count = 0
        self._constants: Tensor | None = None

    def load(self, codes: Integer[Tensor, "vectors levels"], constants: Float[Tensor, " vectors"] | None) -> None:
        """Take a tile of codes, and what every score of a vector gets added, such as its norm."""
        self._count, self._constants = len(codes), constants
        used = self._places[: codes.numel()]
        if self._columns == 1:
            torch.add(used.view(self._levels, -1).copy_(codes.t()), self._starts, out=used.view(self._levels, -1))
        else:
            used.view(codes.shape).copy_(codes)
            used.add_(self._starts[: codes.numel()])

    def scores(self, rows: Float[Tensor, "total columns"]) -> Float[Tensor, "padded columns"]:
        """Scores of the tile; infinity in the rows that fill it up.

        Args:
            rows: ``Prepared.rows``.
        """
        padded = padded_rows(self._count, self._columns)
        if self._columns == 1:
            first, *rest = self._places[: self._count * self._levels].view(self._levels, self._count)
            scores, flat = rows.new_empty(padded, 1), rows.view(-1)
            total = scores[: self._count, 0]
            torch.index_select(flat, 0, first, out=total)
            for places in rest:
                total.add_(flat.index_select(0, places))
        else:
            # What lies behind the tile is left from the one before: rows that exist, whose scores are overwritten.
            places = self._places[: padded * self._levels].view(padded, self._levels)
            scores = F.embedding_bag(places, rows, mode="sum")
        if self._constants is not None:
            scores[: self._count].add_(self._constants[:, None])
        scores[self._count :] = math.inf
        return scores


class _Band(NamedTuple):
    """Rows of neighbouring levels that can change the same features."""

    start: int
    stop: int
    left: int
    right: int


def _bands(tables: Sequence[Tensor]) -> list[_Band]:
    bands: list[_Band] = []
    start = 0
    for table in tables:
        used = table.any(0).nonzero()
        left, right = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        stop = start + len(table)
        if bands and (bands[-1].left, bands[-1].right) == (left, right):
            bands[-1] = bands[-1]._replace(stop=stop)
        else:
            bands.append(_Band(start, stop, left, right))
        start = stop
    return bands
