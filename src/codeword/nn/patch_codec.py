"""Encoder and decoder of images on patches, whose linear parts alone make a codec already.

::

    pixels ─► patches ─┬─► linear ────────────────────┬─► latents
                       └─► 1 x 1 ─► blocks ─► 1 x 1 ──┘
    pixels ◄─ patches ◄┬── linear ◄──────────────────┬─── latents
                       └── 1 x 1 ◄─ blocks ◄─ 3 x 3 ◄┘

Networks add to a linear map and its inverse, and begin with nothing: given the principal axes of patches, training
starts from a transform codec. All of them work at the rate of the latents.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

SIDE = 5  # places across that a block sees


class PlaneBlock(nn.Module):
    """A depthwise convolution over the plane, then two linear maps of every place (ConvNeXt, Liu et al. 2022).

    Args:
        dim: Channels.
        inner: Channels between the linear maps.
        scale: Of the block's share at the start.
    """

    def __init__(self, dim: int, inner: int, *, scale: float):
        super().__init__()
        self.plane = nn.Conv2d(dim, dim, SIDE, padding=SIDE // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.wider, self.back = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Float[Tensor, "batch dim height width"]) -> Float[Tensor, "batch dim height width"]:
        y = self.norm(rearrange(self.plane(x), "b d h w -> b h w d"))
        y = self.back(F.gelu(self.wider(y))) * self.scale
        return x + rearrange(y, "b h w d -> b d h w")


def plane_blocks(dim: int, inner: int, count: int) -> nn.Sequential:
    """Blocks of small shares, that together add about as much as one."""
    return nn.Sequential(*(PlaneBlock(dim, inner, scale=1 / count) for _ in range(count)))


class PatchEncoder(nn.Module):
    """Pixels to latents, one for a patch.

    Args:
        channels: Of an image.
        patch: Pixels of a patch, down and across.
        dim: Channels of the blocks.
        inner: Channels inside of the blocks.
        blocks: How many.
        latent: Features of a latent, at most as many as values of a patch.
    """

    def __init__(self, channels: int, patch: int, dim: int, inner: int, blocks: int, latent: int):
        super().__init__()
        self.patch = patch
        values = channels * patch**2
        self.linear = nn.Conv2d(values, latent, 1, bias=False)
        self.first = nn.Conv2d(values, dim, 1)
        self.blocks = plane_blocks(dim, inner, blocks)
        self.last = _silent(nn.Conv2d(dim, latent, 1))

    def patches(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch values _ _"]:
        """The values of every patch."""
        return F.pixel_unshuffle(x, self.patch)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch latent _ _"]:
        values = self.patches(x)
        return self.linear(values) + self.last(self.blocks(self.first(values)))


class PatchDecoder(nn.Module):
    """Latents to pixels; arguments are those of ``PatchEncoder``."""

    def __init__(self, channels: int, patch: int, dim: int, inner: int, blocks: int, latent: int):
        super().__init__()
        self.patch = patch
        values = channels * patch**2
        self.linear = nn.Conv2d(latent, values, 1, bias=False)
        self.first = nn.Conv2d(latent, dim, 3, padding=1)
        self.blocks = plane_blocks(dim, inner, blocks)
        self.last = _silent(nn.Conv2d(dim, values, 1))

    def forward(self, x: Float[Tensor, "batch latent height width"]) -> Float[Tensor, "batch channels _ _"]:
        return F.pixel_shuffle(self.linear(x) + self.last(self.blocks(self.first(x))), self.patch)


def assign_axes(encoder: PatchEncoder, decoder: PatchDecoder, axes: Float[Tensor, "latent values"]) -> None:
    """Set the linear parts to orthonormal axes and back."""
    with torch.no_grad():
        encoder.linear.weight.copy_(axes[:, :, None, None])
        decoder.linear.weight.copy_(axes.t()[:, :, None, None])


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """A convolution that begins with nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
