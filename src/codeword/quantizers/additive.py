"""Codewords that add up and are chosen together."""

import json
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from codeword.functional.cross_tables import means_to_first
from codeword.functional.gradient import straight_through
from codeword.functional.rows import sum_of_rows
from codeword.quantizers.base import Quantizer
from codeword.quantizers.config import describe, register
from codeword.quantizers.estimator import Estimator, StraightThrough
from codeword.quantizers.search import Beam, Refined, Search, joint_codes
from codeword.quantizers.vector import VectorQuantizer, plain_levels, ready_tables
from codeword.types import Selected


@register
class AdditiveQuantizer(Quantizer):
    r"""A sum of codewords, one from each codebook, none of them ranked (Babenko and Lempitsky 2014, equation 1).

    .. math:: \hat x = \sum_m c^m_{k_m}, \qquad k = \arg\min |x - \sum_m c^m_{k_m}|^2 \text{ (approximately)}

    In a network every codebook learns from what the others leave of the vector; the loss is that of the total error.
    On a matrix of vectors ``codeword.training`` solves for all codebooks in closed form.

    Args:
        levels: Euclidean vector quantizers of one dimension, which hold the codebooks.
        search: How codes are chosen: by default a beam of 16 and four sweeps of iterated conditional modes.
        estimator: How the gradient crosses the search, where this is the outermost quantizer; the published way is
            ``NoiseSubstitution`` over levels with ``Gradient(codebook=0, commitment=0)``.
    """

    def __init__(
        self, levels: Sequence[VectorQuantizer], *, search: Search | None = None, estimator: Estimator | None = None
    ):
        super().__init__()
        if not levels or len({level.dim for level in levels}) != 1:
            raise ValueError(
                f"an additive quantizer needs at least one level, all of one dimension, got {[q.dim for q in levels]}"
            )
        self._levels = plain_levels(levels, type(self).__name__)
        self.parts = nn.ModuleList(levels)
        self.dim, self.sizes = levels[0].dim, tuple(level.sizes[0] for level in levels)
        self.search = search or Refined(Beam(16), sweeps=4)
        self.estimator = estimator or StraightThrough()

    @property
    def search(self) -> Search:
        """How codes are found; may be set at any time."""
        return self._found_by

    @search.setter
    def search(self, search: Search) -> None:
        self._found_by, self._settings = search, json.dumps(describe(search))

    def select(
        self,
        x: Float[Tensor, "*batch dim"],
        *,
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
        straight: bool = True,
        target: Float[Tensor, "*batch dim"] | None = None,
    ) -> Selected:
        target = x if target is None else target
        rows, keep = x.detach().reshape(-1, self.dim), None if mask is None else mask.reshape(-1)
        index = self._search(rows, ready_tables(self._levels, rows, keep)).reshape(*x.shape[:-1], self.levels)
        words = [F.embedding(index[..., m], q.codebook.vectors) for m, q in enumerate(self._levels)]
        total = torch.stack(words).sum(0)
        losses = self._losses(target, total, words, index, keep) if self.training else x.new_zeros(x.shape[:-1]).float()
        return Selected(straight_through(x, total) if straight else total, index, losses)

    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        return self._search(x.reshape(-1, self.dim), self.codebooks()).reshape(*x.shape[:-1], self.levels)

    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        self.check_levels(codes)
        return sum_of_rows(codes, self.codebooks())

    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        return [level.codebook.stored() for level in self._levels]

    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        """Scores of a level's codewords for what the chosen codewords of all other levels leave of ``x``."""
        if not 0 <= level < self.levels:
            raise ValueError(f"this quantizer has levels 0..{self.levels - 1}, got level {level}")
        with torch.no_grad():
            codes = self.search_codes(x, None)
            codes[..., level] = -1
            others = self.decode(codes)
        return self._levels[level].scores(x - others)

    def check_training(self, estimator: Estimator) -> None:
        for level in self._levels:
            level.check_training(estimator)

    def arguments(self) -> dict[str, object]:
        return {"levels": list(self.parts), "search": self.search, "estimator": self.estimator}

    def _search(self, rows: Tensor, tables: list[Tensor]) -> Tensor:
        # Sums stay what they are, and those that are not complete yet are compared as if the rest were average.
        return joint_codes(rows, means_to_first(tables), self._settings)

    def _losses(self, target: Tensor, total: Tensor, words: list[Tensor], index: Tensor, keep: Tensor | None) -> Tensor:
        """Statistics of every level, and the losses of the total error, weighed as the first level says."""
        losses, errors = self._levels[0].codebook.learning.losses(target, total)
        for m, level in enumerate(self._levels):
            share = target.detach() - (total - words[m]).detach()
            level.codebook.count(share.reshape(-1, self.dim), index[..., m].reshape(-1), errors.reshape(-1), keep)
        return losses
