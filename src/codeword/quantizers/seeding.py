"""Where codewords start."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from codeword.functional.kmeans import cluster_sums, kmeans
from codeword.functional.nearest import nearest
from codeword.quantizers.config import register


class Seeding(ABC):
    """The contract of a seeding.

    Attributes:
        needs_data: Whether the first training batch is needed.
        most_rows: Vectors per codeword that are looked at, at most.
    """

    needs_data: ClassVar[bool]
    most_rows: ClassVar[int] = 256

    @property
    @abstractmethod
    def seed(self) -> int:
        """Seeds the draws, of the seeding and of the revival after it."""

    @abstractmethod
    def __call__(self, x: Float[Tensor, "vectors dim"], size: int, spherical: bool) -> Float[Tensor, "size dim"]:
        """Codewords for data; ``x`` is empty where no data is needed, or where every row was padding."""


@register
@dataclass(frozen=True)
class Uniform(Seeding):
    """Uniform in a cube around the origin, independent of data.

    Attributes:
        radius: Half the side of the cube; ``None`` is 1 / size, the common choice of the literature.
        seed: Seeds the draw.
    """

    radius: float | None = None
    seed: int = 0
    needs_data = False

    def __post_init__(self) -> None:
        if self.radius is not None and not self.radius > 0:
            raise ValueError(f"the radius of Uniform must be positive, got {self.radius}")

    def __call__(self, x: Float[Tensor, "vectors dim"], size: int, spherical: bool) -> Float[Tensor, "size dim"]:
        radius = 1.0 / size if self.radius is None else self.radius
        generator = torch.Generator().manual_seed(self.seed)
        return (torch.rand(size, x.shape[1], generator=generator) * 2 - 1).mul(radius).to(x.device)


@register
@dataclass(frozen=True)
class FromData(Seeding):
    """Vectors of the first batch, drawn without repetition, moved a little where there are too few.

    Attributes:
        seed: Seeds the draw.
    """

    seed: int = 0
    needs_data = True

    def __call__(self, x: Float[Tensor, "vectors dim"], size: int, spherical: bool) -> Float[Tensor, "size dim"]:
        if len(x) <= size:
            return _kmeans(x, size, 0, self.seed, spherical)
        generator = torch.Generator().manual_seed(self.seed)
        return x[torch.randperm(len(x), generator=generator)[:size].to(x.device)]


@register
@dataclass(frozen=True)
class KMeans(Seeding):
    """k-means on the first batch, from a k-means++ start; levels of a residual quantizer follow one another.

    Attributes:
        steps: Lloyd iterations.
        seed: Seeds the start.
    """

    steps: int = 10
    seed: int = 0
    needs_data = True

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"the steps of KMeans must be at least 0, got {self.steps}")

    def __call__(self, x: Float[Tensor, "vectors dim"], size: int, spherical: bool) -> Float[Tensor, "size dim"]:
        return _kmeans(x, size, self.steps, self.seed, spherical)


def _kmeans(x: Tensor, size: int, steps: int, seed: int, spherical: bool) -> Tensor:
    """k-means; directions get the length that suits the vectors they serve, since the stored row is what goes on."""
    table = kmeans(x, size, steps=steps, seed=seed, spherical=spherical)
    if not spherical:
        return table
    found = cluster_sums(x, nearest(F.normalize(x, dim=1), table), size)
    along = (found.sums * table).sum(1)
    length = torch.where(found.counts > 0, along / found.counts, along.sum() / found.counts.sum())
    return table * torch.where(length > 0, length, 1.0).to(table.dtype).unsqueeze(1)
