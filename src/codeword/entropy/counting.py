"""Learning the tables of framewise codes from codes: counts of depths and codes, each in its context.

    stretches of codes ──► FrameCounter ──► DepthCounter ──► DepthTables ──► FrameTables
                                      └──► LevelCounter, one a level ──► LevelTables ──┘

Counting happens where a model is trained; what it ends in are integers, so that nothing of it needs to be repeated.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int64, Integer

from codeword.entropy.depths import MAX_SETS, DepthTables, contexts_alone, contexts_beside
from codeword.entropy.frames import FrameTables, frame_rows
from codeword.entropy.grids import neighbours
from codeword.entropy.levels import LevelTables, first_contexts
from codeword.entropy.tables import TOTAL, ideal_bits, quantize_histogram
from codeword.functional.kmeans import kmeans
from codeword.functional.nearest import nearest

_PRIOR_FRAMES = 8  # depths that what is known of wider contexts is worth
_PRIOR_CODES = 16  # codes that the table of all classes is worth to the table of one
_SPLITS = (2, 4, 8, 16, 32)
_MAX_PAIRS = 2**24  # pairs of codes that are counted for one level


class FrameCounter:
    """Learns tables from codes.

    Args:
        sizes: Codebook sizes, one a level.
        variable_depth: Whether to learn tables of depths, too.
    """

    def __init__(self, sizes: Sequence[int], *, variable_depth: bool = True) -> None:
        self._levels = [LevelCounter(sizes[0], size) for size in sizes]
        self._depth = DepthCounter(len(sizes)) if variable_depth else None
        self._half = 0

    def add(self, codes: Integer[np.ndarray, "channels frames levels"]) -> None:
        """Count a stretch of codes, -1 where absent; best as long as a chunk of a file, at the scales in use."""
        rows = frame_rows(codes.astype(np.int64))
        present = rows >= 0
        past = first_contexts(rows[:, 0], len(codes))
        for level, counter in enumerate(self._levels):
            here = present[:, level]
            counter.add((rows[:, 0] if level else past)[here], rows[here, level], self._half)
        if self._depth is not None:
            self._depth.add(np.count_nonzero(codes >= 0, axis=2))
        self._half = 1 - self._half

    def tables(self) -> FrameTables:
        """Tables of what was counted."""
        levels = tuple(counter.tables() for counter in self._levels)
        return FrameTables(levels, None if self._depth is None else self._depth.tables())


class GridCounter:
    """Learns tables for ``GridCoder`` from the codes of pictures.

    Args:
        sizes: Codebook sizes, one a level.
        variable_depth: Whether to learn tables of depths, too.
    """

    def __init__(self, sizes: Sequence[int], *, variable_depth: bool = True) -> None:
        self._first = PairCounter(sizes[0])
        self._levels = [LevelCounter(sizes[0], size) for size in sizes[1:]]
        self._depth = DepthCounter(len(sizes)) if variable_depth else None
        self._half = 0

    def add(self, codes: Integer[np.ndarray, "rows columns levels"]) -> None:
        """Count the codes of a picture, -1 where absent; best as large as a chunk of a file, at the scales in use."""
        rows = codes.astype(np.int64).reshape(-1, codes.shape[2])
        present = rows >= 0
        above, left = neighbours(rows[:, 0], codes.shape[1])
        here = present[:, 0]
        self._first.add(above[here], left[here], rows[here, 0], self._half)
        for level, counter in enumerate(self._levels, start=1):
            here = present[:, level]
            counter.add(rows[here, 0], rows[here, level], self._half)
        if self._depth is not None:
            self._depth.add(np.count_nonzero(codes >= 0, axis=2).T)
        self._half = 1 - self._half

    def tables(self) -> FrameTables:
        """Tables of what was counted."""
        levels = (self._first.tables(), *(counter.tables() for counter in self._levels))
        return FrameTables(levels, None if self._depth is None else self._depth.tables())


class DepthCounter:
    """Counts depths in their contexts and makes tables of the counts.

    Args:
        levels: The greatest depth.
        num_sets: Sets of tables; stretches are divided among them by their mean depth.
    """

    def __init__(self, levels: int, num_sets: int = 8) -> None:
        if not 1 <= num_sets <= MAX_SETS:
            raise ValueError(f"there are 1 to {MAX_SETS} sets of tables, got {num_sets}")
        self.levels, self.num_sets = levels, num_sets
        self._alone = np.zeros((num_sets, 3 * (levels + 1), levels + 1), dtype=np.int64)
        self._beside = np.zeros((num_sets, (levels + 1) ** 2, levels + 1), dtype=np.int64)

    def add(self, depths: Integer[np.ndarray, "channels frames"]) -> None:
        """Count a stretch, best as long as a chunk of a file."""
        if not depths.size:
            return
        index = min(self.num_sets * int(depths.sum()) // (self.levels * depths.size), self.num_sets - 1)
        np.add.at(self._alone[index], (contexts_alone(depths), depths), 1)
        np.add.at(self._beside[index], (contexts_beside(depths, self.levels), depths[1:]), 1)

    def tables(self) -> DepthTables:
        """Tables of what was counted; of pairs of channels only if there were some.

        What a context has seen is joined with the table of this context in all sets, and that with the table of all
        depths, as if they were a few frames more: a context that never occurred is coded like the wider one.
        """
        alone = _smoothed(self._alone, self._alone.sum(axis=(0, 1)))
        beside = _smoothed(self._beside, self._beside.sum(axis=(0, 1))) if self._beside.any() else None
        return DepthTables(alone, beside)


def _smoothed(
    counts: Int64[np.ndarray, "sets contexts depths"], everything: Int64[np.ndarray, " depths"]
) -> Int64[np.ndarray, "sets contexts depths"]:
    widest = quantize_histogram(everything + 1)
    wider = [_joined(row, widest) for row in counts.sum(axis=0)]
    return np.stack([np.stack([_joined(row, prior) for row, prior in zip(one, wider, strict=True)]) for one in counts])


def _joined(counts: Int64[np.ndarray, " depths"], prior: Int64[np.ndarray, " depths"]) -> Int64[np.ndarray, " depths"]:
    return quantize_histogram(counts * TOTAL + _PRIOR_FRAMES * prior) if counts.any() else prior


class LevelCounter:
    """Counts the codes of one level after each code of level 0, and makes tables of the counts.

    Args:
        contexts: Size of level 0.
        size: Size of this level.
    """

    def __init__(self, contexts: int, size: int) -> None:
        self.contexts = contexts
        rows = contexts if contexts * size <= _MAX_PAIRS else 1
        # Two halves: the number of classes is what serves one half best when it was learned from the other.
        self._counts = np.zeros((2, rows, size), dtype=np.int64)

    def add(self, contexts: Int64[np.ndarray, " count"], codes: Int64[np.ndarray, " count"], half: int) -> None:
        """Count codes and their contexts, for half 0 or 1 of the data."""
        rows = contexts if self._counts.shape[1] > 1 else np.zeros_like(contexts)
        np.add.at(self._counts[half], (rows, codes), 1)

    def tables(self) -> LevelTables:
        """Tables of what was counted, with as many classes as pay."""
        plain = np.zeros(self.contexts, dtype=np.int64)
        first, second = self._counts
        total = first + second
        best, bits = plain, _cross_bits(first, second, plain)
        for number in _SPLITS:
            if number >= min(np.count_nonzero(first.any(axis=1)), np.count_nonzero(total.any(axis=1))):
                break
            if (found := _cross_bits(first, second, _classes(first, number))) < bits:
                best, bits = _classes(total, number), found
        return LevelTables(_class_tables(total, best), best)


class PairCounter:
    """Keeps codes with those above and to the left, and makes tables for pairs of classes.

    Args:
        size: Of the codebook.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._seen: tuple[list[Int64[np.ndarray, "3 _"]], list[Int64[np.ndarray, "3 _"]]] = ([], [])

    def add(
        self,
        above: Int64[np.ndarray, " count"],
        left: Int64[np.ndarray, " count"],
        codes: Int64[np.ndarray, " count"],
        half: int,
    ) -> None:
        """Count codes and their neighbours, for half 0 or 1 of the data."""
        self._seen[half].append(np.stack([above, left, codes]))

    def tables(self) -> LevelTables:
        """Tables of what was counted, with as many classes as pay: learned from one half, tried on the other."""
        nothing = np.zeros((3, 0), dtype=np.int64)
        first, second = (np.concatenate([nothing, *half], axis=1) for half in self._seen)
        both = np.concatenate([first, second], axis=1)
        best = LevelTables(self._tables(both, plain := np.zeros(self.size, dtype=np.int64)), plain)
        bits = self._bits(second, self._tables(first, plain), plain)
        for number in _SPLITS:
            known, whole = self._follow(first), self._follow(both)
            if number >= np.count_nonzero(known.any(axis=1)):
                break
            classes = _classes(known, number)
            if (found := self._bits(second, self._tables(first, classes), classes)) < bits:
                bits, classes = found, _classes(whole, number)
                best = LevelTables(self._tables(both, classes), classes)
        return best

    def _follow(self, seen: Int64[np.ndarray, "3 count"]) -> Int64[np.ndarray, "size size"]:
        """How often every code follows another, whichever neighbour that is."""
        counts = np.zeros((self.size, self.size), dtype=np.int64)
        for neighbour in seen[:2]:
            np.add.at(counts, (neighbour, seen[2]), 1)
        return counts

    def _counts(
        self, seen: Int64[np.ndarray, "3 count"], classes: Int64[np.ndarray, " contexts"]
    ) -> Int64[np.ndarray, "classes classes size"]:
        number = int(classes.max()) + 1
        counts = np.zeros((number, number, self.size), dtype=np.int64)
        np.add.at(counts, (classes[seen[0]], classes[seen[1]], seen[2]), 1)
        return counts

    def _tables(
        self, seen: Int64[np.ndarray, "3 count"], classes: Int64[np.ndarray, " contexts"]
    ) -> Int64[np.ndarray, "pairs size"]:
        """Of every pair, joined with what is known of the class above, and that with what is known of all."""
        counts = self._counts(seen, classes)
        widest = quantize_histogram(counts.sum(axis=(0, 1)) + 1)
        rows: list[Int64[np.ndarray, " size"]] = []
        for of_above in counts:
            wider = quantize_histogram(of_above.sum(axis=0) * TOTAL + _PRIOR_CODES * widest)
            rows += [quantize_histogram(row * TOTAL + _PRIOR_CODES * wider) for row in of_above]
        return np.stack(rows)

    def _bits(
        self,
        seen: Int64[np.ndarray, "3 count"],
        tables: Int64[np.ndarray, "pairs size"],
        classes: Int64[np.ndarray, " contexts"],
    ) -> float:
        return ideal_bits(self._counts(seen, classes).reshape(-1), tables.reshape(-1))


def _cross_bits(
    known: Int64[np.ndarray, "rows size"], new: Int64[np.ndarray, "rows size"], classes: Int64[np.ndarray, " contexts"]
) -> float:
    """Bits that ``new`` takes under tables learned from ``known``."""
    return ideal_bits(_by_class(new, classes).reshape(-1), _class_tables(known, classes).reshape(-1))


def _by_class(
    counts: Int64[np.ndarray, "rows size"], classes: Int64[np.ndarray, " contexts"]
) -> Int64[np.ndarray, "classes size"]:
    sums = np.zeros((int(classes.max()) + 1, counts.shape[1]), dtype=np.int64)
    np.add.at(sums, classes[: len(counts)], counts)
    return sums


def _class_tables(
    counts: Int64[np.ndarray, "rows size"], classes: Int64[np.ndarray, " contexts"]
) -> Int64[np.ndarray, "classes size"]:
    prior = quantize_histogram(counts.sum(axis=0))
    return np.stack([quantize_histogram(row * TOTAL + _PRIOR_CODES * prior) for row in _by_class(counts, classes)])


def _classes(counts: Int64[np.ndarray, "rows size"], number: int) -> Int64[np.ndarray, " rows"]:
    """Sort rows by what follows them: k-means on the square roots of their shares, weighted by how often they occur.

    The squared distance of such roots is, to the first order, what it costs to code one by the table of the other.
    """
    weights = counts.sum(axis=1)
    shares = (counts + _PRIOR_CODES * counts.sum(axis=0) / counts.sum()) / (weights[:, None] + _PRIOR_CODES)
    rows = torch.from_numpy(np.sqrt(shares)).float()
    codebook = kmeans(rows, number, weights=torch.from_numpy(weights).float())
    found = nearest(rows, codebook).numpy()
    return np.unique(found, return_inverse=True)[1].astype(np.int64)
