"""Energies of bands, and of lines from them, as training sees them; files use the integers of ``functional.bands``."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from codeword.functional.bands import FLOOR, SHARE, Bands


class Envelope(nn.Module):
    """Energies of bands, and lines from them.

    Args:
        bands: How lines are joined.

    Buffers:
        mean: Lines to the means of their bands.
        spread: Bands to lines.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, bands: Bands):
        super().__init__()
        self.bands = bands
        of_lines, below, shares = (torch.from_numpy(part) for part in (bands.of_lines, bands.below, bands.shares))
        member = nn.functional.one_hot(of_lines, bands.count).double()
        spread = torch.zeros(bands.lines, bands.count, dtype=torch.float64)
        lines = torch.arange(bands.lines)
        spread[lines, below] = 1 - shares.double() / SHARE
        spread[lines, below + 1] += shares.double() / SHARE
        self.register_buffer("mean", (member / member.sum(0)).float(), persistent=False)
        self.register_buffer("spread", spread.float(), persistent=False)

    def forward(self, lines: Float[Tensor, "*frames lines"]) -> Float[Tensor, "*frames bands"]:
        """Mean energies of bands, in octaves."""
        return (lines.square() @ self.mean.to(lines.dtype) + FLOOR).log2()

    def energies(self, envelope: Float[Tensor, "*frames bands"]) -> Float[Tensor, "*frames lines"]:
        """Energies of lines, in octaves."""
        return envelope @ self.spread.t()
