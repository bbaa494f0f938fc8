"""What every benchmark writes beside its numbers: the machine, the versions and the command."""

import itertools
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch

RESULTS = Path(__file__).parent.parent / "results"
_PLACES = {"--data": "DATA", "--model": "MODEL", "--official": "DIRECTORY"}  # instead of this machine's paths


def machine() -> dict[str, object]:
    """Processor, threads and versions."""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    packages = ["torch", "numpy", "faiss-cpu", "scikit-learn", "vector-quantize-pytorch", "transformers"]
    return {
        "processor": cpu or platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages if _installed(name)},
    }


def write(name: str, rows: object, **more: object) -> Path:
    """Write ``results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    words = [_PLACES.get(before, word) for before, word in itertools.pairwise(sys.argv)]
    command = shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *words])
    path = RESULTS / f"{name}.json"
    content = {"command": command, "date": time.strftime("%Y-%m-%d"), "machine": machine(), **more, "rows": rows}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def alternate(ours: Callable[[], object], peer: Callable[[], object], runs: int) -> tuple[list[float], list[float]]:
    """CPU seconds of two calls in turn, so that a machine whose speed drifts drifts for both."""
    ours(), peer()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for call, kept in zip((ours, peer), times, strict=True):
            start = time.process_time()
            call()
            kept.append(time.process_time() - start)
    return times


def median(values: list[float]) -> float:
    """The middle value."""
    return sorted(values)[len(values) // 2]


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
