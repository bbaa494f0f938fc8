"""Bjøntegaard's averages, against quadrature over SciPy's curves and against arithmetic by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.interpolate import PchipInterpolator

from codeword.evaluation.bd_rate import Curve, bd_quality, bd_rate, monotone_cubic

KBPS = (1.0, 2.0, 3.5, 6.0, 11.0)
QUALITY = (3.0, 6.5, 8.0, 11.0, 12.5)
FORMS = ("cubic", "piecewise")


def reference_gap(first, second, form):
    """Mean of second less first, by quadrature."""
    low, high = max(min(x) for x, _ in (first, second)), min(max(x) for x, _ in (first, second))
    means = []
    for x, y in (first, second):
        curve = PchipInterpolator(x, y) if form == "piecewise" else np.poly1d(np.polyfit(x, y, 3))
        means.append(quad(curve, low, high, points=[p for p in x if low < p < high], limit=200)[0] / (high - low))
    return means[1] - means[0]


@pytest.mark.parametrize("form", FORMS)
def test_both_averages_are_those_of_quadrature(form):
    other = Curve((1.3, 2.2, 4.1, 7.0, 9.0), (5.0, 7.5, 10.0, 12.0, 13.5))
    here, there = (np.log10(KBPS), QUALITY), (np.log10(other.kbps), other.quality)
    gap = reference_gap(here[::-1], there[::-1], form)
    assert bd_rate(Curve(KBPS, QUALITY), other, form) == pytest.approx(100 * (10**gap - 1), rel=1e-6)
    expected = reference_gap(here, there, form)
    assert bd_quality(Curve(KBPS, QUALITY), other, form) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_half_the_bits_everywhere_are_minus_fifty_percent(form):
    cheaper = Curve([rate / 2 for rate in KBPS], QUALITY)
    assert bd_rate(Curve(KBPS, QUALITY), cheaper, form) == pytest.approx(-50)
    assert bd_rate(cheaper, Curve(KBPS, QUALITY), form) == pytest.approx(100)
    assert bd_rate(Curve(KBPS, QUALITY), Curve(KBPS[::-1], QUALITY[::-1]), form) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_one_decibel_more_everywhere_is_one_decibel(form):
    better = Curve(KBPS, [value + 1 for value in QUALITY])
    assert bd_quality(Curve(KBPS, QUALITY), better, form) == pytest.approx(1)


def test_the_example_by_hand():
    """Two straight lines in log10 of the rate, from 1 to 10 and from 2 to 20 kbps, meet from quality 0 to 1."""
    assert bd_rate(Curve((1, 10), (0, 1)), Curve((2, 20), (0, 1))) == pytest.approx(100)
    assert bd_quality(Curve((1, 10), (0, 1)), Curve((1, 10), (0, 3))) == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(-50, 50)), min_size=2, max_size=8))
@settings(max_examples=60, deadline=None)
def test_the_piecewise_curve_is_that_of_scipy(steps):
    x = np.cumsum([step for step, _ in steps]).astype(float)
    y = np.array([value for _, value in steps], dtype=float)
    at = np.linspace(x[0], x[-1], 97)
    np.testing.assert_allclose(monotone_cubic(x, y)(at), PchipInterpolator(x, y)(at), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("reference", "test", "form", "message"),
    [
        (((1, 2), (0, 1)), ((1, 2), (2, 3)), "piecewise", "the curves share no qualities"),
        (((1, 2), (0, 1)), ((1, 2, 3), (0, 2, 1)), "piecewise", "quality rises with every point, got 0 at 1 kbps"),
        (((1, 2, 3), (0, 1, 2)), ((1, 2, 3), (0, 1, 2)), "cubic", "the cubic form needs 4 points on each curve, got 3"),
        (((1,), (0,)), ((1, 2), (0, 1)), "piecewise", "needs 2 points"),
        (((1, 1), (0, 1)), ((1, 2), (0, 1)), "piecewise", "one point at every rate"),
        (((0, 1), (0, 1)), ((1, 2), (0, 1)), "piecewise", "rates above 0"),
        (((1, 2), (0, float("nan"))), ((1, 2), (0, 1)), "piecewise", "finite qualities"),
        (((1, 2, 3), (0, 1)), ((1, 2), (0, 1)), "piecewise", "as many rates as qualities"),
    ],
)
def test_what_cannot_be_compared_is_refused(reference, test, form, message):
    with pytest.raises(ValueError, match=message):
        bd_rate(Curve(*reference), Curve(*test), form)


def test_rates_that_do_not_meet_are_refused():
    with pytest.raises(ValueError, match="the curves share no rates"):
        bd_quality(Curve((1, 2), (0, 1)), Curve((2, 3), (0, 1)))
