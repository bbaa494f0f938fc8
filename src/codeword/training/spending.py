"""How many levels the items of a training batch may spend: drawn anew for every batch, from its number."""

import zlib
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Spending(NamedTuple):
    """How many levels the items of a batch may spend.

    Attributes:
        scale: Of the items that follow their importance.
        depth: Of the others; 0 where the importance decides.
    """

    scale: Float[Tensor, " batch"]
    depth: Int[Tensor, " batch"]

    def to(self, device: torch.device) -> "Spending":
        """The same on a device."""
        return Spending(self.scale.to(device), self.depth.to(device))


@dataclass(frozen=True, kw_only=True)
class SpendingDraw:
    """How scales and depths are drawn.

    Attributes:
        draw: Whether scales are drawn uniformly or uniformly in their logarithm.
        constant: Share of items that spend a constant depth, drawn from 1 to all levels (structured dropout).
        full: Share of items that spend all levels.
        variable_from: Batch from which on depths follow importance; before, they are constant. A rate loss that acts
            while levels are not yet worth anything ends with the fewest for ever.
        seed: Of scales and depths.
    """

    draw: Literal["uniform", "log-uniform"] = "uniform"
    constant: float = 0.0
    full: float = 0.0
    variable_from: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.constant >= 0 and self.full >= 0 and self.constant + self.full <= 1):
            raise ValueError(f"the shares constant={self.constant} and full={self.full} must add up to 1 at most")

    def spending(self, number: int, count: int, levels: int, scales: tuple[float, float]) -> Spending:
        """Scales and depths of a batch.

        Args:
            number: Of the batch, of which they are a function.
            count: Items of the batch.
            levels: The greatest depth.
            scales: The least and the largest scale.
        """
        seed = zlib.crc32(f"{self.seed} {number}".encode())
        draw = torch.rand(3, count, generator=torch.Generator().manual_seed(seed))
        least, most = scales
        uniform = least + draw[0] * (most - least)
        scale = uniform if self.draw == "uniform" else least * (most / least) ** draw[0]
        constant = self.constant if number >= self.variable_from else 1.0
        depth = torch.where(draw[1] < constant, 1 + (draw[2] * levels).long(), 0)
        depth = torch.where(draw[1] >= 1 - self.full, levels, depth)
        return Spending(scale, depth)
