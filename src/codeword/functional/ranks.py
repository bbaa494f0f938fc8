"""Sums and gathers over data-parallel processes; the identity where there is one process.

Asked at every call and never remembered: a quantizer may be built before the process group exists.
"""

from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Place of this process in the group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def meet() -> None:
    """Go on when all ranks are here."""
    if world_size() > 1:
        dist.barrier()


def sum_over_ranks_(value: Tensor) -> Tensor:
    """Add ``value`` over all ranks, in place."""
    if world_size() > 1:
        dist.all_reduce(value)
    return value


def mean_count(count: Tensor) -> Tensor:
    """The mean of a count over ranks, in a form that compiles; data-parallel averaging then gives global means."""
    if world_size() == 1:
        return count
    from torch.distributed import _functional_collectives as collectives

    return collectives.all_reduce(count, "sum", cast(dist.ProcessGroup, dist.group.WORLD)) / world_size()


def row_counts(rows: Tensor) -> list[int]:
    """Numbers of rows of all ranks; waits for the device."""
    counts = torch.zeros(world_size(), dtype=torch.int64, device=rows.device)
    counts[rank()] = len(rows)
    return [int(count) for count in sum_over_ranks_(counts)]


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all ranks in rank order; ranks may hold different numbers of rows, also none."""
    if world_size() == 1:
        return rows
    counts = row_counts(rows)
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    return torch.cat([part[:count] for part, count in zip(gather_alike(padded), counts, strict=True)])


def gather_alike(value: Tensor) -> Tensor:
    """Tensors of one shape from all ranks, stacked in rank order."""
    if world_size() == 1:
        return value.unsqueeze(0)
    parts = [torch.empty_like(value) for _ in range(world_size())]
    dist.all_gather(parts, value)
    return torch.stack(parts)


def broadcast_(value: Tensor) -> Tensor:
    """Overwrite ``value`` with that of rank 0, in place."""
    if world_size() > 1:
        dist.broadcast(value, 0)
    return value
