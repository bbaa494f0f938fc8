"""Which patches an encoder sees, and which ones it has to predict."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.random import row_uniform
from codeword.quantizers.config import register

_OTHERS = 1 << 20  # what is drawn about masked patches is independent of which they are


class Masking(NamedTuple):
    """The patches of every item, divided.

    Attributes:
        visible: Numbers of the patches that are seen, ascending.
        masked: Those of all others, ascending.
    """

    visible: Int[Tensor, "batch kept"]
    masked: Int[Tensor, "batch hidden"]


def thinned(masking: Masking, share: float, key: Int[Tensor, ""], *, first_row: int = 0) -> Masking:
    """The same with a share of the masked patches of every item, one at least: the others are in neither part."""
    count, hidden = masking.masked.shape
    wanted = max(1, math.ceil(share * hidden))
    if wanted >= hidden:
        return masking
    chosen = row_uniform(key + _OTHERS, count, hidden, first_row=first_row).argsort(dim=1, stable=True)[:, :wanted]
    return masking._replace(masked=masking.masked.gather(1, chosen).sort(1).values)


@dataclass(frozen=True)
class MaskRule(ABC):
    """The contract of a rule: every item of a grid has the same number of visible patches."""

    def draw(self, grid: tuple[int, ...], count: int, key: Int[Tensor, ""], *, first_row: int = 0) -> Masking:
        """Divide the patches of ``count`` items, each a function of the key and of its row.

        Args:
            grid: Patches along every axis, the slowest first; patches are numbered in this order.
            count: Items.
            key: Of the draws.
            first_row: Row of the first item, for a rank's share of a batch.
        """
        keep = self.scores(grid, count, key, first_row)
        kept = int(keep[0].isfinite().sum()) if count else 0
        order = keep.argsort(dim=1, descending=True, stable=True)
        return Masking(order[:, :kept].sort(1).values, order[:, kept:].sort(1).values)

    @abstractmethod
    def scores(
        self, grid: tuple[int, ...], count: int, key: Int[Tensor, ""], first_row: int
    ) -> Float[Tensor, "count patches"]:
        """Finite where a patch stays visible, as many in every row, minus infinity elsewhere."""


@register
@dataclass(frozen=True)
class RandomMask(MaskRule):
    """Every patch has the same chance (He et al. 2022).

    Attributes:
        ratio: Share of patches that are masked; round((1 - ratio) n) of n stay visible, one at least.
    """

    ratio: float = 0.8

    def __post_init__(self) -> None:
        _check("ratio", self.ratio)

    def scores(
        self, grid: tuple[int, ...], count: int, key: Int[Tensor, ""], first_row: int
    ) -> Float[Tensor, "count patches"]:
        return _kept(count, math.prod(grid), self.ratio, key, first_row)


@register
@dataclass(frozen=True)
class BandMask(MaskRule):
    """Whole columns of time and whole rows of frequency are masked; what is in neither stays visible.

    Attributes:
        time: Share of the first axis that is masked.
        frequency: Share of the second axis that is masked.
    """

    time: float = 0.7
    frequency: float = 0.3

    def __post_init__(self) -> None:
        _check("time", self.time)
        _check("frequency", self.frequency)

    def scores(
        self, grid: tuple[int, ...], count: int, key: Int[Tensor, ""], first_row: int
    ) -> Float[Tensor, "count patches"]:
        if len(grid) != 2:
            raise ValueError(f"BandMask is for grids of time and frequency, got one of {len(grid)} axes: {grid}")
        time = _kept(count, grid[0], self.time, key, first_row)
        frequency = _kept(count, grid[1], self.frequency, key + 1, first_row)
        return (time.unsqueeze(2) + frequency.unsqueeze(1)).flatten(1)


@register
@dataclass(frozen=True)
class TubeMask(MaskRule):
    """The same patches of every time step are masked (Tong et al. 2022).

    Attributes:
        ratio: Share of the patches of a time step that are masked.
    """

    ratio: float = 0.9

    def __post_init__(self) -> None:
        _check("ratio", self.ratio)

    def scores(
        self, grid: tuple[int, ...], count: int, key: Int[Tensor, ""], first_row: int
    ) -> Float[Tensor, "count patches"]:
        if len(grid) != 3:
            raise ValueError(f"TubeMask is for grids of time, height and width, got one of {len(grid)} axes: {grid}")
        return _kept(count, math.prod(grid[1:]), self.ratio, key, first_row).repeat(1, grid[0])


def _kept(count: int, places: int, ratio: float, key: Int[Tensor, ""], first_row: int) -> Float[Tensor, "count places"]:
    """0 at round((1 - ratio) places) random places of every row, one at least, and minus infinity at the others."""
    kept = max(1, math.floor((1 - ratio) * places + 0.5))
    order = row_uniform(key, count, places, first_row=first_row).argsort(dim=1, stable=True)
    scores = torch.full((count, places), -math.inf, device=key.device)
    return scores.scatter(1, order[:, :kept], 0.0)


def _check(name: str, ratio: float) -> None:
    if not 0 <= ratio < 1:
        raise ValueError(f"a mask's {name} is a share, 0 or more and below 1, got {ratio}")
