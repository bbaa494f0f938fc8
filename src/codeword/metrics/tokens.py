"""How the tokens of pretraining use their codebooks: level by level, together, and place by place (the leak test).

A code that can be guessed from the place of its patch alone teaches an encoder nothing about the input. The leak test
asks how often such a guess is right, on samples that it was not learned from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Int, Num
from torch import Tensor

from codeword.functional import usage
from codeword.metrics.codes import CodeReport, LevelUsage

_ENTRIES = 1 << 27  # counts of all tables together: 1 GiB
_WHOLE = 1 << 22  # codes that are kept for the joint entropy of all levels


@dataclass(frozen=True, kw_only=True)
class PlaceLeak:
    """What the place of a patch tells about its code at one level; entropies and information in bits.

    Attributes:
        entropy_given_place: Bits that remain in the code for who knows the place, ``H(code | place)``.
        information: What the place tells.
        information_floor: What it seems to tell where it tells nothing: the same frequencies of codes and of places,
            drawn independently.
        guessed: How often the code is right that was most frequent at the place, learned on one half of the samples
            and scored on the other, both ways; not a number with fewer than two samples.
        chance: The same for the code that was most frequent anywhere.
    """

    entropy_given_place: float
    information: float
    information_floor: float
    guessed: float
    chance: float

    @property
    def leak(self) -> float:
        """How much more often a code is guessed for who knows the place: 0 is none."""
        return self.guessed - self.chance


@dataclass(frozen=True, kw_only=True)
class LevelPair:
    """What two levels share, in bits.

    Attributes:
        levels: Which two, from 0.
        joint_entropy: Of pairs of codes.
        information: What one level tells about the other.
        information_floor: What independent levels of the same frequencies seem to tell.
        corrected: ``information`` less the bias that Miller (1955) expects, ``(m_12 - m_1 - m_2 + 1) / (2 N ln 2)`` for
            m different codes, or pairs, among N.

    Note:
        With few codes every estimate of shared information reads high. Less the floor it is right for independent
        levels and low for others; ``corrected`` is right where pairs are few and high for others.
    """

    levels: tuple[int, int]
    joint_entropy: float
    information: float
    information_floor: float
    corrected: float

    @property
    def less_floor(self) -> float:
        """Information less the floor, 0 at least."""
        return max(self.information - self.information_floor, 0.0)


@dataclass(frozen=True, kw_only=True)
class TokenReport:
    """How the tokens of a data set use their codebooks.

    Attributes:
        samples: How many there were.
        codes: Level by level, and all levels at once; the latter of the first 2^22 codes.
        places: The leak test, level by level.
        pairs: All pairs of levels.
        joint_bias: By how many bits the joint entropy of all levels reads low at least, ``(m - 1) / (2 N ln 2)`` for m
            different tuples among N (Miller 1955).
        histograms: How often every codeword was used, level by level.
    """

    samples: int
    codes: CodeReport
    places: tuple[PlaceLeak, ...]
    pairs: tuple[LevelPair, ...]
    joint_bias: float
    histograms: tuple[tuple[int, ...], ...]

    def table(self) -> str:
        """The report as plain text, with the remarks without which it would be misread."""
        lines = [f"tokens of {self.samples} samples", self.codes.table()]
        if self.pairs:
            lines += [
                f"the bits of all levels at once read low by {self.joint_bias:.3f} at least (Miller and Madow)",
                "",
            ]
            lines += _aligned(["levels", "bits", "shared (floor)", "truly about"], self._pair_rows())
            lines += [
                "truly about: less the floor, and less the bias that Miller and Madow expect; codes are few where",
                "these differ",
            ]
        titles = ["level", "bits|place", "told (floor)", "guessed", "by chance", "leak"]
        lines += ["", *_aligned(titles, self._place_rows())]
        lines += [
            "told: what the place of a patch tells about its code; floor: what it seems to tell where it tells nothing",
            "guessed: the code most frequent at a place in one half of the samples, scored on the other half; by",
            "chance: the code most frequent anywhere; leak: how much more often the place is right",
        ]
        return "\n".join(lines)

    def _pair_rows(self) -> list[list[str]]:
        return [
            [
                " ".join(str(level + 1) for level in pair.levels),
                f"{pair.joint_entropy:.3f}",
                f"{pair.information:.3f} ({pair.information_floor:.3f})",
                " to ".join(f"{bits:.3f}" for bits in sorted((pair.less_floor, pair.corrected))),
            ]
            for pair in self.pairs
        ]

    def _place_rows(self) -> list[list[str]]:
        return [
            [
                str(number),
                f"{place.entropy_given_place:.3f}",
                f"{place.information:.3f} ({place.information_floor:.3f})",
                f"{place.guessed:.2%}",
                f"{place.chance:.2%}",
                f"{place.leak:+.2%}",
            ]
            for number, place in enumerate(self.places, start=1)
        ]


def countable(sizes: Sequence[int], patches: int) -> bool:
    """Whether tables of all pairs of levels, and of all places, are 1 GiB at most."""
    pairs = sum(first * second for first, second in combinations(sizes, 2))
    return 2 * patches * sum(sizes) + pairs <= _ENTRIES


class TokenCounts:
    """Counts of tokens as they come, in a memory that does not grow with their number.

    Samples are dealt to the two halves of the leak test in turn, so several views of one sample should not be added.

    Args:
        sizes: Codewords of every level.
        patches: Of a sample.

    Raises:
        ValueError: If the tables would be larger than 1 GiB.
    """

    def __init__(self, sizes: Sequence[int], patches: int):
        pairs = list(combinations(range(len(sizes)), 2))
        if not countable(sizes, patches):
            raise ValueError(
                f"tokens of {patches} patches with codebooks of {tuple(sizes)} codewords need more than {_ENTRIES} "
                "counts: leave out levels"
            )
        self.sizes, self.patches, self.samples = tuple(sizes), patches, 0
        self._placed = [torch.zeros(2, patches, size, dtype=torch.int64) for size in sizes]
        self._pairs = {pair: torch.zeros(sizes[pair[0]], sizes[pair[1]], dtype=torch.int64) for pair in pairs}
        self._whole: list[Int[Tensor, "complete levels"]] = []
        self._room = _WHOLE // len(sizes)
        self._vectors = 0

    def add(self, codes: Int[Tensor, "batch patches levels"]) -> None:
        """Count the tokens of whole samples; -1 is padding.

        Raises:
            ValueError: If there is another number of patches or levels, or a code does not fit its codebook.
        """
        codes = codes.detach().cpu().long()
        if codes.shape[1:] != (self.patches, len(self.sizes)):
            raise ValueError(
                f"a sample has {self.patches} patches of {len(self.sizes)} codes here, got codes of shape "
                f"{tuple(codes.shape)}"
            )
        outside = (codes < -1) | (codes >= torch.tensor(self.sizes))
        if outside.any():
            level = int(outside.nonzero()[0, -1])
            came = int(codes[outside][0])
            raise ValueError(
                f"codes of level {level} lie in -1..{self.sizes[level] - 1}, got {came}: give its own size"
            )
        half = (self.samples + torch.arange(len(codes))) % 2
        places = half.unsqueeze(1) * self.patches + torch.arange(self.patches)
        for level, (placed, size) in enumerate(zip(self._placed, self.sizes, strict=True)):
            own = codes[..., level]
            _count(placed, places, own, size)
        for (first, second), table in self._pairs.items():
            _count(table, codes[..., first], codes[..., second], self.sizes[second])
        complete = codes[(codes >= 0).all(-1)][: self._room]
        self._whole.append(complete.int())
        self._room -= len(complete)
        self._vectors += int((codes >= 0).any(-1).sum())
        self.samples += len(codes)

    def report(self) -> TokenReport:
        """What the tokens so far show."""
        histograms = [placed.sum((0, 1)) for placed in self._placed]
        whole = torch.cat([torch.zeros(0, len(self.sizes), dtype=torch.int32), *self._whole])
        joint = float(usage.joint_entropy(whole))
        apart = math.fsum(float(usage.joint_entropy(level.unsqueeze(-1))) for level in whole.unbind(-1))
        pairs = {pair: _pair(pair, table) for pair, table in self._pairs.items()}
        levels = [self._level(level, histogram, pairs) for level, histogram in enumerate(histograms)]
        return TokenReport(
            samples=self.samples,
            codes=CodeReport(
                num_vectors=self._vectors,
                num_complete=len(whole),
                levels=tuple(levels),
                joint_entropy=joint,
                total_correlation=max(apart - joint, 0.0),
            ),
            places=tuple(_leak(placed) for placed in self._placed),
            pairs=tuple(pairs.values()),
            joint_bias=(len(whole.unique(dim=0)) - 1) / (2 * len(whole) * math.log(2)) if len(whole) else 0.0,
            histograms=tuple(tuple(histogram.tolist()) for histogram in histograms),
        )

    def _level(self, level: int, counts: Int[Tensor, " size"], pairs: dict[tuple[int, int], LevelPair]) -> LevelUsage:
        bits = float(usage.entropy(counts))
        before = pairs.get((level - 1, level))
        conditional = bits
        if before is not None:
            known = self._pairs[level - 1, level].sum(1)
            conditional = max(before.joint_entropy - float(usage.entropy(known)), 0.0)
        return LevelUsage(
            size=len(counts),
            num_codes=int(counts.sum()),
            usage_rate=float(usage.usage_rate(counts)),
            entropy=bits,
            perplexity=float(usage.perplexity(counts)),
            conditional_entropy=conditional,
            information=before.information if before else 0.0,
            information_floor=before.information_floor if before else 0.0,
            entropy_given_side=None,
            effective_code_usage=float(usage.effective_code_usage(counts)),
        )


def _count(
    table: Int[Tensor, "*_ size"], rows: Int[Tensor, "batch patches"], columns: Int[Tensor, "batch patches"], size: int
) -> None:
    there = (rows >= 0) & (columns >= 0)
    cells = (rows * size + columns)[there]
    table.view(-1).scatter_add_(0, cells, torch.ones_like(cells))


def _pair(levels: tuple[int, int], table: Int[Tensor, "rows columns"]) -> LevelPair:
    shared = _information(table)
    seen = [int(counts.count_nonzero()) for counts in (table, table.sum(0), table.sum(1))]
    bias = (seen[0] - seen[1] - seen[2] + 1) / (2 * int(table.sum().clamp_min(1)) * math.log(2))
    return LevelPair(
        levels=levels,
        joint_entropy=float(usage.entropy(table.flatten())),
        information=shared,
        information_floor=_floor(table),
        corrected=max(shared - bias, 0.0),
    )


def _leak(placed: Int[Tensor, "2 patches size"]) -> PlaceLeak:
    table = placed.sum(0)
    rest = float(usage.entropy(table.flatten()) - usage.entropy(table.sum(1)))
    right = plain = scored = 0
    for learned, other in (placed, placed.flip(0)):
        if not learned.any():
            continue
        anywhere = learned.sum(0)
        # Where codes are equally frequent, or a place has none, the more frequent anywhere is the better guess.
        guess = (learned + anywhere / anywhere.sum()).argmax(-1, keepdim=True)
        right += int(other.gather(1, guess).sum())
        plain += int(other[:, anywhere.argmax()].sum())
        scored += int(other.sum())
    return PlaceLeak(
        entropy_given_place=max(rest, 0.0),
        information=_information(table),
        information_floor=_floor(table),
        guessed=right / scored if scored else math.nan,
        chance=plain / scored if scored else math.nan,
    )


def _information(table: Num[Tensor, "rows columns"]) -> float:
    apart = usage.entropy(table.sum(1)) + usage.entropy(table.sum(0))
    return max(float(apart - usage.entropy(table.flatten())), 0.0)


def _floor(table: Int[Tensor, "rows columns"]) -> float:
    """The information of a table of the same frequencies whose rows and columns were drawn independently.

    Every cell is a Poisson number around its expectation: unlike a shuffle of the codes this needs the counts alone.
    """
    expected = torch.outer(table.sum(1).double(), table.sum(0) / table.sum().clamp_min(1))
    return _information(torch.poisson(expected, generator=torch.Generator().manual_seed(0)))


def _aligned(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
