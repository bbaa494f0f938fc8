"""Line charts and tables of shares as markup that takes its colours from the page, light or dark."""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 300, 190  # units of a drawing; a letter is 11 high
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 6, 8, 34
_BEYOND = 0.5  # an interval widens the axis by no more than this share of the range of the means
_COARSE, _FINE = (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)  # numbers on a logarithmic axis, times a power of ten
_HUES = 8
# Around the origin: what tells series apart where colours do not.
_MARKERS = (
    '<circle r="3.2"/>',
    '<rect x="-2.9" y="-2.9" width="5.8" height="5.8"/>',
    '<path d="M0-3.8 3.6 2.8H-3.6z"/>',
    '<path d="M0-4.1 4.1 0 0 4.1-4.1 0z"/>',
    '<path d="M0 3.8 3.6-2.8H-3.6z"/>',
    '<path d="M-3.2-1.1H-1.1V-3.2H1.1V-1.1H3.2V1.1H1.1V3.2H-1.1V1.1H-3.2z"/>',
    '<rect x="-1.6" y="-3.6" width="3.2" height="7.2"/>',
    '<rect x="-3.6" y="-1.6" width="7.2" height="3.2"/>',
)


class Dot(NamedTuple):
    """A point of a line.

    Attributes:
        x: Where.
        y: Mean.
        low: Lower end of the interval.
        high: Upper end.
        told: Shown where the pointer rests on it.
    """

    x: float
    y: float
    low: float
    high: float
    told: str


class Series(NamedTuple):
    """A line with its band.

    Attributes:
        name: In the legend.
        look: Number that chooses colour and marker; the same in every chart of a page.
        dashed: Whether the line is broken.
        dots: From left to right.
    """

    name: str
    look: int
    dashed: bool
    dots: Sequence[Dot]


def legend(series: Sequence[Series]) -> str:
    """A list of lines, markers and names."""
    items = "".join(
        f'<li><svg viewBox="-20 -6 40 12" class="hue-{one.look % _HUES}" aria-hidden="true">'
        f'<path class="line{" dashed" if one.dashed else ""}" d="M-20 0H20"/>{_marker(one.look)}</svg>'
        f"{html.escape(one.name)}</li>"
        for one in series
    )
    return f'<ul class="legend">{items}</ul>'


def line_chart(series: Sequence[Series], *, title: str, note: str, x: str) -> str:
    """Lines over a logarithmic axis, with a band around each.

    Args:
        series: Lines; those without dots are left out.
        title: What is on the vertical axis, with its unit.
        note: Which way is good.
        x: What is on the horizontal axis, with its unit.
    """
    drawn = [one for one in series if one.dots]
    place = _Place.around([dot for one in drawn for dot in one.dots])
    grid = "".join(
        f'<path class="grid" d="M{_LEFT} {place.y(tick):.1f}H{WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 5}" y="{place.y(tick) + 3.8:.1f}" text-anchor="end">{_plain(tick)}</text>'
        for tick in ticks(place.bottom, place.top)
    ) + "".join(
        f'<path class="grid" d="M{place.x(tick):.1f} {HEIGHT - _BOTTOM}v4"/>'
        f'<text x="{place.x(tick):.1f}" y="{HEIGHT - _BOTTOM + 15}" text-anchor="middle">{_plain(tick)}</text>'
        for tick in rate_ticks(place.left, place.right)
    )
    body = "".join(_band(one, place) for one in drawn) + "".join(_line(one, place) for one in drawn)
    return (
        f'<figure class="chart"><figcaption><b>{html.escape(title)}</b> {html.escape(note)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">{grid}'
        f'<path class="axis" d="M{_LEFT} {HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>'
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{html.escape(x)}</text>'
        f'<svg x="{_LEFT}" y="0" width="{WIDTH - _LEFT}" height="{HEIGHT - _BOTTOM}" '
        f'viewBox="{_LEFT} 0 {WIDTH - _LEFT} {HEIGHT - _BOTTOM}">{body}</svg></svg></figure>'
    )


def share_table(
    titles: Sequence[str], columns: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[float]]]
) -> str:
    """Numbers between 0 and 1 on a ground that deepens with them; nothing for 0.

    Args:
        titles: Of columns of text.
        columns: Of columns of numbers.
        rows: Texts and numbers.
    """
    head = "".join(f"<th>{html.escape(name)}</th>" for name in (*titles, *columns))
    body = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(text)}</td>" for text in texts)
        + "".join(
            f'<td class="share" style="--share:{value:.3f}"><span>{f"{value:.2f}" if value else ""}</span></td>'
            for value in values
        )
        + "</tr>"
        for texts, values in rows
    )
    return f'<div class="wide"><table class="shares"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round numbers between two others, at most so many."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    return [float(f"{number * step:.12g}") for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def rate_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two others, for a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    for numbers in (_COARSE, _FINE):
        found = [round(number * 10.0**decade, 10) for decade in decades for number in numbers]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= 4:
            break
    return inside


class _Place(NamedTuple):
    """From values to units of the drawing."""

    left: float
    right: float
    bottom: float
    top: float

    @classmethod
    def around(cls, dots: Sequence[Dot]) -> "_Place":
        values = [dot.y for dot in dots]
        low, high = min(values), max(values)
        reach = _BEYOND * (high - low)
        bottom = max(min(dot.low for dot in dots), low - reach)
        top = min(max(dot.high for dot in dots), high + reach)
        margin = 0.06 * (top - bottom) or 0.5 * abs(top) or 1.0
        left, right = min(dot.x for dot in dots), max(dot.x for dot in dots)
        return cls(left / 1.08, right * 1.08, bottom - margin, top + margin)

    def x(self, value: float) -> float:
        share = math.log(value / self.left) / math.log(self.right / self.left)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.bottom) / (self.top - self.bottom)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _BOTTOM - _TOP)


def _band(one: Series, place: _Place) -> str:
    if all(dot.low == dot.high for dot in one.dots):
        return ""
    upper = [f"{place.x(dot.x):.1f} {place.y(dot.high):.1f}" for dot in one.dots]
    lower = [f"{place.x(dot.x):.1f} {place.y(dot.low):.1f}" for dot in reversed(one.dots)]
    return f'<path class="band hue-{one.look % _HUES}" d="M{"L".join(upper + lower)}z"/>'


def _line(one: Series, place: _Place) -> str:
    points = [f"{place.x(dot.x):.1f} {place.y(dot.y):.1f}" for dot in one.dots]
    marks = "".join(
        f'<g transform="translate({point})"><title>{html.escape(dot.told)}</title>{_marker(one.look)}</g>'
        for point, dot in zip(points, one.dots, strict=True)
    )
    dashed = " dashed" if one.dashed else ""
    return f'<g class="hue-{one.look % _HUES}"><path class="line{dashed}" d="M{"L".join(points)}"/>{marks}</g>'


def _marker(look: int) -> str:
    return _MARKERS[look % len(_MARKERS)]


def _plain(value: float) -> str:
    return f"{value:.10g}".replace("-", "\N{MINUS SIGN}")
