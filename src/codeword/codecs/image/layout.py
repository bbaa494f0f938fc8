"""The shapes of image networks: what an encoder and its decoder are built from, as plain values."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from codeword.nn.patch_codec import SIDE, PatchDecoder, PatchEncoder
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


@register
@dataclass(frozen=True, kw_only=True)
class PatchLayout(ImageLayout):
    """Linear maps of patches, to which blocks at the rate of the latents add; for short trainings.

    Attributes:
        latent: Features of a latent, at most as many as values of a patch.
        patch: Pixels of a patch, down and across.
        dim: Channels of the blocks.
        inner: Channels inside of the blocks.
        encoder_blocks: Blocks of the encoder.
        decoder_blocks: Blocks of the decoder.
    """

    latent: int = 96
    patch: int = 8
    dim: int = 128
    inner: int = 384
    encoder_blocks: int = 2
    decoder_blocks: int = 5

    @property
    def step(self) -> int:
        return self.patch

    @property
    def reach(self) -> tuple[int, int]:
        return SIDE // 2 * self.encoder_blocks, 1 + SIDE // 2 * self.decoder_blocks

    def encoder(self, channels: int) -> PatchEncoder:
        self._check(channels)
        return PatchEncoder(channels, self.patch, self.dim, self.inner, self.encoder_blocks, self.latent)

    def decoder(self, channels: int) -> PatchDecoder:
        self._check(channels)
        return PatchDecoder(channels, self.patch, self.dim, self.inner, self.decoder_blocks, self.latent)

    def _check(self, channels: int) -> None:
        if not 0 < self.latent <= (values := channels * self.patch**2):
            raise ValueError(f"a patch has {values} values, a latent 1 to as many features: got {self.latent}")
