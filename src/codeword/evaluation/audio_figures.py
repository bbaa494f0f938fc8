"""What an evaluation of an audio model found, as charts and tables."""

from collections.abc import Mapping, Sequence

from codeword.evaluation.audio_results import AudioEvaluation, Interval, Point
from codeword.evaluation.audio_scores import METRICS
from codeword.evaluation.bd_rate import Curve, bd_rate
from codeword.evaluation.charts import Dot, Series, legend, line_chart, share_table

_NAMES = {
    "variable": "variable depth",
    "constant": "constant depth",
    "opus": "Opus",
    "aac": "AAC",
    "mp3": "MP3",
    "lc3": "LC3",
    "codec2": "Codec 2",
    "amr-wb": "AMR-WB",
}
_NONE = "\N{EN DASH}"


def curves(evaluation: AudioEvaluation) -> Mapping[str, tuple[Point, ...]]:
    """Points of every line, from few bits to many, by the name in the legend; those of the model first."""
    found: dict[str, list[Point]] = {}
    for point in evaluation.points:
        found.setdefault(name(point), []).append(point)
    return {name: tuple(sorted(points, key=lambda point: point.kbps.mean)) for name, points in found.items()}


def name(point: Point) -> str:
    """Of the line that a point is on."""
    told = point.system if point.kind == "peer" else point.kind
    return _NAMES.get(told, told)


def metrics(evaluation: AudioEvaluation) -> list[str]:
    """Names of the measures that any point has, in the order in which they are known."""
    return [name for name in METRICS if any(name in point.metrics for point in evaluation.points)]


def quality_charts(evaluation: AudioEvaluation) -> str:
    """A chart for every measure, with a line and a band for every system."""
    lines = curves(evaluation)
    charts = [
        line_chart(
            [
                Series(name, look, look >= 2, _dots(name, points, metric))
                for look, (name, points) in enumerate(lines.items())
            ],
            title=_title(metric),
            note="\N{UPWARDS ARROW} more is better" if METRICS[metric].rising else "\N{DOWNWARDS ARROW} less is better",
            x="kbps",
        )
        for metric in metrics(evaluation)
    ]
    keys = [Series(name, look, look >= 2, ()) for look, name in enumerate(lines)]
    return f'{legend(keys)}<div class="charts">{"".join(charts)}</div>'


def quality_rows(evaluation: AudioEvaluation) -> list[list[str]]:
    """Rates and measures of every point, with half the width of their intervals."""
    names = metrics(evaluation)
    rows = [["system", "setting", "kbps", *(_title(name) for name in names)]]
    for system, points in curves(evaluation).items():
        for point in points:
            cells = [_with_reach(point.metrics.get(name), METRICS[name].digits) for name in names]
            rows.append([system, point.setting, _with_reach(point.kbps, 2), *cells])
    return rows


def rate_rows(evaluation: AudioEvaluation) -> list[list[str]]:
    """BD-rates: bits that the model with variable depth needs beyond every other line; empty without a number."""
    lines, names = curves(evaluation), metrics(evaluation)
    own = lines.get(_NAMES["variable"])
    others = {name: points for name, points in lines.items() if name != _NAMES["variable"]}
    if own is None or not others:
        return []
    rows = [[f"beside {name}", *(_bd_rate(points, own, metric) for metric in names)] for name, points in others.items()]
    if all(cell == _NONE for _, *cells in rows for cell in cells):
        return []
    return [["bits of variable depth", *(METRICS[name].title for name in names)], *rows]


def reached_table(points: Sequence[Point], levels: int) -> str:
    """The share of frames that spend each level; how many they spend on the average, and what saying so costs."""
    rows = [
        (
            (_setting(point), f"{point.mean_levels or 0.0:.2f}", f"{point.depth_share or 0.0:.1%}"),
            [sum((point.depths or ())[level:]) for level in range(levels)],
        )
        for point in points
    ]
    titles = ("frames that spend level", "mean", "bytes for depths")
    return share_table(titles, [str(level + 1) for level in range(levels)], rows)


def usage_table(points: Sequence[Point], levels: int) -> str:
    """How evenly each level uses its codewords."""
    rows = [((_setting(point),), point.usage or ()) for point in points]
    return share_table(("evenness of level",), [str(level + 1) for level in range(levels)], rows)


def _dots(system: str, points: Sequence[Point], metric: str) -> list[Dot]:
    told = METRICS[metric]
    return [
        Dot(
            point.kbps.mean,
            *point.metrics[metric],
            f"{system}, {point.setting}: {point.kbps.mean:.2f} kbps, {told.title} "
            f"{_with_reach(point.metrics[metric], told.digits)} {told.unit}".rstrip(),
        )
        for point in points
        if metric in point.metrics
    ]


def _bd_rate(reference: Sequence[Point], test: Sequence[Point], metric: str) -> str:
    try:
        return _minus(f"{bd_rate(_curve(reference, metric), _curve(test, metric)):+.1f} %")
    except ValueError:
        return _NONE


def _curve(points: Sequence[Point], metric: str) -> Curve:
    sign = 1.0 if METRICS[metric].rising else -1.0
    known = [point for point in points if metric in point.metrics]
    return Curve([point.kbps.mean for point in known], [sign * point.metrics[metric].mean for point in known])


def _title(metric: str) -> str:
    told = METRICS[metric]
    return f"{told.title} ({told.unit})" if told.unit else told.title


def _setting(point: Point) -> str:
    return f"{point.kbps.mean:.2f} kbps ({point.setting})"


def _with_reach(value: Interval | None, digits: int) -> str:
    if value is None:
        return _NONE
    reach = (value.high - value.low) / 2
    return _minus(f"{value.mean:.{digits}f}") + (f" \N{PLUS-MINUS SIGN} {reach:.{digits}f}" if reach else "")


def _minus(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")
