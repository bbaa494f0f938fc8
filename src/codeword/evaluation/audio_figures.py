"""What an evaluation of an audio model found, as charts and tables."""

from collections.abc import Mapping, Sequence

from codeword.evaluation.audio_results import AudioEvaluation, Point
from codeword.evaluation.audio_scores import METRICS
from codeword.evaluation.charts import share_table
from codeword.evaluation.rate_figures import RateFigures, RatePoint

_NAMES = {
    "variable": "variable depth",
    "constant": "constant depth",
    "lines": "lines under envelopes",
    "opus": "Opus",
    "aac": "AAC",
    "mp3": "MP3",
    "lc3": "LC3",
    "codec2": "Codec 2",
    "amr-wb": "AMR-WB",
}


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


def figures(evaluation: AudioEvaluation) -> RateFigures:
    """Charts and tables of rate and quality."""
    lines = {
        name: [RatePoint(point.setting, point.kbps, point.metrics) for point in points]
        for name, points in curves(evaluation).items()
    }
    ours = list(dict.fromkeys(name(point) for point in evaluation.points if point.kind != "peer"))
    return RateFigures(lines, METRICS, unit="kbps", own=ours[0], plain=len(ours))


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


def _setting(point: Point) -> str:
    return f"{point.kbps.mean:.2f} kbps ({point.setting})"
