"""The folder of a model with entropy tables: networks, tables, and the fingerprint of what decodes."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import nn

from codeword.entropy.frames import FrameTables
from codeword.quantizers.config import describe
from codeword.quantizers.storage import CONFIG, WEIGHTS, read_module, write_module

TABLES = "tables.safetensors"
FILES = [CONFIG, WEIGHTS, TABLES]


def digest(model: nn.Module, arguments: Mapping[str, object], decodes: Callable[[str], bool]) -> str:
    """SHA-256, in hexadecimal, of what turns codes into a signal.

    Args:
        model: Whose weights.
        arguments: What builds it again.
        decodes: Whether the state of this name takes part.
    """
    described = {name: describe(value) for name, value in arguments.items()}
    found = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        if decodes(name):
            found.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def located_in(shipped: Path, model: Path) -> Path:
    """The folder of a model: the given one, or else that of a model of this name among those that are shipped."""
    own = shipped / model
    return own if len(model.parts) == 1 and not model.exists() and own.is_dir() else model


def write_model(folder: Path, model: nn.Module, kind: str, tables: FrameTables | None, *, half: bool = False) -> None:
    """Write a model and its tables into an existing folder.

    Args:
        folder: Where.
        model: As ``write_module`` takes it.
        kind: Its word for itself.
        tables: Its tables.
        half: Whether to write weights in half precision, and nothing that only training needs; the model that is read
            again has another fingerprint.
    """
    write_module(folder, model, kind, dtype=torch.float16 if half else None, statistics=not half)
    if tables is not None:
        (folder / TABLES).write_bytes(save(tables.arrays()))


def read_model(folder: Path, kind: str, sizes: Callable[[nn.Module], tuple[int, ...]], *, advice: str) -> nn.Module:
    """The model of a folder, whose tables, where there are some, are of its sizes.

    Args:
        folder: Where.
        kind: Its word for itself.
        sizes: Codebook sizes of a model; ``ValueError`` if it is none of this kind.
        advice: What to give instead of a folder that is not there.

    Raises:
        ValueError: In one line that names the folder, if it holds no model or a damaged one.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no model {folder}: give {advice}")
    model = read_module(folder, kind)
    tables = read_frame_tables(folder)
    if tables is not None and tables.sizes != sizes(model):
        raise ValueError(f"{folder / TABLES} belongs to another model: restore the one that {folder} was saved with")
    return model


def read_frame_tables(folder: Path) -> FrameTables | None:
    """The tables of a model, or nothing if it has none.

    Raises:
        ValueError: In one line, if they are damaged.
    """
    path = folder / TABLES
    if not path.is_file():
        return None
    try:
        return FrameTables.from_arrays(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged, restore the model or train it again: {what}") from error
