"""Counts of codes, for entropy tables; as small for a billion vectors as for ten."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from codeword.entropy.tables import TOTAL, CodeTables


class CodeCounter:
    """How often each code of each level occurs.

    Args:
        sizes: Codebook sizes, one a level.
    """

    def __init__(self, sizes: Sequence[int]):
        fits = max(sizes) <= TOTAL
        self._counts = [np.zeros(size, np.int64) for size in sizes] if fits else None

    def add(self, codes: Int64[np.ndarray, "_ levels"]) -> None:
        """Count codes; -1 is absent."""
        for counts, column in zip(self._counts or (), codes.T, strict=False):
            np.add(counts, np.bincount(column[column >= 0], minlength=len(counts)), out=counts)

    def tables(self) -> CodeTables | None:
        """Tables of what was counted; ``None`` if a codebook is larger than a table can be."""
        return None if self._counts is None else CodeTables.from_histograms(self._counts)
