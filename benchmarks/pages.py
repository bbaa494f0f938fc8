"""Results as the Markdown of documentation pages."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TITLES = {
    "kbps": "kbps of files",
    "pesq": "PESQ",
    "weighted_snr": "weighted SNR, dB",
    "stoi": "STOI",
    "visqol_speech": "ViSQOL",
    "si_sdr": "SI-SDR, dB",
}


def read(name: str) -> dict[str, Any]:
    """A file of results."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def source(result: dict[str, Any]) -> str:
    """The command, the date and the machine of results."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return f"`{result['command']}`, {result['date']}: {machine['processor']}, {threads}; {versions}.\n"


def mean_cell(row: dict[str, Any], column: str, *, digits: int = 2) -> str:
    """A mean with half its confidence interval, where a row has one."""
    if column not in row:
        return ""
    found = row[column]
    return f"{found['mean']:.{digits}f} ± {(found['high'] - found['low']) / 2:.{digits}f}"


def reader_table(result: dict[str, Any], columns: Sequence[str]) -> str:
    """Systems at their settings, for every reader."""
    rows = [
        [row["reader"], row["system"], row["setting"], *(mean_cell(row, column) for column in columns)]
        for row in result["rows"]
    ]
    return table(["reader", "", "asked for", *(TITLES[column] for column in columns)], rows)
