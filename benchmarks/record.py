"""What every benchmark writes beside its numbers: the machine, the versions and the command."""

import itertools
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from codeword.evaluation.machine import machine

RESULTS = Path(__file__).parent.parent / "results"
# What is written instead of paths of a machine.
_PLACES = {
    "--data": "DATA",
    "--model": "MODEL",
    "--official": "DIRECTORY",
    "--take": "MODEL",
}

_PACKAGES = ("torch", "numpy", "faiss-cpu", "scikit-learn", "vector-quantize-pytorch", "transformers")


def write(name: str, rows: object, **more: object) -> Path:
    """Write ``results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    words = [_PLACES.get(before, word) for before, word in itertools.pairwise(sys.argv)]
    command = shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *words])
    path = RESULTS / f"{name}.json"
    content = {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(_PACKAGES),
        **more,
        "rows": rows,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def alternate(ours: Callable[[], object], peer: Callable[[], object], runs: int) -> tuple[list[float], list[float]]:
    """CPU seconds of two calls in turn."""
    first, second = in_turn((ours, peer), runs)
    return first, second


def in_turn(calls: Sequence[Callable[[], object]], runs: int) -> list[list[float]]:
    """CPU seconds of every call in turn, so that a machine whose speed drifts drifts for all."""
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(runs):
        for call, kept in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            kept.append(time.process_time() - start)
    return times


def median(values: list[float]) -> float:
    """The middle value."""
    return sorted(values)[len(values) // 2]
