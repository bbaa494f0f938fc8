"""Encoder and decoder of waveforms: residual units between strided convolutions (SoundStream, EnCodec, DAC)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codeword.nn.activations import Snake
from codeword.nn.conv import Conv1d, ConvTranspose1d, Padding, zero_offsets
from codeword.nn.pieces import add_residual, convolved, expanded, in_pieces

_DILATIONS = (1, 3, 9)


class ResidualUnit(nn.Module):
    """Two convolutions beside the identity.

    Args:
        channels: Channels of the signal.
        dilation: Time steps between the seven taps of the first convolution.
        padding: Where it looks.
    """

    def __init__(self, channels: int, dilation: int, padding: Padding):
        super().__init__()
        self.snake1, self.snake2 = Snake(channels), Snake(channels)
        self.conv1 = Conv1d(channels, channels, 7, dilation=dilation, padding=padding)
        self.conv2 = Conv1d(channels, channels, 1, padding=padding)

    def forward(self, x: Float[Tensor, "batch channels time"]) -> Float[Tensor, "batch channels time"]:
        if in_pieces(x, self.conv1):
            return self.add(x, torch.empty_like(x))
        return x + self.conv2(self.snake2(self.conv1(self.snake1(x))))

    def add(self, x: Float[Tensor, "batch channels time"], y: Tensor) -> Float[Tensor, "batch channels time"]:
        """Write the unit's output into ``y``, which may be ``x``; for inference."""
        return add_residual((self.snake1, self.conv1, self.snake2, self.conv2), x, y)


def _units(channels: int, padding: Padding) -> nn.Sequential:
    return nn.Sequential(*(ResidualUnit(channels, dilation, padding) for dilation in _DILATIONS))


def _overwritten(units: Iterable[nn.Module], x: Tensor) -> Tensor:
    """``x`` after residual units that need no memory beside its own."""
    for unit in units:
        assert isinstance(unit, ResidualUnit)
        unit.add(x, x)
    return x


class EncoderBlock(nn.Module):
    """Residual units, then fewer time steps of more channels.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Time steps in per time step out.
        padding: Where it looks.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, padding: Padding):
        super().__init__()
        self.units, self.snake = _units(inputs, padding), Snake(inputs)
        self.conv = Conv1d(inputs, outputs, 2 * stride, stride=stride, padding=padding)

    def forward(self, x: Float[Tensor, "batch inputs time"]) -> Float[Tensor, "batch outputs frames"]:
        if in_pieces(x, self.conv):
            first, *others = self.units
            return convolved(self.conv, _overwritten(others, first(x)), self.snake)
        return self.conv(self.snake(self.units(x)))


class DecoderBlock(nn.Module):
    """More time steps of fewer channels, then residual units.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Time steps out per time step in.
        padding: Where it looks.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, padding: Padding):
        super().__init__()
        self.snake, self.units = Snake(inputs), _units(outputs, padding)
        self.conv = ConvTranspose1d(inputs, outputs, stride=stride, padding=padding)

    def forward(self, x: Float[Tensor, "batch inputs frames"]) -> Float[Tensor, "batch outputs time"]:
        if in_pieces(x, self.conv):
            return _overwritten(self.units, expanded(self.conv, x, self.snake))
        return self.units(self.conv(self.snake(x)))


class Encoded(NamedTuple):
    """What an encoder of waveforms gives.

    Attributes:
        latents: What is quantized.
        features: What the importance of a frame is judged by.
    """

    latents: Float[Tensor, "batch latent frames"]
    features: Float[Tensor, "batch features frames"]


class WaveEncoder(nn.Module):
    """A waveform to frames.

    Args:
        width: Channels after the first convolution; doubled by every block.
        strides: Of the blocks; their product is the hop.
        latent: Channels of the frames.
        padding: Where the convolutions look.
    """

    def __init__(self, width: int, strides: Sequence[int], latent: int, *, padding: Padding = "centered"):
        super().__init__()
        widths = [width * 2**level for level in range(len(strides) + 1)]
        self.features = widths[-1]
        self.first = Conv1d(1, width, 7, padding=padding)
        self.blocks = nn.ModuleList(
            EncoderBlock(inputs, outputs, stride, padding)
            for inputs, outputs, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.snake = Snake(widths[-1])
        self.last = Conv1d(widths[-1], latent, 3, padding=padding)
        zero_offsets(self)

    def forward(self, x: Float[Tensor, "batch 1 time"]) -> Encoded:
        pieces = in_pieces(x, self.first)
        x = convolved(self.first, x) if pieces else self.first(x)
        for block in self.blocks:
            x = block(x)
        return Encoded(convolved(self.last, x, self.snake) if pieces else self.last(self.snake(x)), x)


class WaveDecoder(nn.Module):
    """Frames to a waveform.

    Args:
        width: Channels after the first convolution; halved by every block.
        strides: Of the blocks; their product is the hop.
        latent: Channels of the frames.
        padding: Where the convolutions look.

    Attributes:
        lag: Samples at the end of a causal decoder's output that frames to come will still change: none.
    """

    lag = 0

    def __init__(self, width: int, strides: Sequence[int], latent: int, *, padding: Padding = "centered"):
        super().__init__()
        widths = [width // 2**level for level in range(len(strides) + 1)]
        self.first = Conv1d(latent, width, 7, padding=padding)
        self.blocks = nn.ModuleList(
            DecoderBlock(inputs, outputs, stride, padding)
            for inputs, outputs, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.snake = Snake(widths[-1])
        self.last = Conv1d(widths[-1], 1, 7, padding=padding)
        zero_offsets(self)

    def forward(self, x: Float[Tensor, "batch latent frames"]) -> Float[Tensor, "batch 1 time"]:
        pieces = in_pieces(x, self.first)
        x = convolved(self.first, x) if pieces else self.first(x)
        for block in self.blocks:
            x = block(x)
        return torch.tanh(convolved(self.last, x, self.snake) if pieces else self.last(self.snake(x)))
