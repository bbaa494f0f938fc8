"""Where codewords start."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.functional.kmeans import kmeans
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
            return kmeans(x, size, steps=0, seed=self.seed, spherical=spherical)
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

    def __call__(self, x: Float[Tensor, "vectors dim"], size: int, spherical: bool) -> Float[Tensor, "size dim"]:
        return kmeans(x, size, steps=self.steps, seed=self.seed, spherical=spherical)
