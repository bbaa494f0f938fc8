"""Attention inside of windows of a grid of patches that shift from block to block (Liu et al. 2022, Swin v2).

::

    grid ─ pad to windows ─ shift ─ windows ─ attention in each, masked ─ back ─ norm ─ + ──┬─ mlp ─ norm ─ + ──►
      └──────────────────────────────────────────────────────────────────────────────────┘ └───────────────┘
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from codeword.nn.transformer import DropPath, feed_forward, start_xavier

_INNER = 384  # width of the network that gives a bias to a distance
_SHARPEST = math.log(100.0)  # of the cosines' learned scale


class Windows:
    """How patches of a grid fall into windows.

    A grid that is no multiple of the window is padded at its ends. Windows that are shifted start that far into the
    grid; what lies before the first of them shares a window with the end of the grid, and is kept apart by a mask. An
    axis with one window only is not shifted.

    Args:
        grid: Patches along every axis.
        window: Patches of a window along every axis.
        shift: Where the first window starts along every axis.
    """

    def __init__(self, grid: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]):
        self.grid, self.axes = grid, tuple(range(1, 1 + len(grid)))
        self.padded = tuple(-(-length // side) * side for length, side in zip(grid, window, strict=True))
        starts = zip(shift, self.padded, window, strict=True)
        self.shift = tuple(start if length > side else 0 for start, length, side in starts)
        self.sides = {f"p{axis}": side for axis, side in enumerate(window)}
        self.counts = {
            f"g{axis}": length // side for axis, (length, side) in enumerate(zip(self.padded, window, strict=True))
        }
        wholes = " ".join(f"({count} {side})" for count, side in zip(self.counts, self.sides, strict=True))
        self.whole = f"batch {wholes} dim"
        self.cut = f"batch ({' '.join(self.counts)}) ({' '.join(self.sides)}) dim"

    def split(self, x: Tensor) -> Tensor:
        """(batch, patches, dim) to (batch, windows, patches of a window, dim); padding is zero."""
        return self._windows(self._pad(x.unflatten(1, self.grid)))

    def join(self, x: Tensor) -> Tensor:
        """The inverse of ``split``; padding is dropped."""
        x = rearrange(x, f"{self.cut} -> {self.whole}", **self.sides, **self.counts)
        if any(self.shift):
            x = x.roll(self.shift, self.axes)
        for axis, length in zip(self.axes, self.grid, strict=True):
            x = x.narrow(axis, 0, length)
        return x.flatten(1, len(self.axes))

    def allowed(self, x: Tensor, valid: Tensor | None) -> Tensor | None:
        """Which patches (last axis) of its window a patch attends to; itself always, so that no softmax is empty.

        Args:
            x: Says where the mask is needed.
            valid: Patches that are no padding, (batch, patches).

        Returns:
            (batch or 1, windows, patches of a window, patches of a window); ``None`` if all do.
        """
        if valid is None and self.padded == self.grid and not any(self.shift):
            return None
        real = x.new_ones(1, math.prod(self.grid), dtype=torch.bool) if valid is None else valid
        side = x.new_zeros(1, *self.padded, 1, dtype=torch.int64)  # a bit per axis: before the first window or not
        for axis, start in enumerate(self.shift):
            side.narrow(1 + axis, 0, start).add_(2**axis)
        sides = self._windows(side).squeeze(-1)
        together = sides.unsqueeze(-1) == sides.unsqueeze(-2)
        itself = torch.eye(sides.shape[-1], dtype=torch.bool, device=x.device)
        return together & self.split(real.unsqueeze(-1)).transpose(-1, -2) | itself

    def _pad(self, x: Tensor) -> Tensor:
        if self.padded == self.grid:
            return x
        ends = [(0, wide - length) for length, wide in zip(self.grid, self.padded, strict=True)]
        return F.pad(x, [0, 0, *(end for pair in reversed(ends) for end in pair)])

    def _windows(self, x: Tensor) -> Tensor:
        if any(self.shift):
            x = x.roll([-start for start in self.shift], self.axes)
        return rearrange(x, f"{self.whole} -> {self.cut}", **self.sides)


class WindowAttention(nn.Module):
    """Cosine attention inside of windows, with a bias that a small network gives to every distance.

    Scores are s cos(q, k) + b(distance), s = exp(min(log scale, log 100)) learned per head from 10. A distance of d
    patches enters the network as sign(d) log(1 + abs(d)) along every axis.

    Args:
        dim: Features of a patch.
        heads: Of how many features each, dim / heads.
        window: Patches of a window along every axis.
    """

    def __init__(self, dim: int, heads: int, window: tuple[int, ...]):
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} features cannot be shared among {heads} heads: take a multiple")
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.bias = nn.Sequential(nn.Linear(len(window), _INNER), nn.ReLU(), nn.Linear(_INNER, heads))
        self.log_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        places = torch.cartesian_prod(*(torch.arange(side) for side in window)).view(-1, len(window))
        apart = (places.unsqueeze(1) - places.unsqueeze(0)).float()
        self.register_buffer("distances", apart.sign() * apart.abs().log1p(), persistent=False)
        self.distances: Tensor
        start_xavier(self)

    def forward(
        self,
        x: Float[Tensor, "batch windows patches dim"],
        allowed: Bool[Tensor, "_ windows patches patches"] | None = None,
    ) -> Float[Tensor, "batch windows patches dim"]:
        q, k, v = rearrange(self.qkv(x), "b w n (three h d) -> three b w h n d", three=3, h=self.heads)
        scale = self.log_scale.clamp(max=_SHARPEST).exp()
        scores = (F.normalize(q, dim=-1) * scale) @ F.normalize(k, dim=-1).transpose(-1, -2)
        scores = scores + rearrange(self.bias(self.distances), "q k h -> h q k")
        if allowed is not None:
            scores = scores.masked_fill(~allowed.unsqueeze(2), -math.inf)
        mixed = scores.softmax(-1).to(v) @ v
        return self.out(rearrange(mixed, "b w h n d -> b w n (h d)"))


class SwinBlock(nn.Module):
    """Attention in windows, then two linear maps of every patch, each normed before it is added.

    Args:
        dim: Features of a patch.
        heads: Of the attention.
        window: Patches of a window along every axis.
        shift: Where the first window starts along every axis.
        mlp_ratio: How much wider the linear maps are inside.
        drop_path: Share of samples that go without a branch in training.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        window: tuple[int, ...],
        shift: tuple[int, ...],
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        if len(window) != len(shift) or any(not 0 <= start < side for side, start in zip(window, shift, strict=False)):
            raise ValueError(f"windows {window} are shifted by less than their size on every axis, got {shift}")
        self.window, self.shift = window, shift
        self.attention = WindowAttention(dim, heads, window)
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.mlp = feed_forward(dim, mlp_ratio)
        self.drop = DropPath(drop_path)

    def forward(
        self,
        x: Float[Tensor, "batch patches dim"],
        grid: tuple[int, ...],
        valid: Bool[Tensor, "batch patches"] | None = None,
    ) -> Float[Tensor, "batch patches dim"]:
        windows = Windows(grid, self.window, self.shift)
        mixed = self.attention(windows.split(x), windows.allowed(x, valid))
        x = x + self.drop(self.norm1(windows.join(mixed)))
        return x + self.drop(self.norm2(self.mlp(x)))


class Swin(nn.Module):
    """Blocks of which every second has its windows shifted, and a norm after them; as BRIDLE's decoder has them.

    Note:
        BRIDLE's code divides cosines by a temperature from 1, and drops a tenth of the distance network's inside in
        training. Here the scale is that of Swin v2, from 10, and nothing is dropped.

    Args:
        dim: Features of a patch.
        depth: Blocks.
        heads: Of their attention.
        window: Patches of a window along every axis.
        shift: Where the first window of the second, fourth... block starts along every axis.
        mlp_ratio: How much wider their linear maps are inside.

    Attributes:
        recompute: Set it to save memory: a block's inside is then computed again for the gradient, not kept.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        *,
        window: tuple[int, ...] = (4, 4),
        shift: tuple[int, ...] = (2, 0),
        mlp_ratio: float = 4.0,
    ):
        super().__init__()
        shifts = [shift if place % 2 else tuple(0 for _ in shift) for place in range(depth)]
        self.blocks = nn.ModuleList(
            SwinBlock(dim, heads, window=window, shift=each, mlp_ratio=mlp_ratio) for each in shifts
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.recompute = False

    def forward(
        self,
        x: Float[Tensor, "batch patches dim"],
        grid: tuple[int, ...],
        valid: Bool[Tensor, "batch patches"] | None = None,
    ) -> Float[Tensor, "batch patches dim"]:
        for block in self.blocks:
            again = self.recompute and torch.is_grad_enabled()
            x = checkpoint(block, x, grid, valid, use_reentrant=False) if again else block(x, grid, valid)
        return self.norm(x)
