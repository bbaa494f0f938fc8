"""Binary quantization: the sign of every feature, on the cube (LFQ) or on the sphere (BSQ), no codebook."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from codeword.functional.digits import code_sizes, digit_scores, digit_strides, join_digits, split_digits
from codeword.functional.gradient import straight_through
from codeword.functional.matmul import wide
from codeword.functional.ranks import mean_count
from codeword.quantizers.base import Quantizer
from codeword.quantizers.config import register
from codeword.quantizers.estimator import Estimator, StraightThrough
from codeword.types import Selected

_SHORTEST = 1e-4  # shorter vectors are not stretched to length 1: bounds the derivative of the normalisation
_RAREST = 1e-6  # bounds the derivative of the entropy of a bit that (almost) never changes


class Corners(ABC):
    """The contract of a body whose corners are the codewords."""

    @abstractmethod
    def place(self, x: Float[Tensor, "*batch bits"]) -> Float[Tensor, "*batch bits"]:
        """Vectors brought to where the corners are, differentiable; signs stay."""

    @abstractmethod
    def side(self, bits: int) -> float:
        """The size of every feature of a corner."""


@register
@dataclass(frozen=True)
class Cube(Corners):
    """Corners of the cube around the origin; vectors are taken as they are (LFQ).

    Attributes:
        radius: Half the side of the cube.
    """

    radius: float = 1.0

    def __post_init__(self) -> None:
        if self.radius <= 0:
            raise ValueError(f"the radius of a Cube must be positive, got {self.radius}")

    def place(self, x: Float[Tensor, "*batch bits"]) -> Float[Tensor, "*batch bits"]:
        return x

    def side(self, bits: int) -> float:
        return self.radius


@register
@dataclass(frozen=True)
class Sphere(Corners):
    """Corners on the unit sphere; vectors are scaled to length 1 first (BSQ)."""

    def place(self, x: Float[Tensor, "*batch bits"]) -> Float[Tensor, "*batch bits"]:
        return F.normalize(x, dim=-1, eps=_SHORTEST)

    def side(self, bits: int) -> float:
        return bits**-0.5


@register
@dataclass(frozen=True)
class EntropyLoss:
    r"""Confident codes for each vector, all codes for the batch (Yu et al. 2024, equation 5; Zhao et al. 2024).

    .. math:: \ell = w \left( \tfrac1N \sum_n \sum_i h(p_{ni}) - \gamma \sum_i h(\bar p_i) \right), \quad
        \bar p_i = \tfrac1N \sum_n p_{ni}, \quad p_{ni} = \sigma(s\, x_{ni} / a)

    with h the entropy of a bit in nats, a the size of a corner's features and N counted over all ranks. Among the
    corners, softmax of ``-beta |x - c|^2`` makes the bits of a vector independent, with s = 4 beta a^2, so that the
    first term is exactly the entropy over all 2^bits codewords at a cost of O(bits). The second takes the bits of the
    batch for independent too, as BSQ does: it is an upper bound of the entropy of the mean distribution, reached if
    they are.

    Attributes:
        weight: w; 0 switches the loss off.
        diversity: gamma.
        sharpness: s, the log odds of a bit where a vector lies on its corner.

    Note:
        The usual beta = 100 is a sharpness of 400 on the unit cube, where only features within a hundredth of 0 have a
        derivative at all, and of 400 / bits on the sphere; the default is softer.
    """

    weight: float = 0.1
    diversity: float = 1.0
    sharpness: float = 2.0

    def __post_init__(self) -> None:
        if self.weight < 0 or self.diversity < 0 or self.sharpness <= 0:
            raise ValueError(f"EntropyLoss needs weight >= 0, diversity >= 0 and sharpness > 0, got {self}")

    def losses(
        self, x: Float[Tensor, "*batch bits"], side: float, mask: Bool[Tensor, "*batch"] | None
    ) -> Float[Tensor, "*batch"]:
        r"""A loss for every vector, of which any weighted mean has the value and the derivative above.

        The term of the batch is no sum over vectors, but its derivative is, sum_n h'(p_i) dp_ni / N: so every vector
        carries the value and its own share of the derivative. Averaging over vectors, masks, gates and ranks then is
        right whoever does it, and no collective has to run in the backward pass.
        """
        odds = x * (self.sharpness / side)
        own = _bit_entropy(odds).sum(-1)
        bit = torch.sigmoid(odds)
        counted, number = bit.detach(), bit.new_full((1,), bit[..., 0].numel())
        if mask is not None:
            counted, number = torch.where(mask.unsqueeze(-1), counted, 0.0), mask.sum().to(bit.dtype).reshape(1)
        sums = torch.cat([counted.reshape(-1, x.shape[-1]).sum(0), number])
        sums = mean_count(sums)  # over ranks: the ratio below is that of the whole batch
        mean = (sums[:-1] / sums[-1].clamp_min(_RAREST)).clamp(_RAREST, 1 - _RAREST)
        slope = torch.log1p(-mean) - mean.log()
        batch = -(mean * mean.log() + (1 - mean) * torch.log1p(-mean)).sum()
        share = ((bit - bit.detach()) * slope).sum(-1)
        return self.weight * (own - self.diversity * (batch + share))


def _bit_entropy(odds: Tensor) -> Tensor:
    """Entropy of bits by their log odds, exact in both tails."""
    odds = odds.abs()
    return F.softplus(-odds) + odds * torch.sigmoid(-odds)


@register
class BinaryQuantizer(Quantizer):
    r"""The sign of every feature: LFQ (Yu et al. 2024, equation 3) or, on the sphere, BSQ (Zhao et al. 2024).

    .. math:: \hat x_i = a \, \mathrm{sign}(x_i), \qquad k = \sum_i [x_i > 0]\, 2^i

    The codes are integers in int64, exact up to 63 bits each. There is no codebook; what keeps codes in use is the
    entropy loss, at a cost of O(bits). Under data parallelism its batch is that of all ranks together.

    Args:
        bits: Features of a vector, each one bit.
        corners: ``Cube`` (LFQ) or ``Sphere`` (BSQ).
        entropy: Weights of the entropy loss.
        commitment: Weight of the loss ``|x - sg[x_hat]|^2 / bits``, x on the sphere if that is where the corners are.
        bits_per_code: Consecutive bits that share a code; the last code may hold fewer. ``None``: all.
        estimator: Straight-through, where this is the outermost quantizer.

    Note:
        The first feature is the lowest bit of a code; vector-quantize-pytorch makes it the highest. A feature of
        exactly 0 is the bit 0.
    """

    def __init__(
        self,
        bits: int,
        *,
        corners: Corners | None = None,
        entropy: EntropyLoss | None = None,
        commitment: float = 0.25,
        bits_per_code: int | None = None,
        estimator: Estimator | None = None,
    ):
        super().__init__()
        self.dim = bits
        self.bits_per_code = bits if bits_per_code is None else bits_per_code
        self.sizes = code_sizes((2,) * bits, self.bits_per_code)
        self.corners, self.entropy = corners or Cube(), entropy or EntropyLoss()
        if commitment < 0:
            raise ValueError(f"the commitment weight must be at least 0, got {commitment}")
        self.commitment, self.estimator = commitment, estimator or StraightThrough()
        self.side = self.corners.side(bits)
        # Integers that follow from the arguments: nothing is saved.
        self.register_buffer("values", torch.full((bits,), 2), persistent=False)
        strides = digit_strides((2,) * bits, self.bits_per_code)
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
        digits = (x > 0).long()
        corner = self._corner(digits)
        vectors = straight_through(self.corners.place(x), corner) if straight else corner
        if self.training:
            placed = self.corners.place(x if target is None else target)
            losses = self.commitment * (placed - corner).square().mean(-1)
            if self.entropy.weight:
                losses = losses + self.entropy.losses(placed, self.side, mask)
        else:
            losses = torch.zeros(x.shape[:-1], device=x.device)
        return Selected(vectors, join_digits(digits, self.strides, self.bits_per_code), losses)

    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        return join_digits((x > 0).long(), self.strides, self.bits_per_code)

    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        self.check_levels(codes)
        digits = split_digits(codes, self.values, self.strides, self.bits_per_code)
        return torch.where(digits >= 0, self._corner(digits), 0.0)

    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        raise ValueError(
            f"a BinaryQuantizer has no codebooks ({max(self.sizes):.3g} codes would need rows): use decode"
        )

    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        """Minus the squared distances of a code's corners to its features; at most 65536 of them."""
        if not 0 <= level < self.levels:
            raise ValueError(f"this quantizer has levels 0..{self.levels - 1}, got level {level}")
        part = self.corners.place(wide(x)).split(self.bits_per_code, -1)[level]
        pair = torch.tensor([-self.side, self.side], device=x.device)
        return digit_scores(part, [pair] * part.shape[-1])

    def check_training(self, estimator: Estimator) -> None:
        if not estimator.straight:
            raise ValueError(
                f"{type(estimator).__name__} works on codewords, and a BinaryQuantizer has no codebook: "
                "use StraightThrough"
            )

    def arguments(self) -> dict[str, object]:
        return {
            "bits": self.dim,
            "corners": self.corners,
            "entropy": self.entropy,
            "commitment": self.commitment,
            "bits_per_code": self.bits_per_code,
            "estimator": self.estimator,
        }

    def _corner(self, digits: Tensor) -> Tensor:
        return (2.0 * digits - 1.0) * self.side
