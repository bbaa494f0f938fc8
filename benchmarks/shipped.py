"""What measurements of the models for speech that come with codeword share: readers, rows, arguments, cards."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.pages import TITLES
from benchmarks.record import RESULTS
from codeword.data.audio_corpus import Corpus
from codeword.evaluation.audio_results import Point

SETS = {  # a reader whose other sentences were learned from, and one never heard
    "nsh": "the Russian reader of the training, other sentences",
    "fr_CA_f_June": "a French reader who is not in the training",
}
_SHORTEST = 4.0


def chosen(corpus: Corpus, group: str) -> Corpus:
    """Test recordings of a reader, long enough for a rate to mean something."""
    clips = tuple(
        clip for clip in corpus.only(split="test").clips if clip.entry.group == group and clip.seconds >= _SHORTEST
    )
    return Corpus(clips)


def row(group: str, point: Point) -> dict[str, object]:
    """A point as a line of the results."""
    values = {name: value._asdict() for name, value in point.metrics.items()}
    return {"reader": group, "system": point.system, "setting": point.setting, "kbps": point.kbps._asdict(), **values}


def page(rows: list[dict[str, object]], head: str, columns: Sequence[str], tail: str) -> str:
    """A model card, from the same numbers as the results.

    Args:
        rows: Points of every reader.
        head: What comes before the tables.
        columns: The names of measures.
        tail: What comes after.
    """
    lines = [head]
    for group, words in SETS.items():
        lines += [
            f"\nOn {words}:\n",
            f"| | {' | '.join(TITLES[name] for name in columns)} |",
            "|---" * (len(columns) + 1) + "|",
        ]
        for found in rows:
            if found["reader"] == group:
                cells = [f"{found[name]['mean']:.2f}" if name in found else "" for name in columns]
                lines.append(f"| {found['system']}, {found['setting']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" + tail


def begun(doc: str, name: str, take: Callable[[Path], None]) -> tuple[argparse.Namespace, int]:
    """Arguments, and the steps of the shipped model's training; a trained model is taken first.

    Args:
        doc: Of the benchmark.
        name: Of its results, which know the steps of the last model.
        take: Makes a trained model the shipped one.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--take", type=Path)
    parser.add_argument("--steps", type=int, help="of the training of what is taken, for the card")
    parser.add_argument("--clips", type=int, default=16, help="of every reader")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    steps = arguments.steps or json.loads((RESULTS / f"{name}.json").read_text())["steps"]
    if arguments.take is not None:
        take(arguments.take)
    return arguments, steps
