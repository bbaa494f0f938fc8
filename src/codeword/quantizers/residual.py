"""Levels that each quantize what the levels before have left."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from codeword.functional.random import fresh_key, row_uniform
from codeword.functional.ranks import rank
from codeword.functional.rows import sum_of_rows
from codeword.quantizers.base import Quantizer
from codeword.quantizers.config import describe, register
from codeword.quantizers.estimator import Estimator, StraightThrough
from codeword.quantizers.search import Greedy, Search, joint_codes
from codeword.quantizers.vector import VectorQuantizer, plain_levels, ready_tables
from codeword.types import Selected


@register
@dataclass(frozen=True)
class DepthDropout:
    """In training, some vectors spend fewer levels, so that every prefix of a code decodes well.

    Attributes:
        probability: Share of vectors whose depth is drawn, uniformly from ``least`` to all levels.
        least: The smallest depth drawn.
    """

    probability: float = 0.5
    least: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or self.least < 0:
            raise ValueError(f"DepthDropout needs 0 <= probability <= 1 and least >= 0, got {self}")

    def gate(self, x: Float[Tensor, "*batch dim"], gates: int) -> Float[Tensor, "*batch gates"]:
        """A hard gate with an independent depth for every vector, a function of the global row."""
        rows = x.numel() // x.shape[-1]
        draw = row_uniform(fresh_key(x), rows, 2, first_row=rank() * rows)
        shorter = self.least + (draw[:, 1] * (gates + 1 - self.least)).floor()
        depth = torch.where(draw[:, 0] < self.probability, shorter, float(gates))
        gate = (torch.arange(gates, device=x.device) < depth.unsqueeze(1)).float()
        return gate.reshape(*x.shape[:-1], gates)


@register
class ResidualQuantizer(Quantizer):
    r"""Stages that each quantize the residual of the stages before (Juang and Gray 1982).

    .. math:: r_1 = x, \quad r_{m+1} = r_m - Q_m(r_m), \quad \hat x = \sum_m g_m Q_m(r_m)

    with :math:`g_m` the gate of stage m. The residual is not detached on the output path: with straight-through the
    derivative of the output is :math:`I - (I - P_M) \cdots (I - P_1)`, the identity for plain stages at any depth and
    number of stages. In the losses what has been subtracted is a constant, so that every stage's commitment reaches x.

    Args:
        stages: Quantizers of one dimension, of any kind: levels, products (groups inside residuals), wrapped ones.
        search: ``Greedy``, or ``Beam`` over stages that are plain vector quantizers.
        dropout: Depths drawn in training where no gate is given.
        estimator: How the gradient crosses the search, where this is the outermost quantizer.
    """

    def __init__(
        self,
        stages: Sequence[Quantizer],
        *,
        search: Search | None = None,
        dropout: DepthDropout | None = None,
        estimator: Estimator | None = None,
    ):
        super().__init__()
        if not stages or len({stage.dim for stage in stages}) != 1:
            raise ValueError(
                f"a residual quantizer needs at least one stage, all of one dimension, got {[s.dim for s in stages]}"
            )
        self.stages = nn.ModuleList(stages)
        self.dim, self.gates = stages[0].dim, len(stages)
        self.sizes = tuple(size for stage in stages for size in stage.sizes)
        if dropout is not None and dropout.least > len(stages):
            raise ValueError(f"{dropout} leaves nothing to draw with {len(stages)} stages: lower least")
        self.search, self.dropout = search or Greedy(), dropout
        self.estimator = estimator or StraightThrough()

    @property
    def search(self) -> Search:
        """How codes are found; may be set at any time."""
        return self._found_by

    @search.setter
    def search(self, search: Search) -> None:
        self._plain = [] if isinstance(search, Greedy) else plain_levels(self._each, type(search).__name__)
        self._found_by, self._settings = search, json.dumps(describe(search))

    @property
    def _each(self) -> list[Quantizer]:
        return cast(list[Quantizer], list(self.stages))

    def select(
        self,
        x: Float[Tensor, "*batch dim"],
        *,
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
        straight: bool = True,
        target: Float[Tensor, "*batch dim"] | None = None,
    ) -> Selected:
        if gate is None and self.dropout is not None and self.training:
            gate = self.dropout.gate(x, self.gates)
        given = self._search_together(x, mask, gate) if self._plain else None
        learns, in_place = self.training, not torch.is_grad_enabled()
        residual, target = x, x if target is None else target
        vectors, carrier, losses = torch.zeros_like(x), None, torch.zeros(x.shape[:-1], device=x.device)
        codes: list[Tensor] = []
        for number, stage in enumerate(self._each):
            part = None if gate is None else gate[..., number]
            open_ = mask if part is None else (part > 0 if mask is None else mask & (part > 0))
            if given is None:
                one = stage.select(residual, mask=open_, straight=straight, target=target)
            else:
                index = given[..., number] if gate is None else self._go_on(residual, given[..., number], number)
                one = self._plain[number].select_given(residual, index, mask=open_, straight=straight, target=target)
            codes.append(one.codes if part is None else torch.where((part > 0).unsqueeze(-1), one.codes, -1))
            if learns:
                losses = losses + (one.losses if part is None else one.losses * part.detach())
            if in_place:
                vectors += one.vectors if part is None else part.unsqueeze(-1) * one.vectors
            elif part is None:
                vectors = vectors + one.vectors
            elif straight:
                vectors = vectors + part.unsqueeze(-1) * one.vectors
            else:
                # The gate's gradient travels beside the estimator, the same for all of them.
                vectors = vectors + part.detach().unsqueeze(-1) * one.vectors
                carried = (part - part.detach()).unsqueeze(-1) * one.vectors.detach()
                carrier = carried if carrier is None else carrier + carried
            taken = one.vectors if straight else one.vectors.detach()
            residual = residual.sub_(taken) if in_place and number else residual - taken
            target = target - one.vectors.detach() if learns else residual
        return Selected(vectors, torch.cat(codes, -1), losses, carrier)

    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        if self._plain:
            depth = None if depth is None else depth.reshape(-1)
            found = joint_codes(x.reshape(-1, self.dim), self.codebooks(), self._settings, depth)
            return found.reshape(*x.shape[:-1], self.levels)
        residual = x
        codes: list[Tensor] = []
        for number, stage in enumerate(self._each):
            part = stage.search_codes(residual, None)
            residual = residual - stage.decode(part)
            codes.append(part if depth is None else torch.where((depth > number).unsqueeze(-1), part, -1))
        return torch.cat(codes, -1)

    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        """Vectors of codes; also of a prefix, given as fewer levels or as -1."""
        if codes.shape[-1] < self.levels:
            codes = F.pad(codes, (0, self.levels - codes.shape[-1]), value=-1)
        self.check_levels(codes)
        if all(isinstance(stage, VectorQuantizer) for stage in self._each):
            return sum_of_rows(codes, self.codebooks())  # one pass over the output instead of one per level
        parts = codes.split([stage.levels for stage in self._each], dim=-1)
        vectors = self._each[0].decode(parts[0])
        for stage, part in zip(self._each[1:], parts[1:], strict=True):
            vectors = vectors + stage.decode(part)
        return vectors

    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        return [table for stage in self._each for table in stage.codebooks()]

    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        """Scores of a level's codewords for what the stages before have left of ``x``, searched greedily."""
        if not 0 <= level < self.levels:
            raise ValueError(f"this quantizer has levels 0..{self.levels - 1}, got level {level}")
        residual = x
        for stage in self._each:
            if level < stage.levels:
                return stage.scores(residual, level)
            with torch.no_grad():
                taken = stage.decode(stage.search_codes(residual, None))
            residual = residual - taken
            level -= stage.levels
        raise AssertionError("the level was checked above")

    def check_training(self, estimator: Estimator) -> None:
        for stage in self._each:
            stage.check_training(estimator)

    def arguments(self) -> dict[str, object]:
        return {
            "stages": list(self.stages),
            "search": self.search,
            "dropout": self.dropout,
            "estimator": self.estimator,
        }

    def _search_together(self, x: Tensor, mask: Tensor | None, gate: Tensor | None) -> Tensor:
        """Codes of a joint search, each vector's down to its own depth."""
        keep = None if mask is None else mask.reshape(-1)
        depth = None if gate is None else (gate > 0).sum(-1).reshape(-1)
        rows = x.detach().reshape(-1, self.dim)
        codes = joint_codes(rows, ready_tables(self._plain, rows, keep), self._settings, depth)
        return codes.reshape(*x.shape[:-1], self.levels)

    def _go_on(self, residual: Tensor, index: Tensor, number: int) -> Tensor:
        """Codes of one level; beyond a vector's depth those of a greedy search, where a gate's surrogate looks."""
        if not self.training:
            return index.clamp_min(0)
        codebook = self._plain[number].codebook
        return torch.where(index < 0, codebook.geometry.search(residual, codebook.vectors), index)
