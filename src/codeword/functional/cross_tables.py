"""What an additive code needs to know about its codebooks, computed once: inner products of all pairs of codewords."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.matmul import fast_matmul

_FOLD = 8  # every codebook is padded to a multiple of this many columns, so that candidates can be read in groups
_LARGEST_CROSS = 1 << 28  # float32 entries of all cross tables together: 1 GiB; beyond it products are recomputed


@dataclass(frozen=True)
class CrossTables:
    r"""Stacked codebooks with the tables that turn the error of a sum of codewords into additions.

    .. math:: \tfrac12 |x - \sum_i c_i|^2 - \tfrac12 |x|^2
        = \sum_i (\tfrac12 |c_i|^2 - \langle x, c_i \rangle) + \sum_{i < j} \langle c_i, c_j \rangle

    The left side is called the *score* of a set of codewords below. Made by :func:`cross_tables`.

    Attributes:
        sizes: Codewords of every level.
        starts: Row of the first codeword of every level in ``stacked``, then the number of all rows.
        centre: Taken from every vector and from every codeword of level 0, so that data far from the origin keeps its
            digits; (dim,).
        stacked: Codewords of all levels one below the other; (total, dim).
        columns: Codewords of one level as columns, padded with zeros to a multiple of 8; (dim, padded) each.
        bias: Half squared norms of one level, infinite in the padding; (padded,) each.
        cross: Inner products of all codewords with those of one level; (total, padded) each. Empty if they would take
            more than 1 GiB: the products with the partial sums are then computed as they are needed.
    """

    sizes: tuple[int, ...]
    starts: tuple[int, ...]
    centre: Tensor
    stacked: Tensor
    columns: tuple[Tensor, ...]
    bias: tuple[Tensor, ...]
    cross: tuple[Tensor, ...]

    @property
    def levels(self) -> int:
        """Number of codebooks."""
        return len(self.sizes)

    def scores(self, block: Tensor, level: int) -> Tensor:
        """Score of every codeword of a level standing alone, for centred rows; (rows, padded)."""
        with torch.autocast(block.device.type, enabled=False), fast_matmul():
            return torch.addmm(self.bias[level], block, self.columns[level], alpha=-1)

    def couple(self, chosen: Tensor, level: int) -> Tensor:
        """Inner products of sums of codewords, given by their rows in ``stacked``, with a level; (sums, padded)."""
        if self.cross:
            return torch.nn.functional.embedding_bag(chosen, self.cross[level], mode="sum")
        sums = torch.nn.functional.embedding_bag(chosen, self.stacked, mode="sum")
        with torch.autocast(sums.device.type, enabled=False), fast_matmul():
            return sums @ self.columns[level]

    def blocks(self, x: Tensor, rows: int) -> Iterator[tuple[slice, Tensor]]:
        """Centred row blocks of one fixed shape, the last one filled up with zeros: see :func:`nearest`."""
        block = torch.zeros(rows, x.shape[1], dtype=self.stacked.dtype, device=x.device)
        for start in range(0, x.shape[0], rows):
            part = x[start : start + rows]
            torch.sub(part, self.centre, out=block[: len(part)])
            yield slice(start, start + len(part)), block


def cross_tables(
    codebooks: Sequence[Float[Tensor, "size dim"]] | Sequence[Float[Tensor, "_ dim"]], *, limit: int = _LARGEST_CROSS
) -> CrossTables:
    """Tables for the beam and for iterated conditional modes, products accumulated in float64.

    Args:
        codebooks: One table per level, of any sizes.
        limit: Entries that the cross tables may hold together; above it they are left out and searches recompute them.
    """
    if not codebooks or any(not len(book) or book.shape[1] != codebooks[0].shape[1] for book in codebooks):
        shapes = [tuple(book.shape) for book in codebooks]
        raise ValueError(f"cross_tables() needs codebooks of one dimension with at least one codeword each: got {shapes}")
    dtype = torch.float64 if codebooks[0].dtype == torch.float64 else torch.float32
    first = codebooks[0].detach()
    centre = first.double().mean(0).to(dtype)
    tables = [book.detach().double() for book in codebooks]
    tables[0] = tables[0] - centre.double()
    sizes = tuple(len(table) for table in tables)
    starts = tuple(sum(sizes[:level]) for level in range(len(sizes) + 1))
    padded = [-(-size // _FOLD) * _FOLD for size in sizes]
    stacked = torch.cat(tables)
    columns, bias, cross = [], [], []
    for table, width in zip(tables, padded, strict=True):
        column = stacked.new_zeros(stacked.shape[1], width)
        column[:, : len(table)] = table.t()
        half = stacked.new_full((width,), math.inf)
        half[: len(table)] = table.square().sum(1) / 2
        columns.append(column.to(dtype))
        bias.append(half.to(dtype))
        if len(stacked) * sum(padded) <= limit:
            cross.append((stacked @ column).to(dtype))
    return CrossTables(sizes, starts, centre, stacked.to(dtype), tuple(columns), tuple(bias), tuple(cross))


def smallest(scores: Float[Tensor, "rows count"], k: int) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """The k smallest numbers of every row, ascending, and their places; exact.

    ``topk`` over all candidates costs ten times what ``amin`` does, so the row is folded to the minima of strided
    groups of 8: the k smallest numbers lie in the k groups of smallest minima.
    """
    rows, count = scores.shape
    if k == 1:
        return scores.min(1, keepdim=True) if count <= 32 or count % _FOLD else _smallest_one(scores)
    if count % _FOLD or count < 2 * _FOLD * k:
        value, place = scores.topk(k, 1, largest=False)
        return value, place
    folded = scores.view(rows, _FOLD, count // _FOLD)
    _, groups = smallest(folded.amin(1), k)
    members = folded.gather(2, groups.unsqueeze(1).expand(rows, _FOLD, k))
    value, place = members.view(rows, _FOLD * k).topk(k, 1, largest=False)
    return value, (place // k) * (count // _FOLD) + groups.gather(1, place % k)


def _smallest_one(scores: Tensor) -> tuple[Tensor, Tensor]:
    rows, count = scores.shape
    groups = scores.view(rows, _FOLD, count // _FOLD)
    value, column = groups.amin(1).min(1, keepdim=True)
    members = groups.gather(2, column.unsqueeze(1).expand(rows, _FOLD, 1)).squeeze(2)
    return value, members.argmin(1, keepdim=True) * (count // _FOLD) + column
