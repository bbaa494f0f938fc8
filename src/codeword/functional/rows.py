"""Codes to vectors: rows of several tables, gathered in one pass."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def sum_of_rows(
    codes: Int[Tensor, "*batch levels"], tables: Sequence[Float[Tensor, "_ dim"]]
) -> Float[Tensor, "*batch dim"]:
    """The sum of one row from each table; a code of -1 takes none. Differentiable in the tables.

    Args:
        codes: A row of every table, or -1.
        tables: One for each level, of any sizes.
    """
    rows, stacked = _stacked(codes, tables)
    if torch.compiler.is_exporting():  # other runtimes have no bags, or slow ones
        return F.embedding(rows, stacked).sum(-2)
    flat = F.embedding_bag(rows.reshape(-1, codes.shape[-1]), stacked, mode="sum")
    return flat.reshape(*codes.shape[:-1], stacked.shape[1])


def joined_rows(codes: Int[Tensor, "*batch levels"], tables: Sequence[Float[Tensor, "_ dim"]]) -> Tensor:
    """One row from each table, end to end (*batch, levels * dim); zeros for a code of -1. Differentiable in the tables.

    Args:
        codes: A row of every table, or -1.
        tables: One for each level, of any sizes.
    """
    rows, stacked = _stacked(codes, tables)
    # For short rows this gather is faster than an embedding, which copies them one by one.
    flat = stacked.gather(0, rows.reshape(-1, 1).expand(-1, stacked.shape[1]))
    return flat.reshape(*codes.shape[:-1], codes.shape[-1] * stacked.shape[1])


def _stacked(codes: Tensor, tables: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of all tables below one another, each headed by a row of zeros: that is where a code of -1 falls."""
    zeros = tables[0].new_zeros(1, tables[0].shape[1])
    ends = itertools.accumulate(len(table) + 1 for table in tables)
    starts = torch.tensor([1, *(end + 1 for end in ends)][: len(tables)], device=codes.device)
    return codes + starts, torch.cat([part for table in tables for part in (zeros, table)])
