"""The shapes of audio networks: what an encoder and its decoder are built from, as plain values."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from codeword.nn.conv import Padding
from codeword.nn.lapped import LappedDecoder, LappedEncoder
from codeword.nn.seanet import WaveDecoder, WaveEncoder
from codeword.nn.spectral import SpectralDecoder, SpectralEncoder
from codeword.quantizers.config import register


@dataclass(frozen=True, kw_only=True)
class Layout(ABC):
    """The contract of a layout.

    Attributes:
        latent: Channels of a frame between encoder and decoder.
        padding: Where the networks look.
    """

    latent: int
    padding: Padding = "centered"

    @property
    @abstractmethod
    def hop(self) -> int:
        """Samples per frame."""

    @property
    @abstractmethod
    def reach(self) -> tuple[int, int]:
        """Frames to each side that a frame of the encoder, and those that a sample of the decoder, depends on."""

    @abstractmethod
    def encoder(self) -> WaveEncoder | SpectralEncoder | LappedEncoder:
        """A new encoder."""

    @abstractmethod
    def decoder(self) -> WaveDecoder | SpectralDecoder | LappedDecoder:
        """A new decoder."""


@register
@dataclass(frozen=True, kw_only=True)
class WaveLayout(Layout):
    """Strided convolutions on samples, DAC's layout; the defaults are those of its 44.1 kHz model.

    Attributes:
        width: Channels of the encoder's first convolution, doubled by every block.
        strides: Of the encoder's blocks; the decoder has them in reverse.
        latent: Channels of a frame.
        decoder_width: Channels of the decoder's first convolution, halved by every block.
        padding: Where the convolutions look.
    """

    width: int = 64
    strides: tuple[int, ...] = (2, 4, 8, 8)
    latent: int = 1024
    decoder_width: int = 1536

    @property
    def hop(self) -> int:
        return math.prod(self.strides)

    @property
    def reach(self) -> tuple[int, int]:
        units = 3 * (1 + 3 + 9)  # samples to each side; the units' second convolution looks nowhere
        sides, step = 0, 1  # samples between the values that the units of a block see
        for stride in self.strides:
            sides += units * step + step * stride
            step *= stride
        wide = 2 if self.padding == "causal" else 1  # the same span, on one side
        return -(-wide * (3 + sides + self.hop) // self.hop), -(-wide * (3 + sides + 3 * self.hop) // self.hop)

    def encoder(self) -> WaveEncoder:
        return WaveEncoder(self.width, self.strides, self.latent, padding=self.padding)

    def decoder(self) -> WaveDecoder:
        return WaveDecoder(self.decoder_width, self.strides[::-1], self.latent, padding=self.padding)


@register
@dataclass(frozen=True, kw_only=True)
class SpectralLayout(Layout):
    """Blocks at the rate of the frames between Fourier transforms; for small machines.

    Attributes:
        hop_length: Samples per frame.
        length: Samples that a frame sees and reaches.
        dim: Channels of the blocks.
        inner: Channels inside of the blocks.
        encoder_blocks: Blocks of the encoder.
        decoder_blocks: Blocks of the decoder.
        latent: Channels of a frame.
        padding: Where the blocks look.
    """

    hop_length: int = 320
    length: int = 1280
    dim: int = 192
    inner: int = 576
    encoder_blocks: int = 4
    decoder_blocks: int = 6
    latent: int = 128

    @property
    def hop(self) -> int:
        return self.hop_length

    @property
    def reach(self) -> tuple[int, int]:
        frame = -(-(self.length - self.hop) // self.hop)
        side, first = (6, 0) if self.padding == "causal" else (3, 3)
        return frame + side * self.encoder_blocks, frame + first + side * self.decoder_blocks

    def encoder(self) -> SpectralEncoder:
        return SpectralEncoder(
            self.hop, self.length, self.dim, self.inner, self.encoder_blocks, self.latent, padding=self.padding
        )

    def decoder(self) -> SpectralDecoder:
        return SpectralDecoder(
            self.hop, self.length, self.dim, self.inner, self.decoder_blocks, self.latent, padding=self.padding
        )


@register
@dataclass(frozen=True, kw_only=True)
class LappedLayout(Layout):
    """Linear maps of a lapped transform, to which blocks at the rate of the frames add; for short trainings.

    Attributes:
        hop_length: Samples per frame, even.
        dim: Channels of the blocks.
        inner: Channels inside of the blocks.
        encoder_blocks: Blocks of the encoder.
        decoder_blocks: Blocks of the decoder.
        latent: Channels of a frame, at most as many as samples.
        padding: Where the blocks look; not ``causal``.
    """

    hop_length: int = 320
    dim: int = 160
    inner: int = 480
    encoder_blocks: int = 4
    decoder_blocks: int = 6
    latent: int = 96

    def __post_init__(self) -> None:
        if self.padding != "centered" or not 0 < self.latent <= self.hop_length:
            raise ValueError(f"a LappedLayout is centered and has at most as many channels as samples, got {self}")

    @property
    def hop(self) -> int:
        return self.hop_length

    @property
    def reach(self) -> tuple[int, int]:
        return 1 + 3 * self.encoder_blocks, 4 + 3 * self.decoder_blocks

    def encoder(self) -> LappedEncoder:
        return LappedEncoder(self.hop, self.dim, self.inner, self.encoder_blocks, self.latent)

    def decoder(self) -> LappedDecoder:
        return LappedDecoder(self.hop, self.dim, self.inner, self.decoder_blocks, self.latent)
