"""How a quantizer with several codebooks looks for its codes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.beam import beam_search
from codeword.functional.cross_tables import CrossTables
from codeword.quantizers.config import register


class Search(ABC):
    """The contract of a joint search over codebooks whose codewords add up."""

    @abstractmethod
    def __call__(
        self, x: Float[Tensor, "vectors dim"], tables: CrossTables, depth: Int[Tensor, " vectors"] | None = None
    ) -> Int[Tensor, "vectors levels"]:
        """Codes of vectors; with ``depth``, the best code of so many levels and -1 beyond."""


@register
@dataclass(frozen=True)
class Greedy(Search):
    """Level by level, the codeword nearest to what is left.

    A residual quantizer runs this through its levels, whatever they are; over plain tables it is a beam of one.
    """

    def __call__(
        self, x: Float[Tensor, "vectors dim"], tables: CrossTables, depth: Int[Tensor, " vectors"] | None = None
    ) -> Int[Tensor, "vectors levels"]:
        return beam_search(x, tables, 1, depth=depth)


@register
@dataclass(frozen=True)
class Beam(Search):
    """The ``width`` best prefixes are carried from level to level (Babenko and Lempitsky 2014, fixed order).

    Attributes:
        width: Prefixes kept; 1 is greedy, the product of all sizes but the last is exhaustive.
    """

    width: int = 8

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"a beam keeps at least 1 prefix, got width={self.width}")

    def __call__(
        self, x: Float[Tensor, "vectors dim"], tables: CrossTables, depth: Int[Tensor, " vectors"] | None = None
    ) -> Int[Tensor, "vectors levels"]:
        return beam_search(x, tables, self.width, depth=depth)


@register
@dataclass(frozen=True)
class SetBeam(Search):
    """A beam over sets of codewords: the next one may come from any codebook not used yet.

    Attributes:
        width: Sets kept, all different.
    """

    width: int = 16

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"a beam keeps at least 1 set, got width={self.width}")

    def __call__(
        self, x: Float[Tensor, "vectors dim"], tables: CrossTables, depth: Int[Tensor, " vectors"] | None = None
    ) -> Int[Tensor, "vectors levels"]:
        _refuse(depth, self)
        from codeword.functional.beam import set_beam

        return set_beam(x, tables, self.width)


@register
@dataclass(frozen=True)
class Refined(Search):
    """Sweeps of iterated conditional modes after another search; they never raise the error.

    Attributes:
        start: The search that gives the first codes.
        sweeps: Passes over all levels, each code re-chosen with the others fixed.
    """

    start: Search = Beam(16)
    sweeps: int = 4

    def __call__(
        self, x: Float[Tensor, "vectors dim"], tables: CrossTables, depth: Int[Tensor, " vectors"] | None = None
    ) -> Int[Tensor, "vectors levels"]:
        _refuse(depth, self)
        from codeword.functional.icm import icm

        return icm(x, self.start(x, tables), tables, sweeps=self.sweeps)


def _refuse(depth: Tensor | None, search: Search) -> None:
    if depth is not None:
        raise ValueError(f"{type(search).__name__} orders levels freely, so codes have no depth: use Beam or Greedy")
