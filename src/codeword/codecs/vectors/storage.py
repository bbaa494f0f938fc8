"""The folder of a model: quantizer, entropy tables, and the fingerprints by which damage is noticed."""

import json
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from codeword.entropy.tables import CodeTables
from codeword.formats.errors import WriteError
from codeword.quantizers import Quantizer, load

TABLES, CODEC = "tables.safetensors", "codec.json"
_FORMAT, _VERSION = "codeword vector codec", 1


class StoredCodec(NamedTuple):
    """What a folder holds.

    Attributes:
        quantizer: The model.
        tables: Its entropy tables.
        fingerprint: That of the model when it was written; ``None`` where only a quantizer was saved.
    """

    quantizer: Quantizer
    tables: CodeTables | None
    fingerprint: str | None


def read_codec(folder: Path) -> StoredCodec:
    """Read a model and, where there are some, its tables.

    Raises:
        ValueError: In one line that names the folder, if it holds no model or a damaged one.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, and a model is a folder: give the one that codeword train made")
    if not folder.exists():
        raise ValueError(f"there is no model {folder}: give the folder that codeword train made")
    try:
        quantizer = load(folder)
        tables = _read_tables(folder / TABLES)
        fingerprint = _read_fingerprint(folder / CODEC)
    except (SafetensorError, UnicodeDecodeError, KeyError) as error:
        raise ValueError(f"{folder} is a damaged model, restore it or train it again: {error}") from error
    if tables is not None and tuple(map(len, tables.levels)) != quantizer.sizes:
        raise ValueError(f"{folder / TABLES} belongs to another model: restore the one that {folder} was saved with")
    return StoredCodec(quantizer, tables, fingerprint)


def _read_tables(path: Path) -> CodeTables | None:
    return CodeTables.from_arrays(load_file(path)) if path.is_file() else None


def _read_fingerprint(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON, the model is damaged: {error}") from error
    if not isinstance(found, dict) or found.get("format") != _FORMAT or found.get("version") != _VERSION:
        raise ValueError(f"{path} is no description of a codec of version {_VERSION}: was it written by codeword?")
    return str(found["model"])


def write_codec(folder: Path, quantizer: Quantizer, tables: CodeTables | None, fingerprint: str) -> None:
    """Write a model; a new folder appears whole or not at all, an existing one keeps its other files.

    Raises:
        WriteError: In one line, if there is no room or no permission.
    """
    folder = Path(folder)
    place = folder.resolve()  # the folder we are in has no name of its own
    staged = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        quantizer.save_pretrained(staged)
        if tables is not None:
            (staged / TABLES).write_bytes(save(tables.arrays()))
        described = {"format": _FORMAT, "version": _VERSION, "model": fingerprint}
        (staged / CODEC).write_text(f"{json.dumps(described)}\n")
        for path in staged.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        _move(staged, place, has_tables=tables is not None)
    except (OSError, SafetensorError, WriteError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).rpartition(": ")[2]
        raise WriteError(f"cannot write the model {folder}: {reason.lower()}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _move(staged: Path, folder: Path, *, has_tables: bool) -> None:
    if folder != Path.cwd():
        with suppress(OSError):
            folder.rmdir()  # an empty folder is in the way of a rename
    if not folder.exists():
        staged.rename(folder)
        return
    # Should this be interrupted, the fingerprint, which comes last, no longer fits and the model is refused.
    if not has_tables:
        (folder / TABLES).unlink(missing_ok=True)
    for file in sorted(staged.iterdir(), key=lambda path: path.name == CODEC):
        file.replace(folder / file.name)
