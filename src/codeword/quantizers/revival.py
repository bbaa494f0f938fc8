"""What happens to codewords that nothing uses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from codeword.functional.random import row_normal, row_uniform
from codeword.quantizers.config import register


class Revival(ABC):
    """The contract of a revival: called once per optimizer step, on statistics already summed over ranks.

    Attributes:
        resets_moments: Whether ``update`` clears the optimizer's moments of rows that moved.
    """

    resets_moments: ClassVar[bool] = True

    @property
    @abstractmethod
    def candidates(self) -> int:
        """How many data vectors per step are kept as places for codewords to go, one per codeword at most."""

    @abstractmethod
    def __call__(self, state: "RevivalState", key: Tensor) -> Tensor:
        """Overwrite dead rows of ``state.table`` in place; return which rows moved, Bool of shape (size,)."""


@dataclass
class RevivalState:
    """The tensors a revival reads and writes.

    Attributes:
        table: Codewords, (size, dim).
        usage: Smoothed usage of each codeword as a ratio of uniform usage, (size,); 1 when new.
        counts: Vectors that chose each codeword in this step, over all ranks, (size,).
        batches: Steps in which each codeword was chosen since the last replacement, (size,).
        steps: Optimizer steps so far, a scalar.
        places: Data vectors drawn in proportion to their squared error, (candidates, dim).
        errors: Their squared errors; -inf where a place is empty.
    """

    table: Tensor
    usage: Tensor
    counts: Tensor
    batches: Tensor
    steps: Tensor
    places: Tensor
    errors: Tensor


@register
@dataclass(frozen=True)
class ReviveDead(Revival):
    r"""Codewords whose usage fell below a share of uniform usage move to data that is badly served.

    Usage is counted per vector and smoothed over a window of ``hits`` vectors per codeword, so that neither the
    threshold nor the window depends on the batch, the codebook or the number of ranks. A dead codeword goes to a data
    vector drawn with probability proportional to its squared error (the k-means++ rule), moved by noise of
    ``jitter`` times that error, so that no two codewords are alike. Its usage starts again at 1.

    Attributes:
        threshold: Share of uniform usage below which a codeword is dead.
        hits: Window, in expected hits of a uniformly used codeword.
        jitter: Length of the noise relative to the distance between the data vector and its codeword.
        last_step: No revival after this many optimizer steps, so that training ends undisturbed; ``None`` never stops.
        candidates: Data vectors kept per step.
    """

    threshold: float = 0.05
    hits: float = 16.0
    jitter: float = 0.1
    last_step: int | None = None
    candidates: int = 64

    def __post_init__(self) -> None:
        if self.threshold < 0 or self.hits <= 0 or self.candidates < 1:
            raise ValueError(f"ReviveDead needs threshold >= 0, hits > 0 and at least 1 candidate, got {self}")

    def __call__(self, state: RevivalState, key: Tensor) -> Tensor:
        size, dim = state.table.shape
        total = state.counts.sum()
        keep = torch.exp(-total / (size * self.hits))
        state.usage.mul_(keep).add_((1 - keep) * size * state.counts / total.clamp_min(1))
        dead = state.usage < self.threshold
        if self.last_step is not None:
            dead &= state.steps <= self.last_step
        # The n-th dead row takes the n-th place; rows beyond the last filled place wait for the next step.
        count = dead.cumsum(0)
        moved = dead & (count <= torch.isfinite(state.errors).sum())
        number = torch.arange(len(state.errors), device=dead.device)
        row = torch.searchsorted(count, number + 1)
        noise = row_normal(key, len(number), dim, first_row=(row - number).unsqueeze(1)) / dim**0.5
        cell = state.errors.clamp_min(0).sqrt().unsqueeze(1)
        goal = (state.places + self.jitter * cell * noise)[(count - 1).clamp(0, len(number) - 1)]
        state.table.copy_(torch.where(moved.unsqueeze(1), goal.to(state.table.dtype), state.table))
        state.usage.masked_fill_(moved, 1.0)
        return moved


@register
@dataclass(frozen=True)
class Keep(Revival):
    """Dead codewords stay where they are."""

    candidates: int = 0

    def __call__(self, state: RevivalState, key: Tensor) -> Tensor:
        return torch.zeros_like(state.usage, dtype=torch.bool)


@register
@dataclass(frozen=True)
class ReplaceUnused(Revival):
    """The replacement published with NSVQ (Vali and Backstrom 2022, section III-D), for comparison.

    Every ``period`` steps, codewords that occurred in fewer than ``threshold * period`` batches are overwritten with
    used codewords, drawn at random without repetition as long as there are enough, plus noise of 1e-12.

    Attributes:
        period: Steps between replacements.
        threshold: Share of batches a codeword must occur in.
        last_step: No replacement after this many steps; the published scripts leave the last tenth free.

    Note:
        In float32 the noise vanishes: a copy stays on its parent until the optimizer's old moments part them, which
        is why ``update`` leaves those moments alone here. "Occurs in a batch" depends on the batch size.
    """

    period: int = 1000
    threshold: float = 0.01
    last_step: int | None = None
    candidates: int = 0
    noise: float = 1e-12
    resets_moments = False

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"ReplaceUnused needs a period of at least 1 step, got {self.period}")

    def __call__(self, state: RevivalState, key: Tensor) -> Tensor:
        size, dim = state.table.shape
        state.batches.add_(state.counts > 0)
        due = (state.steps % self.period == 0) & (state.counts.sum() > 0)
        if self.last_step is not None:
            due &= state.steps <= self.last_step
        used = state.batches >= self.threshold * self.period
        parent = self._parents(used, row_uniform(key, size, 1).squeeze(1))
        goal = state.table[parent] + self.noise * row_normal(key, size, dim)
        moved = due & ~used
        state.table.copy_(torch.where(moved.unsqueeze(1), goal.to(state.table.dtype), state.table))
        state.batches.mul_(~due)
        return moved

    def _parents(self, used: Tensor, draw: Tensor) -> Tensor:
        """The row that each unused row becomes; itself if no row is used. ``draw`` shuffles."""
        place = torch.arange(len(used), device=used.device)
        many = used.sum()
        # Used rows repeated until there are enough of them, then shuffled; without a host value: the pool fits in size.
        copies = torch.where(many < (~used).sum(), (~used).sum() // many.clamp_min(1) + 1, 1)
        pool = torch.where(place < many * copies, draw, torch.inf).argsort()
        first = (~used).to(torch.uint8).argsort(stable=True)  # used rows, in order
        turn = ((~used).cumsum(0) - 1).clamp_min(0)
        return torch.where(used.any(), first[pool[turn] % many.clamp_min(1)], place)
