"""How important every frame is: a small network on the features of an encoder."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codeword.nn.activations import Snake
from codeword.nn.conv import Conv1d, Padding, zero_offsets

PAPER = (5, 3, 3, 3, 1)
RELEASED = (3, 3, 3, 3, 3, 3)


class ImportanceNet(nn.Module):
    """Features of frames to their importance (Chae and Lee 2024, figure 2).

    Every convolution follows a Snake. Of six convolutions, as in the released code, the first keeps the channels.

    Args:
        features: Channels in.
        kernels: Taps of every convolution: ``PAPER`` or ``RELEASED``, or others.
        padding: Where the convolutions look.
    """

    def __init__(self, features: int, kernels: Sequence[int] = PAPER, *, padding: Padding = "centered"):
        super().__init__()
        if len(kernels) < len(PAPER):
            raise ValueError(f"an importance net has {len(PAPER)} convolutions or more, got kernels {tuple(kernels)}")
        inner = [max(8, features // 2**shift) for shift in (1, 3, 5, 7)]
        widths = [*[features] * (len(kernels) - 4), *inner, 1]
        layers: list[nn.Module] = []
        for inputs, outputs, kernel in zip(widths, widths[1:], kernels, strict=False):
            layers += [Snake(inputs), Conv1d(inputs, outputs, kernel, padding=padding)]
        self.layers = nn.Sequential(*layers)
        zero_offsets(self)

    def forward(self, features: Float[Tensor, "batch features frames"]) -> Float[Tensor, "batch frames"]:
        """Importance between 0 and 1; 0.5 at the start, which spends half of the levels at a scale of their number."""
        return torch.sigmoid(self.layers(features)).squeeze(1)
