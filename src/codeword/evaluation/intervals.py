"""Means and where they lie."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_SHARE = 0.975  # of the distribution below the upper end of a two-sided interval of 95 %
_STEPS = 20_000  # of the integral under Student's density


class Interval(NamedTuple):
    """A mean over recordings or images and where it lies with a confidence of 95 %, after Student's t.

    Attributes:
        mean: Over those that have a value.
        low: Lower end; the mean itself where there is only one.
        high: Upper end.
    """

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    r"""Mean of the finite ones of ``values`` and its 95 % confidence interval.

    .. math:: \bar x \pm t_{0.975, n - 1} \frac{s}{\sqrt n}

    Raises:
        ValueError: If none is finite.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        raise ValueError("a mean needs at least one finite value")
    mean = math.fsum(finite) / len(finite)
    if len(finite) == 1:
        return Interval(mean, mean, mean)
    reach = student(len(finite) - 1) * float(np.std(finite, ddof=1)) / math.sqrt(len(finite))
    return Interval(mean, mean - reach, mean + reach)


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t with so many degrees of freedom.

    With ``x = sqrt(n) tan(a)`` the density becomes ``cos(a) ** (n - 1)`` on a finite range, which is summed.
    """
    edges = np.linspace(0.0, math.pi / 2, _STEPS + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    mass = np.concatenate([[0.0], np.cumsum(np.cos(middles) ** (freedom - 1))])
    angle = float(np.interp(2 * _SHARE - 1, mass / mass[-1], edges))
    return math.sqrt(freedom) * math.tan(angle)
