r"""How likely every integer is that a line may be: mixtures of logistic distributions, and tables made of them once.

.. math:: P(q) = \sum_j w_j \left[ \sigma\!\left(\tfrac{q + 1/2}{t_j}\right) - \sigma\!\left(\tfrac{q - 1/2}{t_j}\right)
    \right], \qquad t_j = 2^{(d + a_j) / 2}

where d is the energy of the line over the square of its step, in octaves; w_j and a_j follow from d and the band.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from codeword.entropy.tables import quantize_histogram
from codeword.functional.bands import DEAD, LEAST, MOST, NUM_CELLS, UNIT, middle_of

_LEAST_WIDTH = 0.05  # of a logistic, in steps
_LEAST_MASS = 1e-9
_TAIL = 2.0**-14  # mass beyond the integers that a table has symbols for
_MOST_SYMBOLS = 4095
_COUNTS = 2**40  # that a histogram of a distribution has


class Mixture(NamedTuple):
    """Logistic distributions around zero.

    Attributes:
        weights: Logarithms of their shares.
        widths: In steps.
    """

    weights: Float[Tensor, "*places parts"]
    widths: Float[Tensor, "*places parts"]

    def bits(self, values: Float[Tensor, "*#places"], dead: float = 0.0) -> Float[Tensor, "*places"]:
        """Bits of quantized lines; values between integers stand for what noise in place of rounding gives.

        Args:
            values: In steps.
            dead: By how much of a step lines must exceed half a step to be more than the next number towards zero.
        """
        # From the far side of zero, where both sigmoids are small and their difference keeps its digits.
        size = values.abs().unsqueeze(-1)
        outer, inner = -(size + 0.5 + dead), torch.where(size > 0, 0.5 - dead - size, 0.5 + dead)
        mass = torch.sigmoid(inner / self.widths) - torch.sigmoid(outer / self.widths)
        return -torch.logsumexp(self.weights + mass.clamp_min(_LEAST_MASS).log(), -1) / np.log(2)


class LineModel(nn.Module):
    """Distributions of quantized lines.

    Args:
        bands: How many there are; every one has a mixture of its own.
        parts: Logistics of a mixture.
        hidden: Channels of the network that follows d.
    """

    def __init__(self, bands: int, parts: int = 3, hidden: int = 16):
        super().__init__()
        self.bands, self.parts = bands, parts
        self.band = nn.Embedding(bands, hidden)
        self.energy = nn.Linear(1, hidden)
        self.out = nn.Linear(hidden, 2 * parts)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            # Wide, middle and narrow parts; a logistic of the width 1 has the deviation pi / sqrt(3).
            spread = torch.linspace(-3.0, 1.0, parts) - 2.0
            self.out.bias.copy_(torch.cat([torch.zeros(parts), spread]))

    def mixture(self, ratio: Float[Tensor, "*places"], band: Int64[Tensor, "*#places"]) -> Mixture:
        """Distributions of lines.

        Args:
            ratio: Energy over the square of the step, in octaves.
            band: Of every line.
        """
        # The network sees where the ratio lies within what tables are made for.
        scaled = (ratio - LEAST / UNIT) / ((MOST - LEAST) / UNIT) * 2 - 1
        hidden = torch.tanh(self.energy(scaled.clamp(-1, 1).unsqueeze(-1)) + self.band(band))
        weights, shifts = self.out(hidden).chunk(2, -1)
        widths = torch.exp2((ratio.unsqueeze(-1) + shifts) / 2)
        return Mixture(weights.log_softmax(-1), widths + _LEAST_WIDTH)

    @torch.no_grad()
    def tables(self) -> list[list[Int64[np.ndarray, " symbols"]]]:
        """For every band and cell the counts of -n, ..., n, and of all that lies beyond; they sum to 2**16."""
        made: list[list[np.ndarray]] = []
        ratio = torch.tensor([middle_of(cell) for cell in range(NUM_CELLS)])
        for band in range(self.bands):
            weights, widths = self.mixture(ratio, torch.full((NUM_CELLS,), band))
            made.append([_table(w.exp().double(), t.double()) for w, t in zip(weights, widths, strict=True)])
        return made


def _table(weights: Float[Tensor, " parts"], widths: Float[Tensor, " parts"]) -> Int64[np.ndarray, " symbols"]:
    def beyond(number: Tensor) -> Tensor:
        """Mass of lines that are rounded to more than a number."""
        return (weights * torch.sigmoid(-(number.unsqueeze(-1) + 0.5 + DEAD) / widths)).sum(-1)

    numbers = torch.arange(_MOST_SYMBOLS // 2 + 1, dtype=torch.float64)
    above = beyond(numbers)
    most = int((2 * above > _TAIL).sum().clamp_max(_MOST_SYMBOLS // 2))
    side = above[:most] - above[1 : most + 1]  # of 1, ..., most
    shares = torch.cat([side.flip(0), 1 - 2 * above[:1], side, 2 * above[most : most + 1]])
    histogram = (shares * _COUNTS).round().long().numpy() + 1
    return quantize_histogram(histogram)
