"""How important every frame or place is: a small network on what an encoder found."""

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


class PlaneImportance(nn.Module):
    """Latents of a picture to the importance of every place: two convolutions of 3 x 3 and one of 1 x 1.

    Args:
        features: Of a latent.
        width: Channels inside.
    """

    reach = 2
    """Places to each side that it looks at."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(features, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(width, 1, 1),
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.zeros_(last.bias)

    def forward(self, latents: Float[Tensor, "batch rows columns features"]) -> Float[Tensor, "batch rows columns"]:
        """Importance between 0 and 1."""
        return torch.sigmoid(self.layers(latents.permute(0, 3, 1, 2))).squeeze(1)
