"""What a figure was measured with: the machine and the versions."""

import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import torch

_CPU_INFO = Path("/proc/cpuinfo")


def machine(packages: Iterable[str] = ("torch", "numpy")) -> dict[str, object]:
    """Processor, threads and versions; packages that are not installed are left out."""
    return {
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version for name in packages if (version := _version(name))},
    }


def _processor() -> str:
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
