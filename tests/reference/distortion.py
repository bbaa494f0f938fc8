"""Distortion by loops over Python floats with exact sums; slow."""

import math
from collections.abc import Sequence

Rows = Sequence[Sequence[float]]


def squared_error(rows: Rows, copies: Rows) -> float:
    norms = [math.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x, y in zip(rows, copies, strict=True)]
    return math.fsum(norms) / len(norms)


def variance(rows: Rows) -> float:
    """Mean squared distance from the mean vector."""
    means = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    return squared_error(rows, [means] * len(rows))
