"""What an additive code needs to know about its codebooks, computed once: inner products of all pairs of codewords."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from codeword.functional.matmul import fast_matmul
from codeword.functional.smallest import FOLD

_LARGEST_CROSS = 1 << 28  # float32 entries of all cross tables together: 1 GiB; beyond it products are recomputed
_ROWS = 64  # every matrix product sees this many rows: a vector meets the same arithmetic in every batch


@dataclass(frozen=True)
class CrossTables:
    r"""Stacked codebooks with the tables that turn the error of a sum of codewords into additions.

    .. math:: \tfrac12 |x - \sum_i c_i|^2 = \tfrac12 |x|^2
        + \sum_i (\tfrac12 |c_i|^2 - \langle x, c_i \rangle) + \sum_{i < j} \langle c_i, c_j \rangle

    Made by :func:`cross_tables`. A *row* below is the place of a codeword in ``stacked``; a *column* is its place in
    the scores of all levels side by side, where every level is padded to a multiple of 8.

    Attributes:
        sizes: Codewords of every level.
        row_starts: Row of the first codeword of every level, then the number of rows.
        column_starts: Column of the first codeword of every level, then the number of columns.
        centre: Taken from every vector and from the codewords of level 0, so that data far from the origin keeps its
            digits; (dim,).
        stacked: Codewords of all levels one below the other; (rows, dim).
        negated: Negative codewords as columns, zero in the padding; (dim, columns).
        bias: Half squared norms, infinite in the padding; (columns,).
        cross: Inner products of all codewords with those of one level, and the bias of that level as the last row;
            (rows + 1, padded) each. In ordered tables only the codewords of earlier levels have a row. Empty if all
            would take more than 1 GiB: products with partial sums are then computed as they are needed.
    """

    sizes: tuple[int, ...]
    row_starts: tuple[int, ...]
    column_starts: tuple[int, ...]
    centre: Tensor
    stacked: Tensor
    negated: Tensor
    bias: Tensor
    cross: tuple[Tensor, ...]

    @property
    def levels(self) -> int:
        """Number of codebooks."""
        return len(self.sizes)

    def span(self, level: int) -> slice:
        """Columns of a level."""
        return slice(self.column_starts[level], self.column_starts[level + 1])

    def centred(self, x: Tensor, rows: int) -> Iterator[tuple[slice, Tensor]]:
        """Blocks of at most ``rows`` vectors, with the centre taken off."""
        for start in range(0, x.shape[0], rows):
            part = slice(start, min(start + rows, x.shape[0]))
            yield part, x[part].to(self.stacked.dtype) - self.centre

    def attraction(self, x: Tensor) -> Tensor:
        """Negative inner products of vectors with all codewords; (vectors, columns)."""
        return _product(x, self.negated)

    def no_rows(self, count: int) -> Tensor:
        """Empty sets as ``repulsion`` takes them: the row below all codewords, which holds the bias; (count, 1)."""
        return torch.full((count, 1), self.row_starts[-1], device=self.stacked.device)

    def repulsion(self, rows: Tensor, level: int) -> Tensor:
        """Half the squared norms of a level's codewords plus their inner products with sums of other codewords.

        Args:
            rows: The row of the bias, then those of the codewords of every sum; (sums, 1 + any number).
            level: Its codewords are the columns of the result, (sums, padded).
        """
        if self.cross:
            return embedding_bag(rows, self.cross[level], mode="sum")
        sums = self.stacked[rows[:, 1:]].sum(1)
        return self.bias[self.span(level)] - _product(sums, self.negated[:, self.span(level)])


def cross_tables(codebooks: Sequence[Tensor], *, limit: int = _LARGEST_CROSS, ordered: bool = False) -> CrossTables:
    """Tables for beam search and iterated conditional modes, in the precision of the codebooks, float32 at least.

    Args:
        codebooks: One table of codewords (size, dim) per level; sizes may differ.
        limit: Entries that the cross tables may hold together.
        ordered: Whether every level only meets those before it: half the products, all that ``beam_search`` needs.
    """
    if not codebooks or any(not len(book) or book.shape[1:] != codebooks[0].shape[1:] for book in codebooks):
        raise ValueError(
            "cross_tables() needs codebooks (size, dim) of one dimension with at least one codeword each: "
            f"got {[tuple(book.shape) for book in codebooks]}"
        )
    dtype = torch.float64 if codebooks[0].dtype == torch.float64 else torch.float32
    tables = [book.detach().double() for book in codebooks]
    centre = tables[0].mean(0).to(dtype)
    tables[0] = tables[0] - centre
    sizes = tuple(len(table) for table in tables)
    padded = [-(-size // FOLD) * FOLD for size in sizes]
    column_starts = (0, *accumulate(padded))
    stacked = torch.cat(tables)
    columns = stacked.new_zeros(sum(padded), stacked.shape[1])
    bias = stacked.new_full((sum(padded),), math.inf)
    for start, table in zip(column_starts, tables, strict=False):
        columns[start : start + len(table)] = table
        bias[start : start + len(table)] = table.square().sum(1) / 2
    cross: list[Tensor] = []
    if len(stacked) * sum(padded) <= limit:
        with torch.autocast(stacked.device.type, enabled=False), fast_matmul():
            rows, parts = stacked.to(dtype), zip(columns.to(dtype).split(padded), bias.split(padded), strict=True)
            for number, (level, half) in enumerate(parts):
                count = sum(sizes[:number]) if ordered else len(rows)
                cross.append(level.new_empty(count + 1, len(level)))
                torch.mm(rows[:count], level.t(), out=cross[-1][:-1])
                cross[-1][-1] = half
    return CrossTables(
        sizes=sizes,
        row_starts=(0, *accumulate(sizes)),
        column_starts=column_starts,
        centre=centre,
        stacked=stacked.to(dtype),
        negated=columns.neg().t().to(dtype).contiguous(),
        bias=bias.to(dtype),
        cross=tuple(cross),
    )


def means_to_first(codebooks: Sequence[Tensor]) -> list[Tensor]:
    """The same code with the mean of every codebook moved into the first one: all sums stay what they are.

    Additive codebooks may carry offsets that cancel each other. Scores of the shifted ones lose no digits to them, and
    in a set that is not complete yet the levels to come stand at their means.
    """
    tables = [book.detach().double() for book in codebooks]
    means = [table.mean(0) for table in tables]
    shifted = [tables[0] + sum(means[1:], torch.zeros_like(means[0]))]
    shifted += [table - mean for table, mean in zip(tables[1:], means[1:], strict=True)]
    return [table.to(book.dtype) for table, book in zip(shifted, codebooks, strict=True)]


def _product(x: Tensor, columns: Tensor) -> Tensor:
    """``x @ columns`` in row blocks of one shape, the last one filled up with zeros."""
    out = x.new_empty(x.shape[0], columns.shape[1])
    with torch.autocast(x.device.type, enabled=False), fast_matmul():
        full = len(x) // _ROWS * _ROWS
        for start in range(0, full, _ROWS):
            torch.mm(x[start : start + _ROWS], columns, out=out[start : start + _ROWS])
        if full < len(x):
            block = x.new_zeros(_ROWS, x.shape[1])
            block[: len(x) - full] = x[full:]
            out[full:] = torch.mm(block, columns)[: len(x) - full]
    return out
