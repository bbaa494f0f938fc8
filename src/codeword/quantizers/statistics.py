"""What a training step does to codebooks, as operators that a compiler sees as one node each.

``count`` adds a forward to the pending statistics. ``settle`` turns what is pending into one optimizer step: sums over
ranks, moving averages, revival. ``seed`` gives a codebook its start. All change the tensors of a ``State`` in place.
"""

import json
import math
from functools import cache
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from codeword.functional.random import row_uniform
from codeword.functional.ranks import (
    broadcast_,
    gather_alike,
    gather_rows,
    rank,
    row_counts,
    sum_over_ranks_,
    world_size,
)
from codeword.quantizers.config import build
from codeword.quantizers.geometry import Cosine, Geometry
from codeword.quantizers.learning import DirectionAverage, Learning, MovingAverage
from codeword.quantizers.revival import Revival, RevivalState
from codeword.quantizers.seeding import Seeding


class Pending(NamedTuple):
    """What a forward adds to, by the names of a codebook's buffers."""

    pending_counts: Tensor
    pending_sums: Tensor
    pending_rows: Tensor
    places: Tensor
    place_keys: Tensor
    place_errors: Tensor


class State(NamedTuple):
    """All tensors of a codebook, by the names of its buffers."""

    table: Tensor
    usage: Tensor
    batches: Tensor
    steps: Tensor
    seeded: Tensor
    average_counts: Tensor
    average_sums: Tensor
    moved: Tensor
    pending_counts: Tensor
    pending_sums: Tensor
    pending_rows: Tensor
    places: Tensor
    place_keys: Tensor
    place_errors: Tensor


class Settings(NamedTuple):
    """The objects of a codebook, read back from the text that crosses the operator's border."""

    learning: Learning
    seeding: Seeding
    revival: Revival
    geometry: Geometry


@cache
def _settings(text: str) -> Settings:
    return Settings(*cast(tuple[Learning, Seeding, Revival, Geometry], build(json.loads(text))))


@torch.library.custom_op(
    "codeword::count",
    mutates_args={"pending"},
    schema="(Tensor x, Tensor codes, Tensor errors, Tensor? keep, Tensor key, Tensor(a!)[] pending) -> ()",
)
def count(x: Tensor, codes: Tensor, errors: Tensor, keep: Tensor | None, key: Tensor, pending: list[Tensor]) -> None:
    """Add a forward: counts, sums where they are averaged, and candidates for revival.

    The table is no argument, so that autograd does not take it for changed.
    """
    if _recomputing():
        return
    s = Pending(*pending)
    size = len(s.pending_counts)
    counted = torch.isfinite(errors) & (codes >= 0)
    if keep is not None:
        counted &= keep
    slot = torch.where(counted, codes, size)  # one slot more, for what is not counted
    counts = s.pending_counts.new_zeros(size + 1)  # not bincount, which makes the host wait for the device
    s.pending_counts.add_(counts.scatter_add_(0, slot, torch.ones_like(slot, dtype=counts.dtype))[:size])
    if len(s.pending_sums):
        sums = s.pending_sums.new_zeros(size + 1, x.shape[1]).index_add_(0, slot, x.to(s.pending_sums.dtype))
        s.pending_sums.add_(sums[:size])
    if len(s.places):
        _draw_places(s, x, torch.where(counted, errors, 0.0), key)
    s.pending_rows.add_(len(x))


def _recomputing() -> bool:
    """Whether a backward pass is running: a checkpointed forward is then done again and has had its effect already."""
    return bool(torch._C._current_graph_task_id() != -1)


def _draw_places(s: Pending, x: Tensor, errors: Tensor, key: Tensor) -> None:
    """Keep the rows with the largest log error plus Gumbel noise: a draw proportional to the squared error.

    The noise belongs to (key of the step, row of the step), so that two ranks, or two forwards, draw what one would.
    """
    first_row = s.pending_rows * world_size() + rank() * len(x)
    uniform = row_uniform(key, len(x), 1, first_row=first_row).squeeze(1)
    keys = errors.log() - torch.log(-torch.log(uniform))
    best, index = keys.topk(min(len(s.places), len(keys)))
    _keep_best(
        s, torch.cat([s.place_keys, best]), torch.cat([s.place_errors, errors[index]]), torch.cat([s.places, x[index]])
    )


def _keep_best(s: Pending | State, keys: Tensor, errors: Tensor, places: Tensor) -> None:
    best, index = keys.topk(len(s.places))
    filled = torch.isfinite(best)
    s.place_keys.copy_(best)
    s.place_errors.copy_(torch.where(filled, errors[index], -math.inf))
    s.places.copy_(torch.where(filled.unsqueeze(1), places[index], 0.0))


def step_key(steps: Tensor, seed: int) -> Tensor:
    """The key of everything random in a step."""
    return (steps + 1) * 1_000_003 + ((seed & 0x7FFFFFFF) << 32)


@torch.library.custom_op("codeword::settle", mutates_args={"state"}, schema="(Tensor(a!)[] state, str settings) -> ()")
def settle(state: list[Tensor], settings: str) -> None:
    """Apply what is pending to one codebook."""
    if not _recomputing():
        settle_all([State(*state)], [settings])


def settle_all(states: list[State], settings: list[str]) -> None:
    """Apply what is pending to codebooks, with one sum and one gather over the ranks for all of them together.

    Nothing here depends on data before the collectives, so a rank that saw only padding takes part like any other.
    """
    _sum_pending([t for s in states for t in (s.pending_counts, s.pending_sums, s.pending_rows)])
    _gather_places(states)
    for s, text in zip(states, settings, strict=True):
        _step(s, _settings(text))


def _sum_pending(tensors: list[Tensor]) -> None:
    if world_size() == 1:
        return
    flat = sum_over_ranks_(torch.cat([t.flatten() for t in tensors]))
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def _gather_places(states: list[State]) -> None:
    if world_size() == 1:
        return
    packed = [torch.cat([s.place_keys[:, None], s.place_errors[:, None], s.places], dim=1) for s in states]
    flat = gather_alike(torch.cat([p.flatten() for p in packed]))
    for s, part, own in zip(states, flat.split([p.numel() for p in packed], dim=1), packed, strict=True):
        if len(s.places):
            rows = part.reshape(-1, own.shape[1])
            _keep_best(s, rows[:, 0], rows[:, 1], rows[:, 2:])


def _step(s: State, settings: Settings) -> None:
    s.steps.add_(s.pending_rows > 0)
    if isinstance(settings.learning, MovingAverage):
        _move_average(s, settings.learning)
    elif isinstance(settings.learning, DirectionAverage):
        _move_directions(s, settings.learning)
    revival = RevivalState(s.table, s.usage, s.pending_counts, s.batches, s.steps, s.places, s.place_errors)
    moved = settings.revival(revival, step_key(s.steps, settings.seeding.seed))
    s.moved.copy_(moved)
    if len(s.average_counts):
        # A revived row starts its average anew: its next batch of vectors outweighs the place it was given.
        s.average_counts.copy_(torch.where(moved, 1e-2, s.average_counts))
        s.average_sums.copy_(torch.where(moved.unsqueeze(1), s.table * 1e-2, s.average_sums))
    for tensor in (s.pending_counts, s.pending_sums, s.pending_rows, s.places):
        tensor.zero_()
    s.place_keys.fill_(-math.inf)
    s.place_errors.fill_(-math.inf)


def _move_average(s: State, learning: MovingAverage) -> None:
    eps = learning.smoothing
    # A step without vectors leaves the averages alone; told by a tensor, so that nothing waits for the device.
    share = (1 - learning.decay) * (s.pending_counts.sum() > 0)
    s.average_counts.mul_(1 - share).add_(s.pending_counts * share)
    s.average_sums.mul_(1 - share).add_(s.pending_sums * share)
    total = s.average_counts.sum()
    smoothed = (s.average_counts + eps) / (total + len(s.average_counts) * eps) * total
    moved = s.average_sums / smoothed.unsqueeze(1).clamp_min(1e-30)
    s.table.copy_(torch.where((s.pending_counts > 0).unsqueeze(1), moved.to(s.table.dtype), s.table))


def _move_directions(s: State, learning: DirectionAverage) -> None:
    moved = torch.lerp(s.table.float(), F.normalize(s.pending_sums, dim=1), 1 - learning.decay)
    moved = F.normalize(moved, dim=1) if learning.unit else moved
    s.table.copy_(torch.where((s.pending_counts > 0).unsqueeze(1), moved.to(s.table.dtype), s.table))


@torch.library.custom_op(
    "codeword::seed",
    mutates_args={"state"},
    schema="(Tensor x, Tensor keep, Tensor(a!)[] state, str settings) -> ()",
)
def seed(x: Tensor, keep: Tensor, state: list[Tensor], settings: str) -> None:
    """Give the table its start from the rows of all ranks, in rank order; rank 0's answer is everybody's."""
    s, config = State(*state), _settings(settings)
    size = len(s.table)
    x = x.float()
    rows = x[keep & torch.isfinite(x.square().sum(1))]  # also without those whose distances overflow
    counts = row_counts(rows)
    stride = max(1, -(-sum(counts) // (config.seeding.most_rows * size)))
    rows = gather_rows(rows[-sum(counts[: rank()]) % stride :: stride])  # as if all rows stood on one rank
    if len(rows):
        start = config.seeding(rows, size, isinstance(config.geometry, Cosine))
    else:  # every rank holds nothing but padding: something to go on with, for revival to mend
        start = row_uniform(step_key(s.steps, config.seeding.seed), size, x.shape[1]) - 0.5
    s.table.copy_(broadcast_(start.contiguous()))
    s.average_sums.copy_(s.table[: len(s.average_sums)])
    s.seeded.fill_(True)
