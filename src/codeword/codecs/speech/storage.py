"""The folder of a speech model: networks, and the integers that files need."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from codeword.codecs.folders import TABLES
from codeword.codecs.speech.codec import SpeechCodec
from codeword.codecs.speech.model import SpeechModel
from codeword.entropy.lines import SpeechTables
from codeword.quantizers.storage import read_module, write_module

KIND = "speech"


def write_speech(folder: Path, codec: SpeechCodec) -> None:
    """Write a codec into an existing folder."""
    write_module(folder, codec.model, KIND)
    (folder / TABLES).write_bytes(save(codec.tables.arrays()))


def read_speech(folder: Path) -> SpeechCodec:
    """Read a codec.

    Raises:
        ValueError: In one line that names the folder, if it holds no codec or a damaged one.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no model {folder}: give the folder that codeword train speech made")
    model = read_module(folder, KIND)
    if not isinstance(model, SpeechModel):
        raise ValueError(f"{folder} holds a {type(model).__name__}, not a speech model")
    path = folder / TABLES
    try:
        tables = SpeechTables.from_arrays(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged, restore the model or train it again: {what}") from error
    try:
        return SpeechCodec(model, tables)
    except ValueError as error:
        raise ValueError(f"{path} belongs to another model: restore the one that {folder} was saved with") from error
