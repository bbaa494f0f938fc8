"""Beam search and iterated conditional modes in operations that every runtime has: what exported graphs hold.

Slower than ``codeword.functional.beam`` and ``icm``, without data-dependent branches, blocks or bit tricks.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.matmul import wide


def plain_beam(
    x: Float[Tensor, "vectors dim"], tables: Sequence[Float[Tensor, "_ dim"]], width: int
) -> Int[Tensor, "vectors levels"]:
    """The codes of ``beam_search``; memory for ``width`` scores per codeword and vector.

    Args:
        x: Vectors.
        tables: Codebooks.
        width: Sums kept at every level.
    """
    centre = wide(tables[0]).mean(0)
    rest = (wide(x) - centre).unsqueeze(1)
    codes = torch.zeros(x.shape[0], 1, 0, dtype=torch.int64, device=x.device)  # a length would fix the batch
    books = [wide(table) for table in tables]
    books[0] = books[0] - centre
    for level, table in enumerate(books):
        scores = rest.square().sum(2, keepdim=True) / 2 - rest @ table.t() + table.square().sum(1) / 2
        keep = 1 if level == len(books) - 1 else min(width, scores.shape[1] * len(table))
        place = scores.flatten(1).topk(keep, dim=1, largest=False).indices
        parent = torch.div(place, len(table), rounding_mode="floor")
        column = place - parent * len(table)
        kept = rest.gather(1, parent.unsqueeze(2).expand(-1, -1, rest.shape[2]))
        rest = kept - table[column]
        before = codes.gather(1, parent.unsqueeze(2).expand(-1, -1, level))
        codes = torch.cat([before, column.unsqueeze(2)], dim=2)
    return codes[:, 0]


def plain_icm(
    x: Float[Tensor, "vectors dim"],
    codes: Int[Tensor, "vectors levels"],
    tables: Sequence[Float[Tensor, "_ dim"]],
    sweeps: int,
) -> Int[Tensor, "vectors levels"]:
    """The codes of ``icm``.

    Args:
        x: Vectors.
        codes: Where to start.
        tables: Codebooks.
        sweeps: Rounds over all levels.
    """
    books = [wide(table) for table in tables]
    centre = books[0].mean(0)
    books[0] = books[0] - centre
    x = wide(x) - centre
    margin = x.square().sum(1) * 5e-7
    columns = list(codes.unbind(1))
    words = [book[column] for book, column in zip(books, columns, strict=True)]
    for _ in range(sweeps):
        for level, book in enumerate(books):
            others = torch.stack([word for m, word in enumerate(words) if m != level] or [torch.zeros_like(x)]).sum(0)
            scores = book.square().sum(1) / 2 - (x - others) @ book.t()
            old = scores.gather(1, columns[level].unsqueeze(1)).squeeze(1)
            new, column = scores.min(1)
            columns[level] = torch.where(new < old - margin, column, columns[level])
            words[level] = book[columns[level]]
    return torch.stack(columns, 1)
