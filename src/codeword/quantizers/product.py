"""Blocks of features, each quantized by itself."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from codeword.functional.rows import joined_rows
from codeword.quantizers.base import Quantizer
from codeword.quantizers.config import register
from codeword.quantizers.estimator import Estimator, StraightThrough
from codeword.quantizers.vector import VectorQuantizer
from codeword.types import Selected


@register
class ProductQuantizer(Quantizer):
    r"""Independent quantizers on consecutive blocks of features (Jegou et al. 2011, equation 7).

    .. math:: \hat x = (Q_1(x_{1..d_1}), Q_2(x_{d_1 + 1..d_1 + d_2}), \ldots)

    Codes stand block by block. Blocks may differ in width, in kind and in codebook size. If all blocks take gates, and
    the same number of them, so does the product: one gate per depth for all blocks (groups of residuals).

    Args:
        parts: Quantizers of the blocks; their dimensions are the split.
        estimator: How the gradient crosses the search, where this is the outermost quantizer; it acts on the whole
            vector.
    """

    def __init__(self, parts: Sequence[Quantizer], *, estimator: Estimator | None = None):
        super().__init__()
        if not parts:
            raise ValueError("a product quantizer needs at least one part, got none")
        self.parts = nn.ModuleList(parts)
        self.widths = [part.dim for part in parts]
        self.dim = sum(self.widths)
        self.sizes = tuple(size for part in parts for size in part.sizes)
        self.gates = parts[0].gates if len({part.gates for part in parts}) == 1 else 0
        self.estimator = estimator or StraightThrough()
        self._even = len(set(self.widths)) == 1 and all(isinstance(part, VectorQuantizer) for part in parts)

    @property
    def _each(self) -> list[Quantizer]:
        return cast(list[Quantizer], list(self.parts))

    def select(
        self,
        x: Float[Tensor, "*batch dim"],
        *,
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
        straight: bool = True,
        target: Float[Tensor, "*batch dim"] | None = None,
    ) -> Selected:
        goals = [None] * len(self.parts) if target is None else list(target.split(self.widths, -1))
        blocks = [
            part.select(block, mask=mask, gate=gate, straight=straight, target=goal)
            for part, block, goal in zip(self._each, x.split(self.widths, -1), goals, strict=True)
        ]
        carriers = [torch.zeros_like(b.vectors) if b.carrier is None else b.carrier for b in blocks]
        return Selected(
            torch.cat([b.vectors for b in blocks], -1),
            torch.cat([b.codes for b in blocks], -1),
            torch.stack([b.losses for b in blocks]).sum(0),
            None if all(b.carrier is None for b in blocks) else torch.cat(carriers, -1),
        )

    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        blocks = zip(self._each, x.split(self.widths, -1), strict=True)
        return torch.cat([part.search_codes(block, depth) for part, block in blocks], -1)

    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        self.check_levels(codes)
        if self._even:
            return joined_rows(codes, [part.codebooks()[0] for part in self._each])
        blocks = codes.split([part.levels for part in self._each], -1)
        return torch.cat([part.decode(block) for part, block in zip(self._each, blocks, strict=True)], -1)

    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        tables: list[Tensor] = []
        left = 0
        for part in self._each:
            right = self.dim - left - part.dim
            tables += [F.pad(table, (left, right)) for table in part.codebooks()]
            left += part.dim
        return tables

    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        if not 0 <= level < self.levels:
            raise ValueError(f"this quantizer has levels 0..{self.levels - 1}, got level {level}")
        for part, block in zip(self._each, x.split(self.widths, -1), strict=True):
            if level < part.levels:
                return part.scores(block, level)
            level -= part.levels
        raise AssertionError("the level was checked above")

    def check_training(self, estimator: Estimator) -> None:
        for part in self._each:
            part.check_training(estimator)

    def arguments(self) -> dict[str, object]:
        return {"parts": list(self.parts), "estimator": self.estimator}
