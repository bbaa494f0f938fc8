"""Of what run the parts in a folder are: a pretraining goes on only with the settings and data it was begun with."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path

from codeword.formats.atomic import atomic_write
from codeword.functional.ranks import rank
from codeword.quantizers.config import describe
from codeword.training.loop_config import LoopConfig

_FILE = "run.json"
_WITHOUT_EFFECT = ("iterations", "recompute", "ahead")  # on what is finished already
_OF_LOOPS = ("accumulate", "precision", "clip_norm", "average_decay", "keep_best", "seed")


def same_run(folder: Path, settings: object, data: Mapping[str, Mapping[str, object]]) -> None:
    """Note what a folder is of, or compare it with what was noted.

    Args:
        folder: Of the parts of a pretraining; made if it is not there.
        settings: A dataclass, perhaps of others. Its number of iterations may differ, and what changes no number.
        data: What samples say of themselves, by their purpose.

    Raises:
        ValueError: In one line that names the first difference, if the folder is of another run.
    """
    now = dict(_told("", settings))
    now |= {f"{name} {key}": value for name, part in data.items() for key, value in part.items()}
    now = json.loads(json.dumps(now))
    path = folder / _FILE
    if not path.is_file():
        if rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as file:
                file.write(json.dumps(now, indent=1).encode())
        return
    was = json.loads(path.read_text())
    for name, value in now.items():
        if was.get(name) != value:
            raise ValueError(
                f"{folder} holds an interrupted run with another {name} ({_short(was.get(name))}, now "
                f"{_short(value)}): go on with the same, or remove the folder to start anew"
            )


def _told(name: str, value: object) -> Iterator[tuple[str, object]]:
    """A value as plain ones; fields of dataclasses one by one, by their names."""
    if isinstance(value, tuple):
        yield name, [dict(_told("", part)).get("", dict(_told("", part))) for part in value]
    elif is_dataclass(value) and not isinstance(value, type):
        yield f"{name} kind".strip(), type(value).__name__
        for part in fields(value):
            if part.name not in _WITHOUT_EFFECT and (not isinstance(value, LoopConfig) or part.name in _OF_LOOPS):
                yield from _told(f"{name} {part.name}".strip(), getattr(value, part.name))
    else:
        yield name, describe(value)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
