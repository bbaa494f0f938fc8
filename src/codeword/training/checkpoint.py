"""Checkpoints: one safetensors file that holds everything a run needs to go on, and no pickle.

Tensors are the tensors of the file; all else, such as learning rates and the state of generators, is JSON in its
header. A file appears under its name complete or not at all.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from codeword.formats.atomic import atomic_write

FORMAT, VERSION = "codeword checkpoint", 1
_TENSOR, _PAIRS, _TUPLE = "tensor", "pairs", "tuple"


class CheckpointError(ValueError):
    """A checkpoint that cannot be read or does not fit; the message is one line that names the file."""


def save_checkpoint(path: Path, state: Mapping[str, object]) -> None:
    """Write a state: tensors, numbers, strings, ``None``, and lists, tuples and dicts of them.

    Raises:
        ValueError: If something else is in it.
        WriteError: If the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    plain = _pack(state, "state", tensors)
    # One entry: safetensors writes several in no fixed order, and equal states should give equal bytes.
    header = json.dumps({"version": VERSION, "state": plain})
    with atomic_write(path) as file:
        file.write(save(tensors, {FORMAT: header}))


def load_checkpoint(path: Path) -> dict[str, object]:
    """Read a state back, on the CPU, equal to the last bit.

    Raises:
        CheckpointError: If the file is missing, damaged, or no checkpoint of this version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(FORMAT)
            if text is None:
                raise CheckpointError(f"{path} is no checkpoint of codeword: give the folder of a training run")
            header = json.loads(text)
            if header["version"] != VERSION:
                raise CheckpointError(
                    f"{path} is of version {header['version']}; this codeword reads version {VERSION}"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        state = _unpack(header["state"], tensors)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist") from error
    except CheckpointError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is damaged: it holds a {type(state).__name__} where a state was expected")
    return state


def _pack(value: object, name: str, tensors: dict[str, Tensor]) -> object:
    """JSON for a value; its tensors go into ``tensors`` under their path."""
    if isinstance(value, Tensor):
        # A copy of its own, because safetensors refuses tensors that share memory, and tied weights do.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: name}
    if isinstance(value, Mapping):  # pairs, because the keys of an optimizer's state are integers
        return {_PAIRS: [[key, _pack(part, f"{name}.{key}", tensors)] for key, part in value.items()]}
    if isinstance(value, Sequence) and not isinstance(value, str):
        parts = [_pack(part, f"{name}.{place}", tensors) for place, part in enumerate(value)]
        return {_TUPLE: parts} if isinstance(value, tuple) else parts
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"a checkpoint holds tensors and plain values: {name} is a {type(value).__name__}")


def _unpack(value: object, tensors: Mapping[str, Tensor]) -> object:
    if isinstance(value, list):
        return [_unpack(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == _TENSOR:
        return tensors[content]
    if kind == _TUPLE:
        return tuple(_unpack(part, tensors) for part in content)
    return {key: _unpack(part, tensors) for key, part in content}


def remove_parts(path: Path) -> None:
    """Remove what a kill in the middle of writing ``path`` has left beside it."""
    for part in path.parent.glob(f".{escape(path.name)}.*.part"):
        part.unlink(missing_ok=True)


def random_state(device: torch.device) -> dict[str, object]:
    """The state of this process's generators: PyTorch's on the CPU and on ``device``, and Python's.

    Note:
        NumPy's global generator is left out: codeword never draws from it.
    """
    version, numbers, spare = random.getstate()
    state: dict[str, object] = {
        "torch": torch.get_rng_state(),
        "python": (version, torch.tensor(numbers, dtype=torch.int64), spare),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put the generators back to where ``random_state`` found them."""
    version, numbers, spare = state["python"]
    random.setstate((version, tuple(numbers.tolist()), spare))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


@contextmanager
def random_unchanged(device: torch.device) -> Iterator[None]:
    """Afterwards the generators are where they were, whatever was drawn inside."""
    state = random_state(device)
    try:
        yield
    finally:
        set_random_state(state, device)
