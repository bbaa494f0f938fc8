"""Gradient estimators as objects. Only the outermost quantizer uses its own."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.functional.gradient import directional, noise_substitution, rotation
from codeword.functional.random import fresh_key, row_normal
from codeword.functional.ranks import rank
from codeword.quantizers.config import register


class Estimator(ABC):
    """The contract of an estimator.

    Attributes:
        straight: Whether the quantizer is asked for codewords with the input's gradient passed straight through;
            otherwise for codewords that are differentiable in the codebook.
        trains_codebook: Whether the codebook learns through the output, so that it needs no loss.
    """

    straight: ClassVar[bool]
    trains_codebook: ClassVar[bool]

    @abstractmethod
    def __call__(
        self, x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch dim"]:
        """What goes on in training, from the input and its (total) codeword."""


@register
@dataclass(frozen=True)
class StraightThrough(Estimator):
    """The codeword in value, the identity in derivative: ``codeword.functional.gradient.straight_through``."""

    straight = True
    trains_codebook = False

    def __call__(
        self, x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch dim"]:
        return codeword  # the levels have passed the gradient already, each inside its own projections


@register
@dataclass(frozen=True)
class NoiseSubstitution(Estimator):
    """Noise of the error's length in place of the error: ``codeword.functional.gradient.noise_substitution``.

    Attributes:
        weight: Positive weight of each feature (the paper's w); ``None`` weighs all alike.

    Note:
        The paper searches with w too. An estimator leaves the search alone: set ``deviation`` of a ``Normalized``
        around the quantizer to 1 / w, and give the estimator to that.
    """

    weight: tuple[float, ...] | None = None
    straight = False
    trains_codebook = True

    def __post_init__(self) -> None:
        if self.weight is not None and min(self.weight) <= 0:
            raise ValueError(
                f"NoiseSubstitution divides by its weights: all must be positive, the least is {min(self.weight)}"
            )

    def __call__(
        self, x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch dim"]:
        if self.weight is not None and len(self.weight) != x.shape[-1]:
            raise ValueError(f"NoiseSubstitution has {len(self.weight)} weights for vectors of {x.shape[-1]} features")
        weight = None if self.weight is None else torch.tensor(self.weight, device=x.device)
        return noise_substitution(x, codeword, _noise_like(x), weight).to(x.dtype)


@register
@dataclass(frozen=True)
class Directional(Estimator):
    """Directional reparametrisation (DiVeQ): ``codeword.functional.gradient.directional``.

    Attributes:
        variance: Variance of the noise on the direction; the paper recommends 1e-3 for compression.
    """

    variance: float = 1e-3
    straight = False
    trains_codebook = True

    def __post_init__(self) -> None:
        if self.variance < 0:
            raise ValueError(f"the variance of Directional must be at least 0, got {self.variance}")

    def __call__(
        self, x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch dim"]:
        return directional(x, codeword, _noise_like(x), self.variance).to(x.dtype)


@register
@dataclass(frozen=True)
class Rotation(Estimator):
    """The rotation trick with a bounded scale: ``codeword.functional.gradient.rotation``.

    Attributes:
        largest_scale: Bound of ``|c| / |x|`` in the derivative.
    """

    largest_scale: float = 2.0
    straight = False
    trains_codebook = False

    def __post_init__(self) -> None:
        if not self.largest_scale > 0:
            raise ValueError(f"the largest_scale of Rotation must be positive, got {self.largest_scale}")

    def __call__(
        self, x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch dim"]:
        return rotation(x, codeword, self.largest_scale)


def _noise_like(x: Tensor) -> Tensor:
    """Normal noise that belongs to the global row: two ranks with half a batch each draw what one rank would."""
    rows = x.numel() // x.shape[-1]
    noise = row_normal(fresh_key(x), rows, x.shape[-1], first_row=rank() * rows)
    return noise.reshape(x.shape)
