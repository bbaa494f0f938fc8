"""Inputs cut into patches: log-mels and images along two axes, videos along three.

::

    (batch, channels, *size) ──patchify──► (batch, patches, values) ──Linear──► (batch, patches, dim)
                                 ◄─unpatchify──
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn


def grid_of(size: tuple[int, ...], patch: tuple[int, ...], stride: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Patches along every axis.

    Where patches lie side by side they fill the axis; where they overlap, what is left at the end is not seen.

    Raises:
        ValueError: If a size is no multiple of the patch.
    """
    steps = patch if stride is None else stride
    if not len(size) == len(patch) == len(steps):
        raise ValueError(f"an input with axes {size} has no patches {patch} with strides {steps}: give one per axis")
    axes = list(zip(size, patch, steps, strict=True))
    if any(length < side or (side == step and length % side) for length, side, step in axes):
        fitting = tuple(max(1, -(-length // side)) * side if side == step else length for length, side, step in axes)
        raise ValueError(
            f"the size {size} is no multiple of the patch {patch}: pad or crop the input, e.g. to {fitting}"
        )
    return tuple((length - side) // step + 1 for length, side, step in axes)


def patchify(
    x: Float[Tensor, "batch channels *size"], patch: tuple[int, ...], stride: tuple[int, ...] | None = None
) -> Float[Tensor, "batch patches values"]:
    """Patches in row-major order, each as its values in the order of a convolution's weights: channel, then axes.

    Args:
        x: A batch of log-mels (1 channel, time, mel), images (height, width) or videos (frames, height, width).
        patch: Values along every axis.
        stride: Steps from patch to patch; as far as a patch unless given.

    Raises:
        ValueError: If a size is no multiple of the patch.
    """
    steps, axes = patch if stride is None else stride, len(patch)
    grid_of(tuple(x.shape[2:]), patch, steps)
    for axis, (side, step) in enumerate(zip(patch, steps, strict=True)):
        x = x.unfold(2 + axis, side, step)
    return x.movedim(1, 1 + axes).flatten(1, axes).flatten(2)


def unpatchify(
    patches: Float[Tensor, "batch patches values"], patch: tuple[int, ...], size: tuple[int, ...]
) -> Float[Tensor, "batch channels *size"]:
    """The inverse of ``patchify`` for patches side by side.

    Args:
        patches: One row of values per patch.
        patch: Values along every axis.
        size: Of the input, channels aside.

    Raises:
        ValueError: If the patches are not those of such an input.
    """
    grid = grid_of(size, patch)
    if math.prod(grid) != patches.shape[1] or patches.shape[2] % math.prod(patch):
        raise ValueError(f"{tuple(patches.shape[1:])} patches and values do not make {size} of patches {patch}")
    counts = {f"g{axis}": count for axis, count in enumerate(grid)}
    sides = {f"p{axis}": side for axis, side in enumerate(patch)}
    wholes = " ".join(f"({count} {side})" for count, side in zip(counts, sides, strict=True))
    pattern = f"batch ({' '.join(counts)}) (channels {' '.join(sides)}) -> batch channels {wholes}"
    return rearrange(patches, pattern, **counts, **sides)


def chosen(
    rows: Float[Tensor, "batch patches values"], indices: Int64[Tensor, "batch kept"]
) -> Float[Tensor, "batch kept values"]:
    """The rows of every sample that its indices name, in their order."""
    return torch.take_along_dim(rows, indices.unsqueeze(-1), 1)


class PatchEmbedding(nn.Module):
    """A linear map of every patch: a convolution whose stride is its kernel, computed for chosen patches only.

    Weights start xavier-uniform over a patch's values, as in MAE (He et al. 2022), and biases at zero.

    Args:
        channels: Of the input.
        patch: Values along every axis.
        dim: Features out.
        stride: Steps from patch to patch; as far as a patch unless given.
    """

    def __init__(self, channels: int, patch: tuple[int, ...], dim: int, *, stride: tuple[int, ...] | None = None):
        super().__init__()
        self.patch, self.stride = patch, stride
        self.linear = nn.Linear(channels * math.prod(patch), dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(
        self, x: Float[Tensor, "batch channels *size"], visible: Int64[Tensor, "batch kept"] | None = None
    ) -> Float[Tensor, "batch _ dim"]:
        patches = patchify(x, self.patch, self.stride)
        return self.linear(patches if visible is None else chosen(patches, visible))
