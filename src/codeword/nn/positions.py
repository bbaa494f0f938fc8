"""Where a patch lies: fixed positions that are added to patches, for one, two or three axes.

Patches are counted in row-major order, the last axis fastest: of a log-mel (time, mel), of an image (height, width),
of a video (frames, height, width).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Kind = Literal["sincos", "sinusoid", "table"]
OtherSizes = Literal["stretched", "continued"]

_SLOWEST = 10000.0  # the longest wave, over 2 pi patches
_MODES = {1: "linear", 2: "bicubic", 3: "trilinear"}


def sincos(grid: tuple[int, ...], dim: int) -> Float[Tensor, "patches dim"]:
    r"""Sines and cosines of the coordinates of every patch.

    An axis with P frequencies gives a patch at coordinate i the 2 P features

    $$[\sin(i w_0), \dots, \sin(i w_{P-1}), \cos(i w_0), \dots, \cos(i w_{P-1})], \quad w_j = 10000^{-j/P}.$$

    The features of the axes follow one another, **those of the last axis first**. The dim / 2 frequencies are dealt out
    evenly; what is left over goes one each to the axes whose features come first.

    Two axes: the layout of MAE (He et al. 2022), whose weights have the features of the column before those of the
    row. One axis: the same values as ``sinusoid`` in another order.

    Args:
        grid: Patches along every axis.
        dim: Features; an even number, at least two for every axis.

    Raises:
        ValueError: If the features cannot be shared out.
    """
    share, rest = divmod(dim // 2, len(grid))
    if dim % 2 or share < 1:
        raise ValueError(f"positions on {len(grid)} axes need an even dim of {2 * len(grid)} or more, got {dim}")
    axes = torch.meshgrid([torch.arange(length, dtype=torch.float64) for length in grid], indexing="ij")
    features: list[Tensor] = []
    for place, axis in enumerate(reversed(axes)):
        count = share + (place < rest)
        waves = _SLOWEST ** -(torch.arange(count, dtype=torch.float64) / count)
        angles = axis.flatten().outer(waves)
        features += [angles.sin(), angles.cos()]
    return torch.cat(features, 1).float()


def sinusoid(count: int, dim: int) -> Float[Tensor, "patches dim"]:
    """Sines and cosines of the patches' numbers, side by side: the positions of VideoMAE (Tong et al. 2022).

    Feature 2 j is sin(i w_j) and feature 2 j + 1 is cos(i w_j), with w_j = 10000^(-2 j / dim).

    Note:
        Only neighbours on the last axis are near one another; ``sincos`` knows all axes.
    """
    return rearrange(sincos((count,), dim), "patches (two waves) -> patches (waves two)", two=2)


def resized(
    positions: Float[Tensor, "patches dim"], grid: tuple[int, ...], new_grid: tuple[int, ...]
) -> Float[Tensor, "_ dim"]:
    """Positions for another grid over the same extent: bicubic on two axes, else linear along every axis.

    Raises:
        ValueError: If there is not one position for every patch of ``grid``.
    """
    if len(positions) != math.prod(grid) or len(grid) != len(new_grid):
        raise ValueError(f"{len(positions)} positions of a grid {grid} cannot be resized to {new_grid}")
    if grid == new_grid:
        return positions
    maps = positions.t().unflatten(1, grid).unsqueeze(0)
    return F.interpolate(maps, size=new_grid, mode=_MODES[len(grid)], align_corners=False)[0].flatten(1).t()


class Positions(nn.Module):
    """The positions of any grid, from a table for one.

    Args:
        kind: ``sincos``, ``sinusoid``, or ``table``: zeros until positions come with loaded weights.
        grid: Of the table.
        dim: Features.
        other_sizes: What another grid is: ``stretched`` over the same extent, as an image of another resolution, or
            ``continued`` at the same distances, as a longer or shorter recording; that is for ``sincos`` alone.
    """

    def __init__(self, kind: Kind, grid: tuple[int, ...], dim: int, *, other_sizes: OtherSizes = "stretched"):
        super().__init__()
        if other_sizes == "continued" and kind != "sincos":
            raise ValueError(f"positions {kind!r} end with their table: take 'sincos', or other_sizes='stretched'")
        self.grid, self.dim, self.continued = grid, dim, other_sizes == "continued"
        tables = {"sincos": lambda: sincos(grid, dim), "sinusoid": lambda: sinusoid(math.prod(grid), dim)}
        table = tables.get(kind, lambda: torch.zeros(math.prod(grid), dim))()
        self.register_buffer("table", table, persistent=kind == "table")
        self.table: Tensor

    def forward(self, grid: tuple[int, ...]) -> Float[Tensor, "patches dim"]:
        if self.continued and grid != self.grid:
            return sincos(grid, self.dim).to(self.table)
        return resized(self.table, self.grid, grid)
