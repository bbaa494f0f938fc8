"""Iterated conditional modes: better codes of a sum of codewords, one level at a time."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.cross_tables import CrossTables

_MARGIN = 1e-6  # of the squared norm of a vector: what float32 scores may be wrong by
_BLOCK = 512


def icm(
    x: Float[Tensor, "*batch dim"], codes: Int[Tensor, "*batch levels"], tables: CrossTables, *, sweeps: int
) -> Int[Tensor, "*batch levels"]:
    r"""Codes after ``sweeps`` rounds in which every level in turn takes its best codeword given all others.

    .. math:: i_m \leftarrow \arg\min_k \tfrac12 |c_k|^2 - \langle x - \sum_{j \ne m} c_{i_j}, c_k \rangle

    (Besag 1986; for additive codes Martinez et al. 2016, section 3.) A codeword is changed only if the squared error
    falls by more than 1e-6 of the squared norm of the centred vector, beyond what rounding can feign: the error of no
    vector ever rises, and a vector whose codes survive a whole sweep is done.

    Args:
        x: Vectors.
        codes: Where to start; all levels set.
        tables: From :func:`cross_tables`.
        sweeps: Rounds over all levels, at most.
    """
    flat = x.detach().reshape(-1, x.shape[-1])
    result = codes.reshape(-1, tables.levels).clone()
    starts = torch.tensor(tables.row_starts[:-1], device=x.device)
    with torch.inference_mode():
        for part, block in tables.centred(flat, _BLOCK):
            rows = torch.cat([tables.no_rows(len(block)), result[part] + starts], dim=1)
            _sweep(block, tables, rows, sweeps)
            result[part] = rows[:, 1:] - starts
    return result.reshape(codes.shape)


def _sweep(block: Tensor, tables: CrossTables, rows: Tensor, sweeps: int) -> None:
    """Improve the codes of a block of centred vectors, given as rows after that of the bias, in place."""
    attraction = tables.attraction(block)
    margin = block.square().sum(1, keepdim=True) * (_MARGIN / 2)
    going = torch.arange(len(block), device=block.device)
    current = rows.clone()
    for _ in range(sweeps):
        before = current.clone()
        for level in range(tables.levels):
            others = torch.cat([current[:, : level + 1], current[:, level + 2 :]], dim=1)
            scores = tables.repulsion(others, level).add_(attraction[:, tables.span(level)])
            row, start = current[:, level + 1 : level + 2], tables.row_starts[level]
            old = scores.gather(1, row - start)
            new, place = scores.min(1, keepdim=True)
            row.copy_(torch.where(new < old - margin, place + start, row))
        rows[going] = current
        moved = (current != before).any(1)
        if not moved.any():
            break
        going, current, attraction, margin = going[moved], current[moved], attraction[moved], margin[moved]
