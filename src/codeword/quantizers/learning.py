"""How a codebook learns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from codeword.functional.gradient import WeighedError, weighed_error
from codeword.quantizers.config import register


class Learning(ABC):
    """The contract of a way to learn.

    Attributes:
        averaged: Whether the codebook is a moving average of the data it serves rather than a parameter.
    """

    averaged: ClassVar[bool]

    @property
    @abstractmethod
    def commitment(self) -> float:
        """Weight of the loss that pulls vectors to their codewords."""

    @property
    @abstractmethod
    def trains_alone(self) -> bool:
        """Whether the codebook learns without a gradient through the output."""

    @abstractmethod
    def losses(self, x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]) -> WeighedError:
        """The loss of every vector, a mean over features, and its squared error."""


@register
@dataclass(frozen=True)
class Gradient(Learning):
    r"""The codebook is a parameter (van den Oord et al. 2017, equation 3, with both weights free).

    .. math:: \ell = \tfrac1D \left( \alpha\, |\mathrm{sg}[x] - c|^2 + \beta\, |x - \mathrm{sg}[c]|^2 \right)

    Attributes:
        codebook: The weight alpha. With both weights 0 the codebook learns through the output alone, which noise
            substitution and directional reparametrisation make possible.
        commitment: The weight beta.
    """

    codebook: float = 1.0
    commitment: float = 0.25
    averaged = False

    def __post_init__(self) -> None:
        _check_not_negative(self, codebook=self.codebook, commitment=self.commitment)

    @property
    def trains_alone(self) -> bool:
        return self.codebook > 0

    def losses(self, x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]) -> WeighedError:
        return weighed_error(x, codeword, codebook=self.codebook, commitment=self.commitment)


@register
@dataclass(frozen=True)
class MovingAverage(Learning):
    r"""The codebook is a moving average of the vectors that choose it (van den Oord et al. 2017, appendix A.1).

    .. math:: N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \quad m_k \leftarrow \gamma m_k + (1 - \gamma) \sum x, \quad
        c_k = m_k / \tilde N_k, \quad \tilde N_k = \frac{N_k + \epsilon}{N + K \epsilon} N, \quad N = \sum_k N_k

    Statistics are float32, whatever the model's precision. Rows that nothing chose in a step stay where they are:
    with the smoothing alone they would drift to the origin.

    Attributes:
        decay: gamma.
        commitment: Weight of the loss ``|x - sg[c]|^2 / D``.
        smoothing: epsilon, the Laplace smoothing.
    """

    decay: float = 0.99
    commitment: float = 0.25
    smoothing: float = 1e-5
    averaged = True

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"the decay of a MovingAverage must be in [0, 1), got {self.decay}")
        _check_not_negative(self, commitment=self.commitment, smoothing=self.smoothing)

    @property
    def trains_alone(self) -> bool:
        return True

    def losses(self, x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]) -> WeighedError:
        return weighed_error(x, codeword, codebook=0.0, commitment=self.commitment)


@register
@dataclass(frozen=True)
class DirectionAverage(Learning):
    r"""Codewords move towards the direction of the vectors that choose them, a step at a time: BRIDLE's code.

    .. math:: c_k \leftarrow \gamma c_k + (1 - \gamma) \frac{\sum x}{|\sum x|}

    and, for its vector quantizer, to length 1 after that. How many vectors chose a codeword plays no part, in the step
    or later: one vector moves a codeword as far as a thousand do. Its residual quantizers of audio and images are not
    normalised again. Rows that nothing chose in a step stay where they are.

    Attributes:
        decay: gamma.
        commitment: Weight of the loss ``|x - sg[c]|^2 / D``.
        unit: Whether codewords are brought to length 1 after every step.

    Note:
        For comparison; the paper describes ``MovingAverage``, which the code has for video.
    """

    decay: float = 0.99
    commitment: float = 0.25
    unit: bool = False
    averaged = True

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"the decay of a DirectionAverage must be in [0, 1), got {self.decay}")
        _check_not_negative(self, commitment=self.commitment)

    @property
    def trains_alone(self) -> bool:
        return True

    def losses(self, x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]) -> WeighedError:
        return weighed_error(x, codeword, codebook=0.0, commitment=self.commitment)


@register
@dataclass(frozen=True)
class SimVQ(Learning):
    r"""The codebook is a frozen random table under a learned linear map (Zhu et al. 2024, SimVQ, equation 5).

    .. math:: c_k = W q_k, \qquad q_k \sim N(0, I / D) \text{ frozen}

    W starts as the identity. Every step moves all codewords together, also those that nothing chose. The table is
    drawn from the seed of ``Uniform`` and never moved, so it takes no seeding from data and no revival.

    Attributes:
        codebook: Weight of ``|sg[x] - c|^2 / D``.
        commitment: Weight of ``|x - sg[c]|^2 / D``.

    Note:
        The map has no offset: data far from the origin uses the few codewords that point its way. A network learns to
        centre what it feeds in; put a quantizer of given vectors into ``Normalized``.
    """

    codebook: float = 1.0
    commitment: float = 0.25
    averaged = False

    def __post_init__(self) -> None:
        _check_not_negative(self, codebook=self.codebook, commitment=self.commitment)

    @property
    def trains_alone(self) -> bool:
        return self.codebook > 0

    def losses(self, x: Float[Tensor, "*batch dim"], codeword: Float[Tensor, "*batch dim"]) -> WeighedError:
        return weighed_error(x, codeword, codebook=self.codebook, commitment=self.commitment)


def _check_not_negative(learning: Learning, **values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"the {name} of a {type(learning).__name__} must be at least 0, got {value}")
