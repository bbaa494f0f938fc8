"""The shapes of image networks: what an encoder and its decoder are built from, as plain values."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from codeword.nn.residual_blocks import ResidualDecoder, ResidualEncoder
from codeword.quantizers.config import register


@dataclass(frozen=True, kw_only=True)
class ImageLayout(ABC):
    """The contract of a layout.

    Attributes:
        latent: Features of a latent between encoder and decoder.
    """

    latent: int

    @property
    @abstractmethod
    def step(self) -> int:
        """Pixels from latent to latent, down and across."""

    @property
    @abstractmethod
    def reach(self) -> tuple[int, int]:
        """Latents to each side that a latent of the encoder, and those that a pixel of the decoder, depends on."""

    @abstractmethod
    def encoder(self, channels: int) -> nn.Module:
        """A new encoder of images with so many channels."""

    @abstractmethod
    def decoder(self, channels: int) -> nn.Module:
        """A new decoder."""


@register
@dataclass(frozen=True, kw_only=True)
class ResidualLayout(ImageLayout):
    """The VQ-VAE: strided convolutions and residual blocks; the defaults are those of the NSVQ paper.

    Attributes:
        latent: Features of a latent.
        width: Channels inside.
        inner: Channels inside of a residual block.
        blocks: Residual blocks of each network.
        halvings: How often height and width are halved.
    """

    latent: int = 64
    width: int = 128
    inner: int = 32
    blocks: int = 2
    halvings: int = 2

    @property
    def step(self) -> int:
        return 2**self.halvings

    @property
    def reach(self) -> tuple[int, int]:
        # One for the first convolution of 3 x 3, one for each block; all strided ones together look less than one on.
        return self.blocks + 2, self.blocks + 2

    def encoder(self, channels: int) -> nn.Module:
        return ResidualEncoder(channels, self.width, self.inner, self.blocks, self.halvings, self.latent)

    def decoder(self, channels: int) -> nn.Module:
        return ResidualDecoder(channels, self.width, self.inner, self.blocks, self.halvings, self.latent)
