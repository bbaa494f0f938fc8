"""Beam search for additive codes: levels in a fixed order (residual codes) or in any order (sets of codewords)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.cross_tables import CrossTables
from codeword.functional.smallest import smallest

_CANDIDATES = 1 << 19  # scores of candidates held at once: 2 MB in float32


def beam_search(
    x: Float[Tensor, "*batch dim"], tables: CrossTables, width: int, *, depth: Int[Tensor, "*batch"] | None = None
) -> Int[Tensor, "*batch levels"]:
    r"""Codes of residual quantization by a beam of partial sums.

    Level m keeps the ``width`` best of all sums :math:`c_1 + \dots + c_m` that extend a kept sum of level m - 1:

    .. math:: E_m(b, k) = E_{m-1}(b) + \tfrac12 |c_k|^2 - \langle x, c_k \rangle + \sum_{i \in b} \langle c_i, c_k \rangle

    ::

        x --> attraction (one product) -+
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
    depths = None if depth is None else depth.reshape(-1)
    codes = torch.full((len(flat), tables.levels), -1, dtype=torch.int64, device=x.device)
    starts = torch.tensor(tables.row_starts, device=x.device)
    widest = max(tables.column_starts[m + 1] - tables.column_starts[m] for m in range(tables.levels))
    for part, block in tables.centred(flat, _rows(width * widest)):
        attraction = tables.attraction(block)
        where = torch.arange(part.start, part.stop, device=x.device)  # the vectors whose beam has not ended
        rows = torch.empty(len(block), 1, 0, dtype=torch.int64, device=x.device)
        scores = block.square().sum(1, keepdim=True) / 2
        for level in range(tables.levels):
            if depths is not None:
                going = depths[where] > level
                where, rows, scores, attraction = where[going], rows[going], scores[going], attraction[going]
            if not len(where):
                break
            keep = 1 if level == tables.levels - 1 else width
            scores, rows = _extend(tables, attraction, scores, rows, level, keep)
            codes[where, : level + 1] = rows[:, 0] - starts[: level + 1]
    return codes.clamp_(max=torch.tensor(tables.sizes, device=x.device) - 1).reshape(*x.shape[:-1], tables.levels)


def _extend(tables, attraction, scores, rows, level, width):
    """The best ``width`` sums that add a codeword of ``level`` to the kept ones; their scores and rows."""
    vectors, kept, chosen = rows.shape
    pull = attraction[:, None, tables.span(level)]
    candidates = tables.repulsion(rows.flatten(0, 1), level).unflatten(0, (vectors, kept)).add_(pull).add_(scores[..., None])
    columns = candidates.shape[2]
    scores, place = smallest(candidates.view(vectors, -1), min(width, kept * tables.sizes[level]))
    parent = place // columns
    row = place - parent * columns + tables.row_starts[level]
    parents = rows.gather(1, parent.unsqueeze(2).expand(*parent.shape, chosen))
    return scores, torch.cat([parents, row.unsqueeze(2)], dim=2)


def _rows(candidates_per_vector: int) -> int:
    """Vectors per block: enough to hide the cost of a call, few enough for the candidates to stay in the cache."""
    return min(512, max(16, _CANDIDATES // candidates_per_vector))


def _check(x: Tensor, tables: CrossTables, width: int) -> None:
    if width < 1:
        raise ValueError(f"a beam keeps at least one sum: got width {width}")
    if x.shape[-1] != tables.stacked.shape[1]:
        raise ValueError(f"got vectors of {x.shape[-1]} features for codewords of {tables.stacked.shape[1]}")
