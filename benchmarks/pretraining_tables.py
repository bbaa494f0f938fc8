"""The sections of docs/results.md about pretraining."""

from statistics import fmean, stdev
from typing import Any

from benchmarks.pages import read, source, table


def pretraining_probes() -> str:
    result = read("pretraining_probes")
    rows = [
        [
            row["task"],
            row["variant"],
            row["pooling"],
            row["probe"],
            *(_mean(row[encoder]) for encoder in ("random", "iteration 1", "iteration 2", "gains")),
            f"{min(row['gains']):.3f}",
            str(len(row["gains"])),
        ]
        for row in result["rows"]
    ]
    title = ["random", "iteration 1", "iteration 2", "gain over random", "least gain", "seeds"]
    return (
        "Share of test items whose class is found from frozen features, mean and deviation over seeds. The recipes "
        "`small-image`, `small-audio` and `small-video`: a transformer of 4 blocks of 128, minutes of one core. Most "
        "runs are of an AMD EPYC, the last ones of an Intel Xeon.\n\n"
        + table(["task", "tokens", "pooling", "probe", *title], rows)
        + "\n"
        + source(result)
    )


def pretraining_again() -> str:
    result = read("pretraining_again")
    groups: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in result["rows"]:
        told = f"{row['figure']:.3f} ({row['before']:.3f})"
        groups.setdefault((row["task"], row["pooling"], row["probe"]), {})[row["encoder"]] = told
    encoders = ["random", "iteration 1", "iteration 2"]
    rows = [[*key, *(figures[name] for name in encoders)] for key, figures in groups.items()]
    changes = [abs(row["figure"] - row["before"]) for row in result["rows"] if row["encoder"] == "iteration 2"]
    about = (
        "Seed 0 once more on another processor, an Intel Xeon beside an AMD EPYC, whose figures stand in brackets. "
        "Sums in another order are enough: after some thousand steps the same seed is another sample. Figures of "
        f"single runs mean no more than that, {fmean(changes):.3f} on the average after two iterations and "
        f"{max(changes):.3f} at most.\n\n"
    )
    return about + table(["task", "pooling", "probe", *encoders], rows) + "\n" + source(result)


def pretraining_few() -> str:
    result = read("pretraining_few")
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in result["rows"]:
        groups.setdefault((row["task"], row["share"], row["start"]), []).append(row["accuracy"])
    rows = [
        [
            task,
            f"{share:.0%}",
            start,
            _mean(values),
            str(len(values)),
        ]
        for (task, share, start), values in groups.items()
    ]
    return (
        "Classifiers trained on a share of the labels, all layers, from a pretrained encoder and from nothing.\n\n"
        + table(["task", "labels", "start", "accuracy", "seeds"], rows)
        + "\n"
        + source(result)
    )


def pretraining_speed() -> str:
    result = read("pretraining_speed")
    rows = [
        [
            row["way"],
            f"{row['samples_per_cpu_second_without_caching']:.0f}",
            f"{row['caching_cpu_ms_per_sample']:.1f}",
            f"{row['samples_per_cpu_second']:.0f}",
            f"{row['ratio']:.2f}",
        ]
        for row in result["rows"]
    ]
    return (
        f"Samples per CPU second of the encoder phase, one core, 80 % masked; the last columns count the tokens of "
        f"{result['views']} views in, over {result['epochs']} epochs.\n\n"
        + table(["way", "without caching", "caching, ms a sample", "with caching", "ratio"], rows)
        + "\n"
        + source(result)
    )


def pretraining_baselines() -> str:
    result = read("pretraining_baselines")
    rows = [
        [
            row["task"],
            row["features"],
            str(row["test"]),
            f"{row['accuracy']:.3f}",
            f"{row['balanced']:.3f}",
            f"{row['chance']:.3f}",
        ]
        for row in result["rows"]
    ]
    return (
        "What simple features find in the same test items.\n\n"
        + table(["task", "features", "test items", "accuracy", "balanced", "chance"], rows)
        + "\n"
        + source(result)
    )


def _mean(values: list[float]) -> str:
    """Over seeds, with the deviation where there are several."""
    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")
