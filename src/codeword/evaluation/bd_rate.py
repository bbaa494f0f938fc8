"""How many bits, or how much quality, lie between two curves of rate and quality on the average (Bjøntegaard 2001)."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64

Form = Literal["cubic", "piecewise"]
_LEAST = {"cubic": 4, "piecewise": 2}
_Axis: TypeAlias = Float64[np.ndarray, " _"]


class Curve(NamedTuple):
    """Points of rate and quality, in any order.

    Attributes:
        kbps: Rates.
        quality: What they buy; more is better, so distances are given with their sign turned.
    """

    kbps: Sequence[float]
    quality: Sequence[float]


def bd_rate(reference: Curve, test: Curve, form: Form = "piecewise") -> float:
    r"""Bits that a system needs beyond a reference for the same quality, in percent; negative if it needs fewer.

    .. math:: 100 \left( 10^{d} - 1 \right), \qquad
        d = \frac{1}{q_1 - q_0} \int_{q_0}^{q_1} \log_{10} R_\text{test}(q) - \log_{10} R_\text{ref}(q) \, dq

    over the qualities that both reach.

    Args:
        reference: What it is compared with.
        test: The system.
        form: What joins the points: one polynomial of third degree, fitted by least squares where there are more than
            four (VCEG-M33); or a monotone cubic between every two (Fritsch and Carlson), which cannot overshoot.

    Raises:
        ValueError: If a curve has too few points or does not rise, or the curves have no quality in common.
    """
    sides = [_sorted(curve) for curve in (reference, test)]
    for rates, quality in sides:
        if (np.diff(quality) <= 0).any():
            told = ", ".join(f"{q:.4g} at {10**r:.4g} kbps" for r, q in zip(rates, quality, strict=True))
            raise ValueError(f"a BD-rate needs curves whose quality rises with every point, got {told}")
    gap = _mean_gap([(quality, rates) for rates, quality in sides], form, "qualities")
    return 100.0 * (10.0**gap - 1.0)


def bd_quality(reference: Curve, test: Curve, form: Form = "piecewise") -> float:
    """Quality that a system has beyond a reference at the same rate, averaged over the logarithms of common rates.

    Arguments are those of :func:`bd_rate`; for a quality in decibels this is the classic BD-PSNR.

    Raises:
        ValueError: If a curve has too few points or twice the same rate, or the curves have no rate in common.
    """
    return _mean_gap([_sorted(curve) for curve in (reference, test)], form, "rates")


def _sorted(curve: Curve) -> tuple[_Axis, _Axis]:
    """Logarithms of rates, rising, and their qualities."""
    rates, quality = (np.asarray(values, dtype=np.float64) for values in curve)
    if rates.shape != quality.shape or rates.ndim != 1:
        raise ValueError(f"a curve has as many rates as qualities, got {rates.shape} and {quality.shape}")
    if not (np.isfinite(rates).all() and np.isfinite(quality).all() and (rates > 0).all()):
        raise ValueError("a curve has rates above 0, and finite qualities")
    order = np.argsort(rates)
    if (np.diff(rates[order]) <= 0).any():
        raise ValueError(f"a curve has one point at every rate, got rates {rates[order].tolist()}")
    return np.log10(rates[order]), quality[order]


def _mean_gap(sides: Sequence[tuple[_Axis, _Axis]], form: Form, what: str) -> float:
    """Mean of the second curve less the first, over the abscissae that they share."""
    fewest = min(len(x) for x, _ in sides)
    if fewest < _LEAST[form]:
        raise ValueError(f"the {form} form needs {_LEAST[form]} points on each curve, got {fewest}")
    low, high = max(x[0] for x, _ in sides), min(x[-1] for x, _ in sides)
    if not low < high:
        raise ValueError(f"the curves share no {what}: one ends where the other has not begun")
    mean = _cubic_mean if form == "cubic" else _piecewise_mean
    before, after = (mean(x, y, low, high) for x, y in sides)
    return after - before


def _cubic_mean(x: _Axis, y: _Axis, low: float, high: float) -> float:
    whole = np.polynomial.Polynomial.fit(x, y, 3).integ()
    return float((whole(high) - whole(low)) / (high - low))


def _piecewise_mean(x: _Axis, y: _Axis, low: float, high: float) -> float:
    curve = monotone_cubic(x, y)
    edges = np.concatenate([[low], x[(x > low) & (x < high)], [high]])
    # Simpson's rule is exact for a polynomial of third degree.
    ends, middles = curve(edges), curve((edges[:-1] + edges[1:]) / 2)
    areas = np.diff(edges) * (ends[:-1] + 4 * middles + ends[1:]) / 6
    return float(areas.sum() / (high - low))


def monotone_cubic(x: _Axis, y: _Axis) -> Callable[[_Axis], _Axis]:
    """The piecewise cubic through points that rises and falls only where they do (Fritsch and Carlson 1980).

    Slopes are weighted harmonic means of those of the neighbouring pieces (Fritsch and Butland 1984), at the ends
    those of a parabola through three points, as in Matlab's ``pchip``.

    Args:
        x: Rising abscissae, two or more.
        y: Values.
    """
    steps, rises = np.diff(x), np.diff(y) / np.diff(x)
    slopes = np.full(len(x), rises[0])
    if len(x) > 2:
        slopes[1:-1] = _inner_slopes(steps, rises)
        slopes[0] = _end_slope(*steps[:2], *rises[:2])
        slopes[-1] = _end_slope(*steps[:-3:-1], *rises[:-3:-1])

    def value(at: _Axis) -> _Axis:
        piece = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(steps) - 1)
        step, part = steps[piece], (at - x[piece]) / steps[piece]
        start = y[piece] * (1 + 2 * part) + step * slopes[piece] * part
        end = y[piece + 1] * (3 - 2 * part) + step * slopes[piece + 1] * (part - 1)
        return start * (1 - part) ** 2 + end * part**2

    return value


def _inner_slopes(steps: _Axis, rises: _Axis) -> _Axis:
    before, after = rises[:-1], rises[1:]
    heavy, light = 2 * steps[1:] + steps[:-1], steps[1:] + 2 * steps[:-1]
    turns = before * after <= 0
    safe = [np.where(turns, 1.0, side) for side in (before, after)]
    return np.where(turns, 0.0, (heavy + light) / (heavy / safe[0] + light / safe[1]))


def _end_slope(step: float, next_step: float, rise: float, next_rise: float) -> float:
    slope = ((2 * step + next_step) * rise - step * next_rise) / (step + next_step)
    if slope * rise <= 0:
        return 0.0
    return 3 * rise if rise * next_rise < 0 and abs(slope) > 3 * abs(rise) else slope
