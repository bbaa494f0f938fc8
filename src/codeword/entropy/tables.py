"""Integer frequency tables: what a range coder may know about codes, without a single float in the promise.

A table gives each of its symbols a count of at least 1; the counts sum to exactly 2**16. Probabilities become integers
here, once, when a model is trained; from then on everything that touches bytes is integer arithmetic.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

PRECISION = 16
TOTAL = 2**PRECISION


def quantize_histogram(histogram: Integer[np.ndarray, " size"]) -> Int64[np.ndarray, " size"]:
    """Turn observed frequencies into integer counts >= 1 that sum to 2**16.

    A symbol whose share is below one count receives 1 and leaves the division, until that happens to none; the others
    share the rest by largest remainder, equal remainders in favour of the lower symbol. All of it is exact integer
    arithmetic, so every machine makes the same table. A histogram of zeros gives a uniform table.

    Args:
        histogram: How often each symbol occurred, >= 0.

    Raises:
        ValueError: If there are no symbols, more than 2**16, or negative frequencies.
    """
    size = len(histogram)
    _check_size(size)
    if (histogram < 0).any():
        raise ValueError(f"frequencies are 0 or more, got {int(histogram.min())}")
    weights = histogram.astype(object)  # Python integers: products of frequencies and counts may exceed 64 bits
    if not histogram.any():
        weights[:] = 1
    counts = np.ones(size, dtype=np.int64)
    free = np.ones(size, dtype=bool)
    while True:
        budget, mass = TOTAL - int(np.count_nonzero(~free)), weights[free].sum()
        rare = free & (weights * budget < mass).astype(bool)
        if not rare.any():
            break
        free &= ~rare
    shares = weights[free] * budget
    counts[free] = shares // mass
    # Stable, so that among equal remainders the lower symbol comes first.
    order = np.argsort(-(shares % mass), kind="stable")
    counts[np.flatnonzero(free)[order[: TOTAL - int(counts.sum())]]] += 1
    return counts


def _check_size(size: int) -> None:
    if not 1 <= size <= TOTAL:
        raise ValueError(
            f"a frequency table holds 1 to {TOTAL} symbols, got {size}; store such codes packed, not ranged"
        )


def check_counts(counts: Integer[np.ndarray, " size"]) -> Int64[np.ndarray, " size"]:
    """Return ``counts`` as int64 if they are a table.

    Raises:
        ValueError: If a count is below 1 or the sum is not 2**16.
    """
    counts = counts.astype(np.int64)
    if not len(counts) or counts.min() < 1 or int(counts.sum()) != TOTAL:
        raise ValueError(
            f"a table has counts >= 1 that sum to {TOTAL}, got {len(counts)} counts that sum to {int(counts.sum())}; "
            "make one with quantize_histogram"
        )
    return counts


def check_rows(tables: Integer[np.ndarray, "*tables size"]) -> Int64[np.ndarray, "*tables size"]:
    """Return many tables of one size as int64, each of them as in :func:`check_counts`."""
    tables = tables.astype(np.int64)
    if not tables.size or tables.min() < 1 or (tables.sum(axis=-1) != TOTAL).any():
        raise ValueError(
            f"tables have counts >= 1 that sum to {TOTAL}, one of the {tables.shape} given has not; "
            "make them with quantize_histogram"
        )
    return tables


def ideal_bits(histogram: Integer[np.ndarray, " size"], counts: Integer[np.ndarray, " size"]) -> float:
    """Bits that symbols with this histogram need under a table: sum_k h_k (16 - log2 counts_k)."""
    return float((histogram * (PRECISION - np.log2(counts))).sum())


class CodeTables(NamedTuple):
    """The tables of a model's codes; stored with the model, never in a file of codes.

    Attributes:
        levels: One table per level.
        depth: Table of the number of levels present (0 to ``len(levels)``), for codes of variable depth.
    """

    levels: tuple[Int64[np.ndarray, " _"], ...]
    depth: Int64[np.ndarray, " _"] | None = None

    @classmethod
    def from_histograms(
        cls, levels: Sequence[Integer[np.ndarray, " _"]], depth: Integer[np.ndarray, " _"] | None = None
    ) -> "CodeTables":
        """Quantise one histogram per level and, for codes of variable depth, that of depths 0 to ``len(levels)``."""
        if depth is not None and len(depth) != len(levels) + 1:
            raise ValueError(f"depths of {len(levels)} levels need {len(levels) + 1} frequencies, got {len(depth)}")
        return cls(
            tuple(quantize_histogram(level) for level in levels), None if depth is None else quantize_histogram(depth)
        )

    @classmethod
    def from_codes(
        cls, codes: Integer[np.ndarray, "count levels"], sizes: Sequence[int], *, variable_depth: bool = False
    ) -> "CodeTables":
        """Count codes (-1 is absent) and quantise the histograms.

        Args:
            codes: Codes to learn from.
            sizes: Codebook sizes, one a level.
            variable_depth: Whether to make a table of depths, too.
        """
        for size in sizes:
            _check_size(size)
        if codes.shape[1] != len(sizes) or (codes >= np.array(sizes)).any():
            raise ValueError(f"codes of shape {codes.shape} do not fit sizes {tuple(sizes)}")
        codes = codes.astype(np.int64)
        present = codes >= 0
        levels = [np.bincount(codes[present[:, m], m], minlength=size) for m, size in enumerate(sizes)]
        depth = np.bincount(present.sum(axis=1), minlength=len(sizes) + 1) if variable_depth else None
        return cls.from_histograms(levels, depth)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Integer[np.ndarray, " _"]]) -> "CodeTables":
        """Undo :meth:`arrays`.

        Raises:
            ValueError: If an array is missing, superfluous, or no table.
        """
        names = [f"level.{level}" for level in range(len(arrays.keys() - {"depth"}))]
        if not names or set(names) != arrays.keys() - {"depth"}:
            raise ValueError(f"tables are named level.0, level.1, ... and depth, these are {sorted(arrays)}")
        levels, depth = tuple(check_counts(arrays[name]) for name in names), arrays.get("depth")
        if depth is not None and len(depth) != len(levels) + 1:
            raise ValueError(f"depths of {len(levels)} levels need {len(levels) + 1} counts, got {len(depth)}")
        return cls(levels, None if depth is None else check_counts(depth))

    def arrays(self) -> dict[str, np.ndarray]:
        """The tables under the names ``level.0``, ``level.1``, ... and ``depth``, for a safetensors file."""
        named = {f"level.{level}": counts for level, counts in enumerate(self.levels)}
        return named if self.depth is None else {**named, "depth": self.depth}

    def fingerprint(self) -> str:
        """SHA-256 of the tables, in hexadecimal digits.

        It is taken over the number of levels, then for the depth (0 symbols without one) and every level the number of
        symbols and the counts, all as little-endian 32-bit integers.
        """
        absent = np.zeros(0, dtype=np.int64)
        digest = hashlib.sha256(np.array([len(self.levels)], dtype="<u4").tobytes())
        for counts in (absent if self.depth is None else self.depth, *self.levels):
            digest.update(np.concatenate([[len(counts)], counts]).astype("<u4").tobytes())
        return digest.hexdigest()
