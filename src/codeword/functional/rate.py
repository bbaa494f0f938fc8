"""The scale that makes a file meet a rate, found on the stored importance map.

The depth of a vector is min(floor(l p) + 1, levels): it takes its steps at the critical scales l = k / p. Between two
of them nothing changes, so the candidates are not the real numbers but the sorted steps of all vectors::

    scale     1 ────┬───┬┬──┬─────┬┬┬──── 6 levels
    steps           1   23  4     567          one level more for one vector each
    file      |------ bytes grow ------------>|

Where many vectors take their steps at one scale, only some of them may: spread evenly over all, and written nowhere,
because the depths are in the file anyway.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, Integer

from codeword.functional import allocation

_MANY = 2**16  # steps that are sorted at once
_ROUNDS = 100  # far more than a search over 32-bit scales takes
_GOLDEN = 2654435769  # 2**32 over the golden ratio: its multiples modulo 2**32 are spread evenly

FileBytes = Callable[[Int64[np.ndarray, "*places"]], int]


class Rate(NamedTuple):
    """A choice of depths.

    Attributes:
        depths: The number of levels of every vector, for ``codes_at``.
        scale: Its scale; exactly these depths, if ``held`` is 0.
        held: Vectors that take a step at exactly this scale, but have been left a level lower.
        num_bytes: Bytes of the file.
        reach: Bytes of the smallest and the largest file.
    """

    depths: Int64[np.ndarray, "*places"]
    scale: float
    held: int
    num_bytes: int
    reach: tuple[int, int]


def depths_at(importance: Float32[np.ndarray, "*places"], scale: float, levels: int) -> Int64[np.ndarray, "*places"]:
    """The number of levels of every vector at a scale, see :func:`codeword.functional.allocation.depth`."""
    return allocation.depth(torch.from_numpy(importance), scale, levels).numpy()


def codes_at(
    codes: Integer[np.ndarray, "*places levels"], depths: Int64[np.ndarray, "*places"] | int
) -> Integer[np.ndarray, "*places levels"]:
    """Codes of all levels cut to a depth: -1 beyond it."""
    return np.where(np.arange(codes.shape[-1]) < np.expand_dims(depths, -1), codes, -1)


def scale_for_bits(
    importance: Float32[np.ndarray, "*places"],
    levels: int,
    target_bits: int,
    file_bytes: FileBytes,
    *,
    scales: tuple[float, float] | None = None,
    tolerance: float = 1e-3,
) -> Rate:
    """Choose the depths whose file comes nearest to a number of bits.

    The search interpolates between a file that is too small and one that is too large, first over scales, then over
    single steps of single vectors; every file is made once. It ends within ``tolerance``, or where one step more is too
    much and none too little.

    Args:
        importance: p of every vector, between 0 and 1.
        levels: Levels of the model.
        target_bits: Bits of the whole file, headers included.
        file_bytes: Bytes of the file for given depths.
        scales: Least and greatest scale; 1 and 6 ``levels`` if not given.
        tolerance: Relative error that is good enough.
    """
    if not np.isfinite(importance).all() or not importance.size:
        raise ValueError("an importance map has at least one vector, and finite values between 0 and 1")
    low, high = (1.0, 6.0 * levels) if scales is None else scales
    if not 0 < low <= high:
        raise ValueError(f"scales go from one above 0 up, got {low} to {high}")
    return _Search(importance, levels, target_bits / 8, file_bytes, tolerance).run(np.float32(low), np.float32(high))


class _Search:
    """One search; remembers the best file so far."""

    def __init__(
        self,
        importance: Float32[np.ndarray, "*places"],
        levels: int,
        target: float,
        file_bytes: FileBytes,
        tolerance: float,
    ) -> None:
        self.importance, self.levels, self.target = importance, levels, target
        self.file_bytes, self.tolerance = file_bytes, tolerance
        self.best: Rate | None = None

    def run(self, low: np.float32, high: np.float32) -> Rate:
        smallest, largest = self.at_scale(low), self.at_scale(high)
        reach = smallest.num_bytes, largest.num_bytes
        if not smallest.num_bytes < self.target < largest.num_bytes:  # far away, floats would not tell them apart
            self.best = smallest if self.target <= smallest.num_bytes else largest
        if smallest.num_bytes < self.target < largest.num_bytes:
            smallest, largest = self.over_scales(smallest, largest)
            if not self.good():
                self.over_steps(smallest, largest)
        assert self.best is not None
        return self.best._replace(reach=reach)

    def over_scales(self, low: Rate, high: Rate) -> tuple[Rate, Rate]:
        """Narrow the bracket down to scales between which only some steps, or those of a single scale, are taken."""
        for turn in range(_ROUNDS):
            if self.good() or int((high.depths - low.depths).sum()) <= _MANY:
                break
            share = 0.5 if turn % 3 == 2 else self.share(low, high)
            scale = np.float32(low.scale + share * (high.scale - low.scale))
            scale = max(scale, np.nextafter(np.float32(low.scale), np.float32(np.inf)))
            scale = min(scale, np.nextafter(np.float32(high.scale), np.float32(0)))
            if not low.scale < scale < high.scale:
                break
            found = self.at_scale(scale)
            low, high = (found, high) if found.num_bytes <= self.target else (low, found)
        return low, high

    def over_steps(self, low: Rate, high: Rate) -> None:
        """Take the steps between two files one by one, in the order of their scales."""
        rise = (high.depths - low.depths).reshape(-1)
        vector = np.repeat(np.arange(len(rise)), rise)
        within = np.arange(len(vector)) - np.repeat(np.cumsum(rise) - rise, rise)
        critical = critical_scales(self.importance.reshape(-1)[vector], low.depths.reshape(-1)[vector] + within)
        order = np.lexsort((vector * _GOLDEN % 2**32, critical))
        vector, critical = vector[order], critical[order]
        first, last = 0, len(vector)
        fewest, most = low, high
        for turn in range(_ROUNDS):
            if self.good() or last - first <= 1:
                return
            share = 0.5 if turn % 3 == 2 else self.share(fewest, most)
            steps = min(max(first + round(share * (last - first)), first + 1), last - 1)
            depths = low.depths + np.bincount(vector[:steps], minlength=len(rise)).reshape(low.depths.shape)
            held = int(np.count_nonzero(critical[steps:] == critical[steps - 1]))
            found = self.note_best(depths, float(critical[steps - 1]), held)
            if found.num_bytes <= self.target:
                first, fewest = steps, found
            else:
                last, most = steps, found

    def at_scale(self, scale: np.float32) -> Rate:
        return self.note_best(depths_at(self.importance, float(scale), self.levels), float(scale), 0)

    def note_best(self, depths: Int64[np.ndarray, "*places"], scale: float, held: int) -> Rate:
        num_bytes = self.file_bytes(depths)
        found = Rate(depths, scale, held, num_bytes, (num_bytes, num_bytes))
        if self.best is None or abs(found.num_bytes - self.target) < abs(self.best.num_bytes - self.target):
            self.best = found
        return found

    def good(self) -> bool:
        return self.best is not None and abs(self.best.num_bytes - self.target) <= self.tolerance * self.target

    def share(self, low: Rate, high: Rate) -> float:
        """Where the target lies between two files."""
        return (self.target - low.num_bytes) / max(high.num_bytes - low.num_bytes, 1)


def critical_scales(
    importance: Float32[np.ndarray, " steps"], multiples: Int64[np.ndarray, " steps"]
) -> Float32[np.ndarray, " steps"]:
    """The least scale, in 32 bits, whose product with p is at least k, as 32-bit arithmetic rounds it."""
    goal = multiples.astype(np.float32)
    scale = goal / importance
    while (short := importance * scale < goal).any():
        scale[short] = np.nextafter(scale[short], np.float32(np.inf))
    while (over := importance * (less := np.nextafter(scale, np.float32(0))) >= goal).any():
        scale[over] = less[over]
    return scale


def depth_for_bits(num_bytes: Sequence[int], target_bits: int) -> int:
    """The constant depth whose file comes nearest to a number of bits, the lower one on a tie; files of 1, 2, ..."""
    return 1 + min(range(len(num_bytes)), key=lambda place: abs(8 * num_bytes[place] - target_bits))
