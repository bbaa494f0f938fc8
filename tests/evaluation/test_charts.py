"""Drawings say what the numbers say."""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeword.evaluation.charts import Dot, Series, legend, line_chart, rate_ticks, share_table, ticks


def _tree(markup):
    return ET.fromstring(f"<body>{markup}</body>")


def _places(tree):
    marks = [mark for mark in tree.iter("g") if mark.get("transform")]
    return [tuple(map(float, mark.get("transform")[len("translate(") : -1].split())) for mark in marks]


def _chart(*lines, **told):
    return _tree(line_chart(lines, **{"title": "SNR (dB)", "note": "more", "x": "kbps", **told}))


def _line(values, name="a", look=0, spread=0.0):
    return Series(name, look, False, [Dot(float(x), y, y - spread, y + spread, f"{x}: {y}") for x, y in values])


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e6), st.integers(3, 9))
def test_ticks_are_round_even_and_few(low, span, most):
    found = ticks(low, low + span, most=most)
    assert 1 <= len(found) <= most + 1
    slack = 1e-9 * (abs(low) + span)
    assert all(low - slack <= tick <= low + span + slack for tick in found)
    steps = [after - before for before, after in pairwise(found)]
    assert all(math.isclose(step, steps[0], rel_tol=1e-3) for step in steps)
    assert all(f"{step:.0e}"[0] in "125" for step in steps)


@given(st.floats(0.05, 500), st.floats(1.6, 200))
def test_rate_ticks_lie_inside_and_there_are_some(low, factor):
    found = rate_ticks(low, low * factor)
    assert found == sorted(set(found))
    assert len(found) >= 1
    assert all(low <= tick <= low * factor for tick in found)


def test_twice_the_rate_is_as_far_everywhere_and_more_is_higher():
    (a, b, c) = _places(_chart(_line([(1, 3.0), (2, 5.0), (4, 4.0)])))
    assert b[0] - a[0] == pytest.approx(c[0] - b[0], abs=0.11)
    assert b[1] < c[1] < a[1]
    assert (a[1] - b[1]) == pytest.approx(2 * (c[1] - b[1]), abs=0.21)


def test_a_mark_stands_on_the_tick_of_its_value():
    tree = _chart(_line([(1, 0.0), (5, 20.0), (10, 40.0)]))
    labels = {text.text: (float(text.get("x")), float(text.get("y"))) for text in tree.iter("text")}
    for (x, y), (rate, value) in zip(_places(tree), [("1", "0"), ("5", "20"), ("10", "40")], strict=True):
        assert labels[rate][0] == pytest.approx(x, abs=0.11)
        assert labels[value][1] - 3.8 == pytest.approx(y, abs=0.11)


def test_a_band_encloses_its_line_and_needs_an_interval():
    assert not [path for path in _chart(_line([(1, 1.0), (2, 2.0)])).iter("path") if "band" in path.get("class", "")]
    tree = _chart(_line([(1, 1.0), (2, 2.0)], spread=0.1))
    (band,) = [path for path in tree.iter("path") if "band" in path.get("class", "")]
    upper_left, upper_right, lower_right, lower_left = (
        tuple(map(float, point.split())) for point in band.get("d")[1:-1].split("L")
    )
    left, right = _places(tree)
    assert upper_left[0] == left[0] == lower_left[0]
    assert upper_right[0] == right[0] == lower_right[0]
    assert left[1] - upper_left[1] == pytest.approx(lower_left[1] - left[1], abs=0.11)
    assert upper_left[1] < left[1] < lower_left[1]


def test_a_huge_interval_does_not_flatten_the_means():
    marks = _places(_chart(_line([(1, 1.0), (2, 2.0)], spread=1000.0)))
    assert marks[0][1] - marks[1][1] > 50


@pytest.mark.parametrize("values", [[(3.0, 0.0)], [(3.0, -2.5)], [(1.0, 4.0), (2.0, 4.0)]])
def test_one_point_or_one_value_is_drawn_in_the_middle(values):
    for x, y in _places(_chart(_line(values))):
        assert 40 <= x <= 300
        assert 40 < y < 120


def test_colour_and_mark_of_the_legend_are_those_of_the_chart():
    lines = [_line([(1, 1.0), (2, 2.0)], name=f"<{look}>", look=look) for look in range(8)]
    chart, keys = _chart(*lines), _tree(legend(lines))
    drawn = [
        (group.get("class"), ET.tostring(group[1][1]))
        for group in chart.iter("g")
        if group.get("class", "").startswith("hue")
    ]
    told = [(item[0].get("class"), ET.tostring(item[0][1])) for item in keys.iter("li")]
    assert [hue for hue, _ in drawn] == [hue for hue, _ in told]
    assert len({hue for hue, _ in drawn}) == len({mark for _, mark in drawn}) == 8
    assert [item[0].tail for item in keys.iter("li")] == [f"<{look}>" for look in range(8)]


def test_names_are_escaped():
    text = '<script>&"'
    tree = _chart(
        Series(text, 0, True, [Dot(1.0, 1.0, 1.0, 1.0, text), Dot(2.0, 2.0, 2.0, 2.0, text)]),
        title=text,
        note=text,
        x=text,
    )
    assert [title.text for title in tree.iter("title")] == [text, text]
    assert not list(tree.iter("script"))


def test_shares_are_numbers_and_depths_of_colour():
    tree = _tree(share_table(["level", "more"], ["1", "2"], [(("<a>", "<b>"), [1.0, 0.25]), (("b", ""), [0.5, 0.0])]))
    assert [cell.text for cell in tree.iter("th")] == ["level", "more", "1", "2"]
    assert [cell.text for cell in tree.iter("td") if not len(cell)] == ["<a>", "<b>", "b", None]
    cells = [cell for cell in tree.iter("td") if cell.get("class") == "share"]
    assert [cell[0].text for cell in cells] == ["1.00", "0.25", "0.50", None]
    assert [cell.get("style") for cell in cells] == ["--share:1.000", "--share:0.250", "--share:0.500", "--share:0.000"]
