"""How the codebooks of a tokenizer are used while it learns, and an alarm when a level collapses."""

import math
import warnings
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Int
from torch import Tensor, distributed

from codeword.functional import usage
from codeword.metrics.tokens import TokenCounts, TokenReport, countable

_CODES_PER_CODEWORD = 8  # fewer say nothing about collapse: even good codebooks then look unevenly used


class CollapseWarning(UserWarning):
    """A level uses so few of its codewords that an encoder learns next to nothing from them."""


class CodeWatch:
    """Counts the codes of every validation, and compares it with the one before.

    A level collapses when its perplexity over its size falls below a bound, or when its usage rate falls by more than
    a share from one validation to the next. Each is told once, in one line, by the first rank. Levels with fewer than 8
    codes for every codeword are not judged.

    Where its tables are not too large, it tells as well what levels share and what places tell; see
    ``codeword.metrics.tokens``.

    Args:
        sizes: Codewords of every level.
        least: Bound of perplexity over size.
        drop: Share of the usage rate whose loss is too much.
    """

    def __init__(self, sizes: Sequence[int], *, least: float = 0.1, drop: float = 0.5):
        self.sizes, self.least, self.drop = tuple(sizes), least, drop
        self._start()
        self._usage: list[float | None] = [None] * len(self.sizes)
        self._low: set[int] = set()

    def add(self, codes: Int[Tensor, "batch patches levels"]) -> None:
        """Count the codes of whole samples; -1 is padding."""
        if self._tokens is None and countable(self.sizes, codes.shape[1]):
            self._tokens = TokenCounts(self.sizes, codes.shape[1])
        if self._tokens is not None:
            self._tokens.add(codes)
        for counts, level, size in zip(self._counts, codes.unbind(-1), self.sizes, strict=True):
            counts.add_(usage.histogram(level, size).cpu())

    def figures(self) -> Mapping[str, float]:
        """Of what was added since the last call, by name.

        ``usage_0``, ``entropy_0``, ``effective_usage_0``, ``perplexity_share_0`` ... of every level,
        ``collapsed_levels``; ``joint_entropy``, ``shared_0_1`` ... of levels, less what independent ones seem to share;
        ``entropy_given_place_0`` and ``leak_0`` ... of places. Entropies are in bits.

        Warns:
            CollapseWarning: If a level has collapsed since then.
        """
        found: dict[str, float] = {}
        for level, counts in enumerate(self._counts):
            used, share = float(usage.usage_rate(counts)), float(usage.perplexity_share(counts))
            found |= {
                f"usage_{level}": used,
                f"entropy_{level}": float(usage.entropy(counts)),
                f"effective_usage_{level}": float(usage.effective_code_usage(counts)),
                f"perplexity_share_{level}": share,
            }
            if int(counts.sum()) >= _CODES_PER_CODEWORD * self.sizes[level]:
                self._judge(level, used, share)
        shared = {} if self._tokens is None else _shared(self._tokens.report())
        self._start()
        return {**found, "collapsed_levels": float(len(self._low)), **shared}

    def _judge(self, level: int, used: float, share: float) -> None:
        before, self._usage[level] = self._usage[level], used
        size = self.sizes[level]
        if share >= self.least:
            self._low.discard(level)
        elif level not in self._low:
            self._low.add(level)
            _tell(level, f"perplexity {share * size:.1f} of {size} codewords is below {self.least:g} of them")
        if before is not None and used < (1 - self.drop) * before:
            _tell(level, f"{used:.1%} of {size} codewords are used, {before:.1%} at the validation before")

    def _start(self) -> None:
        self._counts = [torch.zeros(size, dtype=torch.int64) for size in self.sizes]
        self._tokens: TokenCounts | None = None


def _shared(report: TokenReport) -> dict[str, float]:
    pairs = {f"shared_{pair.levels[0]}_{pair.levels[1]}": pair.less_floor for pair in report.pairs}
    given = {f"entropy_given_place_{level}": place.entropy_given_place for level, place in enumerate(report.places)}
    leaks = {f"leak_{level}": place.leak for level, place in enumerate(report.places) if not math.isnan(place.leak)}
    return {"joint_entropy": report.codes.joint_entropy, **pairs, **given, **leaks}


def _tell(level: int, what: str) -> None:
    if not distributed.is_initialized() or distributed.get_rank() == 0:
        warnings.warn(
            f"level {level} of the tokenizer collapses: {what}; revive unused codewords, or lower the learning rate",
            CollapseWarning,
            stacklevel=4,
        )
