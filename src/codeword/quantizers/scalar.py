"""Finite scalar quantization: every feature rounded by itself, no codebook."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from codeword.functional.digits import code_sizes, digit_scores, digit_strides, join_digits, split_digits
from codeword.functional.gradient import straight_through
from codeword.functional.matmul import wide
from codeword.quantizers.base import Quantizer
from codeword.quantizers.config import register
from codeword.quantizers.estimator import Estimator, StraightThrough
from codeword.types import Selected

_FINEST = 1 << 16  # float32 tells the outer values of tanh apart up to here


class Grid(NamedTuple):
    """Where vectors lie among the values of their features, counted in values.

    Attributes:
        position: Between 0 and size - 1 up to half a value; rounded, it is the digit.
        centre: The position of the feature value 0.
        scale: Values from there to the feature value 1.
    """

    position: Float[Tensor, "*batch dim"]
    centre: Float[Tensor, " dim"]
    scale: Float[Tensor, " dim"]


class Bounding(ABC):
    """The contract of a bounding: how an unbounded feature is pressed between its outer values."""

    @abstractmethod
    def __call__(self, x: Float[Tensor, "*batch dim"], sizes: Float[Tensor, " dim"]) -> Grid:
        """Positions, differentiable in ``x``."""

    @abstractmethod
    def check(self, sizes: Sequence[int]) -> None:
        """Refuse sizes that this bounding does not suit.

        Raises:
            ValueError: Naming the repair.
        """


@register
@dataclass(frozen=True)
class HalfStep(Bounding):
    r"""0 is always a value; with even sizes there is one value more below it (Mentzer et al. 2023, appendix A.1).

    .. math:: p = \tanh(x + s)\, h - o + \lfloor L / 2 \rfloor, \quad h = \tfrac12 (L - 1)(1 + \epsilon), \quad
        o = \tfrac12 [L \text{ even}], \quad s = \mathrm{artanh}(o / h)

    Attributes:
        margin: epsilon, which puts the outer values within reach of a finite x.

    Note:
        The published function rounds to values that do not exist from a size of 1 / epsilon on; here positions are
        clamped to the outer values.
    """

    margin: float = 1e-3

    def __call__(self, x: Float[Tensor, "*batch dim"], sizes: Float[Tensor, " dim"]) -> Grid:
        half = (sizes - 1) * (1 + self.margin) / 2
        offset = torch.where(sizes % 2 == 0, 0.5, 0.0).to(sizes)
        shift = torch.atanh(offset / half.clamp_min(0.5))
        centre = torch.div(sizes, 2, rounding_mode="floor")
        return Grid(torch.tanh(x + shift) * half - offset + centre, centre, centre.clamp_min(1))

    def check(self, sizes: Sequence[int]) -> None:
        if 2 in sizes:
            raise ValueError(
                f"HalfStep puts the two values of a feature at -1 and 0 with the border near -3.8, got sizes "
                f"{tuple(sizes)}: use bounding=Symmetric(), sizes of at least 3, or BinaryQuantizer"
            )


@register
@dataclass(frozen=True)
class Symmetric(Bounding):
    r"""Values symmetric around 0, which is a value with odd sizes alone (Parker et al. 2024, section 3.2).

    .. math:: p = \tfrac12 (L - 1) (\tanh x + 1)
    """

    def __call__(self, x: Float[Tensor, "*batch dim"], sizes: Float[Tensor, " dim"]) -> Grid:
        half = (sizes - 1) / 2
        # A feature of one value has the position 0 wherever x lies, and the value 0.
        return Grid((torch.tanh(x) + 1) * half, half, half.clamp_min(0.5))

    def check(self, sizes: Sequence[int]) -> None:
        """Accept any sizes."""


@register
class ScalarQuantizer(Quantizer):
    r"""Every feature bounded and rounded to one of a few values: FSQ (Mentzer et al. 2023, section 3.1).

    .. math:: d_i = \mathrm{round}(p_i(x_i)), \qquad \hat x_i = (d_i - c_i) / a_i \in [-1, 1], \qquad
        k = \sum_i d_i \prod_{j < i} L_j

    with p, c and a the position, centre and scale of the bounding. The vector is one integer in mixed radix, in int64
    and exact up to 2^63 values; with ``features_per_code=1`` every feature is a code of its own, which suits entropy
    coders and language models. There is no codebook, no table of any kind and no loss. ``Projected`` gives it vectors
    of other dimensions.

    Args:
        sizes_per_dim: How many values each feature takes, its length the dimension of the vectors.
        features_per_code: Consecutive features that share a code; the last code may hold fewer. ``None``: all.
        bounding: ``HalfStep`` or ``Symmetric``.
        estimator: Straight-through, here through the rounding alone: the derivative of the bounding remains.

    Note:
        The values are no fixed points: tanh presses a decoded vector again, so ``encode(decode(codes))`` may give
        other codes, in the paper as here. Positions half way between two values go to the lower one, as everywhere in
        codeword; the published code goes to the even one.
    """

    def __init__(
        self,
        sizes_per_dim: Sequence[int],
        *,
        features_per_code: int | None = None,
        bounding: Bounding | None = None,
        estimator: Estimator | None = None,
    ):
        super().__init__()
        self.sizes_per_dim = tuple(sizes_per_dim)
        self.dim = len(self.sizes_per_dim)
        self.features_per_code = self.dim if features_per_code is None else features_per_code
        self.bounding, self.estimator = bounding or HalfStep(), estimator or StraightThrough()
        self.sizes = code_sizes(self.sizes_per_dim, self.features_per_code)
        if max(self.sizes_per_dim) > _FINEST:
            raise ValueError(f"a feature takes at most {_FINEST} values, got sizes {self.sizes_per_dim}")
        self.bounding.check(self.sizes_per_dim)
        # Integers, so that casting the model to bfloat16 leaves them alone; no weights, so nothing is saved.
        strides = digit_strides(self.sizes_per_dim, self.features_per_code)
        self.register_buffer("values", torch.tensor(self.sizes_per_dim), persistent=False)
        self.register_buffer("strides", torch.tensor(strides), persistent=False)

    def select(
        self,
        x: Float[Tensor, "*batch dim"],
        *,
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
        straight: bool = True,
        target: Float[Tensor, "*batch dim"] | None = None,
    ) -> Selected:
        grid = self._grid(x)
        digits = self._digits(grid)
        vectors = (digits - grid.centre) / grid.scale
        if straight:
            vectors = straight_through((grid.position - grid.centre) / grid.scale, vectors)
        codes = join_digits(digits, self.strides, self.features_per_code)
        return Selected(vectors, codes, torch.zeros(x.shape[:-1], device=x.device))

    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        return join_digits(self._digits(self._grid(x)), self.strides, self.features_per_code)

    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        self.check_levels(codes)
        digits = split_digits(codes, self.values, self.strides, self.features_per_code)
        grid = self._grid(torch.zeros(self.dim, device=codes.device))
        return torch.where(digits >= 0, (digits - grid.centre) / grid.scale, 0.0)

    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        raise ValueError(
            f"a ScalarQuantizer has no codebooks ({max(self.sizes):.3g} codes would need rows): use decode"
        )

    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        """Minus the squared distances of a code's values to its bounded features; at most 65536 of them."""
        if not 0 <= level < self.levels:
            raise ValueError(f"this quantizer has levels 0..{self.levels - 1}, got level {level}")
        grid = self._grid(x)
        first = level * self.features_per_code
        part = slice(first, first + self.features_per_code)
        values = [
            (torch.arange(size, device=x.device) - centre) / scale
            for size, centre, scale in zip(self.sizes_per_dim[part], grid.centre[part], grid.scale[part], strict=True)
        ]
        return digit_scores(((grid.position - grid.centre) / grid.scale)[..., part], values)

    def check_training(self, estimator: Estimator) -> None:
        if not estimator.straight:
            raise ValueError(
                f"{type(estimator).__name__} works on codewords, and a ScalarQuantizer has no codebook: "
                "use StraightThrough"
            )

    def arguments(self) -> dict[str, object]:
        return {
            "sizes_per_dim": self.sizes_per_dim,
            "features_per_code": self.features_per_code,
            "bounding": self.bounding,
            "estimator": self.estimator,
        }

    def _grid(self, x: Tensor) -> Grid:
        x = wide(x)
        return self.bounding(x, self.values.to(x.dtype))

    def _digits(self, grid: Grid) -> Tensor:
        # Half way rounds down, to the lower of two equally near values; what is not a number gets a valid digit.
        rounded = torch.ceil(grid.position.detach() - 0.5).nan_to_num(nan=0.0).clamp_min(0).long()
        return torch.minimum(rounded, self.values - 1)
