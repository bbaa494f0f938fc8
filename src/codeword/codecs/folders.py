"""The folder of a model with entropy tables: networks, tables, and the fingerprint of what decodes."""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import nn

from codeword.entropy.frames import FrameTables
from codeword.quantizers.config import Plain, describe
from codeword.quantizers.storage import CONFIG, WEIGHTS, read_module, write_module

TABLES = "tables.safetensors"
FILES = [CONFIG, WEIGHTS, TABLES]
# States of quantizers that decoding uses.
DECODING = {"table", "transform", "rotation", "mean", "deviation", "weight", "bias"}
_MAKING_CODES = {  # arguments that decoding does not use
    "detached",
    "dropout",
    "encoder_blocks",
    "estimator",
    "importance",
    "kernels",
    "learning",
    "revival",
    "search",
    "seeding",
    "surrogate",
}


@runtime_checkable
class Sized(Protocol):
    """Tables of some codebooks."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codebook sizes."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """The tables under their names, for a safetensors file."""
        ...


M = TypeVar("M", bound=nn.Module)
T = TypeVar("T", bound=Sized | None)


def decoding(config: Plain) -> Plain:
    """A configuration without what only training and encoding use."""
    if isinstance(config, list):
        return [decoding(part) for part in config]
    if isinstance(config, dict):
        return {key: decoding(value) for key, value in config.items() if key not in _MAKING_CODES}
    return config


def digest(model: nn.Module, arguments: Mapping[str, object], decodes: Callable[[str], bool]) -> str:
    """SHA-256, in hexadecimal, of what turns codes into a signal.

    Args:
        model: Whose weights.
        arguments: What builds it again; what only training and encoding use has no part in it.
        decodes: Whether the state of this name takes part.
    """
    described = decoding({name: describe(value) for name, value in arguments.items()})
    found = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        if decodes(name):
            found.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def located_in(shipped: Path, model: Path) -> Path:
    """The folder of a model: the given one, or else that of a model of this name among those that are shipped."""
    own = shipped / model
    return own if len(model.parts) == 1 and not (model / CONFIG).exists() and own.is_dir() else model


def write_model(folder: Path, model: nn.Module, kind: str, tables: Sized | None, *, half: bool = False) -> None:
    """Write a model and its tables into an existing folder.

    Args:
        folder: Where.
        model: As ``write_module`` takes it.
        kind: Its word for itself.
        tables: Its tables.
        half: Whether to write weights in half precision, and nothing that only training needs; the model that is read
            again has another fingerprint.
    """
    (folder / TABLES).unlink(missing_ok=True)  # of a model that was here before
    write_module(folder, model, kind, dtype=torch.float16 if half else None, statistics=not half)
    if tables is not None:
        (folder / TABLES).write_bytes(save(tables.arrays()))


def read_codec(
    folder: Path,
    kind: str,
    own: type[M],
    sizes: Callable[[M], tuple[int, ...]],
    read_tables: Callable[[Path], T],
    *,
    shipped: Path,
    known: str,
) -> tuple[M, T]:
    """The model of a folder and its tables.

    Args:
        folder: Where, or the name of a model that comes with the package.
        kind: The model's word for itself.
        own: Its type.
        sizes: Its codebook sizes.
        read_tables: Reads tables, which are of these sizes, from a folder.
        shipped: Folder of the models that come with the package.
        known: The name of one that is told, if it is there.

    Raises:
        ValueError: In one line that names the folder, if it holds no model or a damaged one.
    """
    folder = located_in(shipped, folder)
    if not folder.is_dir():
        ours = f", or {known}" if (shipped / known).is_dir() else ""
        raise ValueError(f"there is no model {folder}: give the folder that codeword train {kind} made{ours}")
    model = read_module(folder, kind)
    if not isinstance(model, own):
        article = "an" if kind[0] in "aeiou" else "a"
        raise ValueError(f"{folder} holds a {type(model).__name__}, not {article} {kind} model")
    tables = read_tables(folder)
    found: Sized | None = tables
    if found is not None and found.sizes != sizes(model):
        raise ValueError(f"{folder / TABLES} belongs to another model: restore the one that {folder} was saved with")
    return model, tables


def read_frame_tables(folder: Path) -> FrameTables | None:
    """The tables of a model, or nothing if it has none.

    Raises:
        ValueError: In one line, if they are damaged.
    """
    path = folder / TABLES
    if not path.is_file():
        return None
    with damaged_tables(path):
        return FrameTables.from_arrays(load_file(path))


@contextmanager
def damaged_tables(path: Path) -> Generator[None, None, None]:
    """Say of a file of tables that it cannot be read."""
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged, restore the model or train it again: {what}") from error
