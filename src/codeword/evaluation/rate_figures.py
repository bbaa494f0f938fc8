"""Lines of rate and quality as charts and tables, whatever was coded."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from codeword.evaluation.bd_rate import Curve, bd_rate
from codeword.evaluation.charts import Dot, Series, legend, line_chart
from codeword.evaluation.intervals import Interval

NONE = "\N{EN DASH}"


class RatePoint(NamedTuple):
    """A system at one setting.

    Attributes:
        setting: What was asked for.
        rate: What the files took.
        metrics: Measures by their names.
    """

    setting: str
    rate: Interval
    metrics: Mapping[str, Interval]


@runtime_checkable
class Told(Protocol):
    """What is to be said of a measure."""

    @property
    def title(self) -> str:
        """Its usual name."""
        ...

    @property
    def unit(self) -> str:
        """What it is measured in; empty for a number."""
        ...

    @property
    def rising(self) -> bool:
        """Whether more is better."""
        ...

    @property
    def digits(self) -> int:
        """How many to print after the point."""
        ...


class RateFigures:
    """Charts and tables of some systems.

    Args:
        lines: Points of every system, from few bits to many, by the name in the legend.
        measures: What there is to say of every measure, in order; those that no point has are left out.
        unit: Of rates.
        own: The line that others are compared with.
        plain: How many of the first lines are whole; the others are dashed.
        digits: Of rates, after the point.
    """

    def __init__(
        self,
        lines: Mapping[str, Sequence[RatePoint]],
        measures: Mapping[str, Told],
        *,
        unit: str,
        own: str,
        plain: int = 2,
        digits: int = 2,
    ) -> None:
        self._lines, self._unit, self._own, self._plain, self._digits = lines, unit, own, plain, digits
        points = [point for line in lines.values() for point in line]
        self._measures = {
            name: told for name, told in measures.items() if any(name in point.metrics for point in points)
        }

    def charts(self) -> str:
        """A chart for every measure, with a line and a band for every system."""
        charts = [
            line_chart(
                [
                    Series(name, look, look >= self._plain, self._dots(name, points, metric))
                    for look, (name, points) in enumerate(self._lines.items())
                ],
                title=title(told),
                note="\N{UPWARDS ARROW} more is better" if told.rising else "\N{DOWNWARDS ARROW} less is better",
                x=self._unit,
            )
            for metric, told in self._measures.items()
        ]
        keys = [Series(name, look, look >= self._plain, ()) for look, name in enumerate(self._lines)]
        return f'{legend(keys)}<div class="charts">{"".join(charts)}</div>'

    def rows(self) -> list[list[str]]:
        """Rates and measures of every point, with half the width of their intervals."""
        rows = [["system", "setting", self._unit, *map(title, self._measures.values())]]
        for system, points in self._lines.items():
            for point in points:
                cells = [with_reach(point.metrics.get(name), told.digits) for name, told in self._measures.items()]
                rows.append([system, point.setting, with_reach(point.rate, self._digits), *cells])
        return rows

    def bd_rows(self) -> list[list[str]]:
        """BD-rates: bits that one system needs beyond every other; empty without a number."""
        own = self._lines.get(self._own)
        others = {name: points for name, points in self._lines.items() if name != self._own}
        if own is None or not others:
            return []
        rows = [
            [f"beside {name}", *(self._bd_rate(points, own, metric) for metric in self._measures)]
            for name, points in others.items()
        ]
        if all(cell == NONE for _, *cells in rows for cell in cells):
            return []
        return [[f"bits of {self._own}", *(told.title for told in self._measures.values())], *rows]

    def _dots(self, system: str, points: Sequence[RatePoint], metric: str) -> list[Dot]:
        told = self._measures[metric]
        return [
            Dot(
                point.rate.mean,
                *point.metrics[metric],
                f"{system}, {point.setting}: {point.rate.mean:.{self._digits}f} {self._unit}, {told.title} "
                f"{with_reach(point.metrics[metric], told.digits)} {told.unit}".rstrip(),
            )
            for point in points
            if metric in point.metrics
        ]

    def _bd_rate(self, reference: Sequence[RatePoint], test: Sequence[RatePoint], metric: str) -> str:
        try:
            return _minus(f"{bd_rate(self._curve(reference, metric), self._curve(test, metric)):+.1f} %")
        except ValueError:
            return NONE

    def _curve(self, points: Sequence[RatePoint], metric: str) -> Curve:
        sign = 1.0 if self._measures[metric].rising else -1.0
        known = [point for point in points if metric in point.metrics]
        return Curve([point.rate.mean for point in known], [sign * point.metrics[metric].mean for point in known])


def title(told: Told) -> str:
    """A measure and its unit."""
    return f"{told.title} ({told.unit})" if told.unit else told.title


def with_reach(value: Interval | None, digits: int) -> str:
    """A mean and half the width of its interval."""
    if value is None:
        return NONE
    reach = (value.high - value.low) / 2
    return _minus(f"{value.mean:.{digits}f}") + (f" \N{PLUS-MINUS SIGN} {reach:.{digits}f}" if reach else "")


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")
