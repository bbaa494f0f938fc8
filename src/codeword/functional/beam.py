"""Beam search for additive codes: levels in a fixed order (residual codes) or in any order (sets of codewords)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from codeword.functional.cross_tables import CrossTables
from codeword.functional.smallest import smallest

_CANDIDATES = 1 << 20  # scores of candidates held at once: 4 MB in float32


def beam_search(
    x: Float[Tensor, "*batch dim"], tables: CrossTables, width: int, *, depth: Int[Tensor, "*batch"] | None = None
) -> Int[Tensor, "*batch levels"]:
    r"""Codes of residual quantization by a beam of partial sums.

    Level m keeps the ``width`` best of all sums :math:`c_1 + \dots + c_m` that extend a kept sum of level m - 1:

    .. math:: E_m(b, k) = E_{m-1}(b) + \tfrac12 |c_k|^2 - \langle x - \sum_{i \in b} c_i, c_k \rangle

    ::

        x --> attraction (one product) --+
                                         v
        kept sums --> repulsion --> candidates --> smallest --> kept sums of the next level

    A width of 1 is greedy search; a width of at least the number of all sums but the last level's is exhaustive. A
    vector of depth n ends its beam at level n: it gets the best kept sum of n codewords. Results do not depend on how
    vectors are batched, and equal float64 arithmetic up to ties closer than 1e-6 of the squared norms.

    Args:
        x: Vectors.
        tables: From :func:`cross_tables`.
        width: Sums kept at every level.
        depth: Levels of every vector, 0 to all; codes beyond it are -1.
    """
    _check(x, tables, width)
    flat = x.detach().reshape(-1, x.shape[-1])
    codes = torch.full((len(flat), tables.levels), -1, dtype=torch.int64, device=x.device)
    widest = max(tables.span(level).stop - tables.span(level).start for level in range(tables.levels))
    rows = _rows(width * widest)
    with torch.inference_mode():
        energies = _Energies(tables, min(rows, len(flat)))
        for part, block in tables.centred(flat, rows):
            levels = None if depth is None else depth.reshape(-1)[part]
            _search_levels(block, energies, width, levels, codes[part])
    return codes.reshape(*x.shape[:-1], tables.levels)


class _Energies:
    """What every codeword of a level would add to the error of a kept sum, before the error of that sum.

    Where there are cross tables, the attraction of a block is written below those rows of a level's table that earlier
    levels need: one bag per kept sum then adds up everything, without a second pass over the candidates.
    """

    def __init__(self, tables: CrossTables, rows: int):
        self.tables = tables
        spans = zip(tables.cross, tables.row_starts, strict=False)
        self.spaces = [torch.cat([cross[:start], cross.new_empty(rows, cross.shape[1])]) for cross, start in spans]

    def __call__(self, attraction: Tensor, rows: Tensor, level: int) -> Tensor:
        """Energies (vectors, kept, columns).

        Args:
            attraction: From ``CrossTables.attraction``; (vectors, columns of all levels).
            rows: Of every kept sum: that of the bias, then its codewords; (vectors, kept, 1 + codewords). The first
                is overwritten.
            level: Whose codewords are added.
        """
        span, start = self.tables.span(level), self.tables.row_starts[level]
        if not self.spaces:
            repulsion = self.tables.repulsion(rows.flatten(0, 1), level).unflatten(0, rows.shape[:2])
            return repulsion.add_(attraction[:, None, span])
        space = self.spaces[level]
        torch.add(attraction[:, span], self.tables.bias[span], out=space[start : start + len(rows)])
        rows[..., 0] = torch.arange(start, start + len(rows), device=rows.device).unsqueeze(1)
        return embedding_bag(rows.flatten(0, 1), space, mode="sum").unflatten(0, rows.shape[:2])


def _search_levels(block: Tensor, energies: _Energies, width: int, depth: Tensor | None, codes: Tensor) -> None:
    """Write the codes of a block of centred vectors."""
    tables = energies.tables
    starts = torch.tensor(tables.row_starts, device=block.device)
    attraction = tables.attraction(block)
    scores = block.square().sum(1, keepdim=True) / 2
    rows = tables.no_rows(len(block)).unsqueeze(1)  # of every kept sum: that of the bias, then its codewords
    going = torch.arange(len(block), device=block.device)  # vectors whose beam has not ended
    for level in range(tables.levels):
        if depth is not None:
            more = depth[going] > level
            codes[going[~more], :level] = rows[~more, 0, 1:] - starts[:level]
            going, rows, scores, attraction = going[more], rows[more], scores[more], attraction[more]
            if not len(going):
                return
        candidates = energies(attraction, rows, level).add_(scores.unsqueeze(2))
        keep = 1 if level == tables.levels - 1 else min(width, scores.shape[1] * tables.sizes[level])
        scores, parent, column = _best(candidates, keep)
        if candidates.shape[2] > tables.sizes[level]:
            column.clamp_(max=tables.sizes[level] - 1)  # a vector that is not finite may choose from the padding
        rows = torch.cat([rows.gather(1, _repeat(parent, level + 1)), column.unsqueeze(2) + starts[level]], dim=2)
    codes[going] = rows[:, 0, 1:] - starts[:-1]


def set_beam(x: Float[Tensor, "*batch dim"], tables: CrossTables, width: int) -> Int[Tensor, "*batch levels"]:
    r"""Codes of additive quantization by a beam of sets of codewords, levels taken in any order.

    Step t keeps the ``width`` best of all sets of t codewords from different levels that extend a kept set by a
    codeword of any level it does not use yet (Babenko and Lempitsky 2014, section 3). Several kept sets may lead to the
    same larger set: it is a candidate of the best of them alone, so that no two kept sets are alike.

    A width of 1 takes the best single codeword, then the best addition, and so on. Results do not depend on how
    vectors are batched, and equal float64 arithmetic up to ties closer than 1e-6 of the squared norms. The cost is
    about that of :func:`beam_search` times the number of levels.

    Args:
        x: Vectors.
        tables: From :func:`cross_tables`, best of the codebooks from :func:`means_to_first`.
        width: Sets kept at every step.
    """
    _check(x, tables, width)
    flat = x.detach().reshape(-1, x.shape[-1])
    codes = torch.empty(len(flat), tables.levels, dtype=torch.int64, device=x.device)
    with torch.inference_mode():
        for part, block in tables.centred(flat, _rows(width * tables.column_starts[-1])):
            codes[part] = _search_sets(block, tables, width)
    return codes.reshape(*x.shape[:-1], tables.levels)


def _search_sets(block: Tensor, tables: CrossTables, width: int) -> Tensor:
    """The codes of a block of centred vectors."""
    attraction = tables.attraction(block).unsqueeze(1)
    scores = block.square().sum(1, keepdim=True) / 2
    taken = torch.full((len(block), 1, tables.levels), -1, device=block.device)  # the row of every level, or -1
    row_starts = torch.tensor(tables.row_starts, device=block.device)
    column_starts = torch.tensor(tables.column_starts, device=block.device)
    for step in range(tables.levels):
        # Sets that never were any good may lack a codeword; their scores are infinite.
        rows = taken.sort(dim=2).values[..., tables.levels - step :].clamp_(min=0).flatten(0, 1)
        rows = torch.cat([tables.no_rows(len(rows)), rows], dim=1)
        repulsion = torch.cat([tables.repulsion(rows, level) for level in range(tables.levels)], dim=1)
        candidates = repulsion.unflatten(0, scores.shape).add_(attraction).add_(scores.unsqueeze(2))
        for level in range(tables.levels):
            candidates[..., tables.span(level)].masked_fill_(taken[..., level : level + 1] >= 0, torch.inf)
        if step:
            row, level = _twins(taken)
            candidates.scatter_(2, row - row_starts[level] + column_starts[level], torch.inf)
        keep = 1 if step == tables.levels - 1 else min(width, scores.shape[1] * sum(tables.sizes))
        scores, parent, column = _best(candidates, keep)
        level = torch.searchsorted(column_starts, column, right=True) - 1
        row = torch.minimum(column - column_starts[level] + row_starts[level], row_starts[level + 1] - 1)
        taken = taken.gather(1, _repeat(parent, tables.levels)).scatter(2, level.unsqueeze(2), row.unsqueeze(2))
    return torch.maximum(taken[:, 0] - row_starts[:-1], row_starts.new_zeros(()))


def _twins(taken: Tensor) -> tuple[Tensor, Tensor]:
    """Codewords that would turn a kept set into an extension of a better kept set, as rows and levels.

    Sets p and q of equal size have a common extension by one codeword if each has one that the other lacks, of
    different levels. The later set of the beam must not take the one it lacks. Where there is no such pair, a codeword
    that p holds already stands in: its level is closed anyway. Shapes (vectors, kept, kept).
    """
    here, there = taken.unsqueeze(2), taken.unsqueeze(1)
    lacking = torch.where((here < 0) & (there >= 0), there, -1)
    kept = taken.shape[1]
    earlier = torch.ones(kept, kept, dtype=torch.bool, device=taken.device).tril(-1)
    alike = ((here != there).sum(3) == 2) & ((lacking >= 0).sum(3) == 1) & earlier
    row, level = torch.where(alike.unsqueeze(3), lacking, here).max(3)
    return row, level


def _best(candidates: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of the best candidates, ascending; the kept sum each extends; the column it takes."""
    columns = candidates.shape[2]
    scores, place = smallest(candidates.flatten(1), keep)
    parent = place // columns
    return scores, parent, place.sub_(parent, alpha=columns)


def _repeat(index: Tensor, times: int) -> Tensor:
    return index.unsqueeze(2).expand(*index.shape, times)


def _rows(candidates_per_vector: int) -> int:
    """Vectors per block: enough to hide the cost of a call, few enough for the candidates to stay in the cache."""
    rows = min(512, max(16, _CANDIDATES // candidates_per_vector))
    return rows - rows % 64 if rows > 64 else rows  # whole blocks of a product


def _check(x: Tensor, tables: CrossTables, width: int) -> None:
    if width < 1:
        raise ValueError(f"a beam keeps at least one sum: got width {width}")
    if x.shape[-1] != tables.stacked.shape[1]:
        raise ValueError(f"got vectors of {x.shape[-1]} features for codewords of {tables.stacked.shape[1]}")
