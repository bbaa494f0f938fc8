"""The image networks of the VQ-VAE: strided convolutions and residual blocks, and their mirror image.

::

    pixels ─► halve ─► halve ─► 3 x 3 ─► residual blocks ─► 1 x 1 ─► latents
    pixels ◄─ double ◄─ double ◄─ residual blocks ◄─ 3 x 3 ◄───────── latents
"""

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Added to its input: 3 x 3 to a few channels and 1 x 1 back, each behind a ReLU.

    Args:
        channels: Of input and output.
        inner: Channels between the two convolutions.
    """

    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.spread = nn.Conv2d(channels, inner, 3, padding=1, bias=False)
        self.mix = nn.Conv2d(inner, channels, 1, bias=False)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        return x + self.mix(F.relu(self.spread(F.relu(x))))


class ResidualEncoder(nn.Module):
    """Pixels to latents (van den Oord et al. 2017, section 4.1).

    Args:
        channels: Of an image.
        width: Channels inside; half as many after the first halving.
        inner: Channels inside of a residual block.
        blocks: Residual blocks.
        halvings: Strided convolutions; every one halves height and width.
        latent: Features of a latent.
    """

    def __init__(self, channels: int, width: int, inner: int, blocks: int, halvings: int, latent: int):
        super().__init__()
        widths = [channels, *(width // 2 if number == 0 < halvings - 1 else width for number in range(halvings))]
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.join = nn.Conv2d(width, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(width, inner) for _ in range(blocks)))
        self.out = nn.Conv2d(width, latent, 1)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch latent _ _"]:
        for down in self.down:
            x = F.relu(down(x))
        return self.out(F.relu(self.blocks(self.join(x))))


class ResidualDecoder(nn.Module):
    """Latents to pixels, the encoder mirrored.

    Args:
        channels: Of an image.
        width: Channels inside; half as many before the last doubling.
        inner: Channels inside of a residual block.
        blocks: Residual blocks.
        doublings: Transposed convolutions.
        latent: Features of a latent.
    """

    def __init__(self, channels: int, width: int, inner: int, blocks: int, doublings: int, latent: int):
        super().__init__()
        inside = [width // 2 if number == doublings - 1 > 0 else width for number in range(1, doublings)]
        widths = [width, *inside, channels]
        self.join = nn.Conv2d(latent, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(width, inner) for _ in range(blocks)))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1) for before, after in pairwise(widths)
        )

    def forward(self, x: Float[Tensor, "batch latent height width"]) -> Float[Tensor, "batch channels _ _"]:
        x = self.blocks(self.join(x))
        for up in self.up:
            x = up(F.relu(x))
        return x
