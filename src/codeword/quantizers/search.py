"""How a quantizer with several codebooks looks for its codes."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.beam import beam_search, set_beam
from codeword.functional.cross_tables import CrossTables, cross_tables
from codeword.functional.icm import icm
from codeword.functional.plain_search import plain_beam, plain_icm
from codeword.quantizers.config import build, register


class Search(ABC):
    """The contract of a joint search over codebooks whose codewords add up.

    Attributes:
        ordered: Whether levels are taken in their order, so that half the cross tables suffice.
    """

    ordered: ClassVar[bool] = False

    @abstractmethod
    def __call__(
        self, x: Float[Tensor, "vectors dim"], tables: CrossTables, depth: Int[Tensor, " vectors"] | None = None
    ) -> Int[Tensor, "vectors levels"]:
        """Codes of vectors; with ``depth``, the best code of so many levels and -1 beyond."""

    @abstractmethod
    def plain(
        self, x: Float[Tensor, "vectors dim"], tables: Sequence[Float[Tensor, "_ dim"]]
    ) -> Int[Tensor, "vectors levels"]:
        """The same codes by operations that every runtime has: what an exported graph holds."""


def joint_codes(
    x: Float[Tensor, "vectors dim"],
    tables: Sequence[Float[Tensor, "_ dim"]],
    settings: str,
    depth: Int[Tensor, " vectors"] | None = None,
) -> Int[Tensor, "vectors levels"]:
    """Codes of a search: one node to a compiler, plain operations to an exporter.

    Args:
        x: Vectors.
        tables: Codebooks.
        settings: The ``describe`` of a search, as JSON: what may cross the border of an operator.
        depth: Levels of every vector.

    Raises:
        ValueError: If ``depth`` is given to a search that orders levels freely, or in an export.
    """
    tables = [table.detach() for table in tables]
    if not torch.compiler.is_exporting():
        return _joint_codes(x.detach(), tables, depth, settings)
    if depth is not None:
        raise ValueError("a beam of a given depth does not export: encode all levels and cut the codes")
    return _search(settings).plain(x.detach(), tables)


@cache
def _search(settings: str) -> Search:
    search = build(json.loads(settings))
    assert isinstance(search, Search)
    return search


@torch.library.custom_op(
    "codeword::search",
    mutates_args=(),
    schema="(Tensor x, Tensor[] tables, Tensor? depth, str settings) -> Tensor",
)
def _joint_codes(x: Tensor, tables: list[Tensor], depth: Tensor | None, settings: str) -> Tensor:
    search = _search(settings)
    return search(x, cross_tables(tables, ordered=search.ordered), depth)


@_joint_codes.register_fake
def _(x: Tensor, tables: list[Tensor], depth: Tensor | None, settings: str) -> Tensor:
    return x.new_empty(x.shape[0], len(tables), dtype=torch.int64)


@register
@dataclass(frozen=True)
class Greedy(Search):
    """Level by level, the codeword nearest to what is left.

    A residual quantizer runs this through its levels, whatever they are; over plain tables it is a beam of one.
    """

    ordered: ClassVar[bool] = True

    def __call__(
        self, x: Float[Tensor, "vectors dim"], tables: CrossTables, depth: Int[Tensor, " vectors"] | None = None
    ) -> Int[Tensor, "vectors levels"]:
        return beam_search(x, tables, 1, depth=depth)

    def plain(
        self, x: Float[Tensor, "vectors dim"], tables: Sequence[Float[Tensor, "_ dim"]]
    ) -> Int[Tensor, "vectors levels"]:
        return plain_beam(x, tables, 1)


@register
@dataclass(frozen=True)
class Beam(Search):
    """The ``width`` best prefixes are carried from level to level (Babenko and Lempitsky 2014, fixed order).

    Attributes:
        width: Prefixes kept; 1 is greedy, the product of all sizes but the last is exhaustive.
    """

    ordered: ClassVar[bool] = True
    width: int = 8

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"a beam keeps at least 1 prefix, got width={self.width}")

    def __call__(
        self, x: Float[Tensor, "vectors dim"], tables: CrossTables, depth: Int[Tensor, " vectors"] | None = None
    ) -> Int[Tensor, "vectors levels"]:
        return beam_search(x, tables, self.width, depth=depth)

    def plain(
        self, x: Float[Tensor, "vectors dim"], tables: Sequence[Float[Tensor, "_ dim"]]
    ) -> Int[Tensor, "vectors levels"]:
        return plain_beam(x, tables, self.width)


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
        return set_beam(x, tables, self.width)

    def plain(
        self, x: Float[Tensor, "vectors dim"], tables: Sequence[Float[Tensor, "_ dim"]]
    ) -> Int[Tensor, "vectors levels"]:
        raise ValueError("SetBeam does not export: use Beam, or Refined(Beam(...))")


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

    def __post_init__(self) -> None:
        if self.sweeps < 0:
            raise ValueError(f"the sweeps of Refined must be at least 0, got {self.sweeps}")

    def __call__(
        self, x: Float[Tensor, "vectors dim"], tables: CrossTables, depth: Int[Tensor, " vectors"] | None = None
    ) -> Int[Tensor, "vectors levels"]:
        _refuse(depth, self)
        return icm(x, self.start(x, tables), tables, sweeps=self.sweeps)

    def plain(
        self, x: Float[Tensor, "vectors dim"], tables: Sequence[Float[Tensor, "_ dim"]]
    ) -> Int[Tensor, "vectors levels"]:
        return plain_icm(x, self.start.plain(x, tables), tables, self.sweeps)


def _refuse(depth: Tensor | None, search: Search) -> None:
    if depth is not None:
        raise ValueError(f"{type(search).__name__} orders levels freely, so codes have no depth: use Beam or Greedy")
