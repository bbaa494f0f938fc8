"""The folder of an audio model: networks, entropy tables, and the fingerprint of what decodes."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from codeword.codecs.audio.model import AudioModel
from codeword.entropy.frames import FrameTables
from codeword.quantizers.config import describe
from codeword.quantizers.storage import CONFIG, WEIGHTS, read_module, write_module

SPEECH = "speech-16k"  # the model that comes with the package
SHIPPED = Path(__file__).parent / "shipped"
KIND, TABLES = "audio", "tables.safetensors"
FILES = [CONFIG, WEIGHTS, TABLES]
_DECODES = (".project_out.weight", ".project_out.bias", ".codebook.table")


def fingerprint(model: AudioModel) -> str:
    """SHA-256, in hexadecimal, of what turns codes into a waveform: decoder, codebooks and their projections."""
    arguments = {name: describe(value) for name, value in model.arguments().items()}
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        if name.startswith("decoder.") or name.endswith(_DECODES):
            digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_audio(folder: Path, model: AudioModel, tables: FrameTables | None, *, half: bool = False) -> None:
    """Write a model and its tables into an existing folder.

    Args:
        folder: Where.
        model: Without weight norm.
        tables: Its tables.
        half: Whether to write weights in half precision, and nothing that only training needs; the model that is read
            again has another fingerprint.
    """
    write_module(folder, model, KIND, dtype=torch.float16 if half else None, statistics=not half)
    if tables is not None:
        (folder / TABLES).write_bytes(save(tables.arrays()))


def located(model: Path) -> Path:
    """The folder of a model: the given one, or else that of a model of this name that comes with the package."""
    shipped = SHIPPED / model
    return shipped if len(model.parts) == 1 and not model.exists() and shipped.is_dir() else model


def read_audio(folder: Path) -> tuple[AudioModel, FrameTables | None]:
    """Read a model and, where there are some, its tables.

    Args:
        folder: Where, or the name of a model that comes with the package.

    Raises:
        ValueError: In one line that names the folder, if it holds no model or a damaged one.
    """
    folder = located(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no model {folder}: give the folder that codeword train audio made, or {SPEECH}")
    model = read_module(folder, KIND)
    if not isinstance(model, AudioModel):
        raise ValueError(f"{folder} holds a {type(model).__name__}, not an audio model")
    tables = read_tables(folder)
    if tables is not None and tables.sizes != model.quantizer.quantizer.sizes:
        raise ValueError(f"{folder / TABLES} belongs to another model: restore the one that {folder} was saved with")
    return model, tables


def read_tables(folder: Path) -> FrameTables | None:
    """The tables of a model, or nothing if it has none.

    Raises:
        ValueError: In one line, if they are damaged.
    """
    path = located(folder) / TABLES
    if not path.is_file():
        return None
    try:
        return FrameTables.from_arrays(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged, restore the model or train it again: {what}") from error
