"""The folder of a speech model: networks, and the integers that files need."""

from pathlib import Path

from safetensors.numpy import load_file

from codeword.codecs.folders import TABLES, damaged_tables, digest, located_in, read_codec, write_model
from codeword.codecs.speech.model import SpeechModel
from codeword.entropy.lines import SpeechTables

ENVELOPES = "envelope-12"  # the model that comes with the package
SHIPPED = Path(__file__).parent / "shipped"
KIND = "speech"


def fingerprint(model: SpeechModel) -> str:
    """SHA-256, in hexadecimal, of what turns lines into a signal: the transform, which has no weights."""
    return digest(model, model.arguments(), lambda _: False)


def write_speech(folder: Path, model: SpeechModel, tables: SpeechTables) -> None:
    """Write a model and its tables, as ``write_model`` does."""
    write_model(folder, model, KIND, tables)


def located(model: Path) -> Path:
    """The folder of a model: the given one, or else that of a model of this name that comes with the package."""
    return located_in(SHIPPED, model)


def read_speech(folder: Path) -> tuple[SpeechModel, SpeechTables]:
    """Read a model and its tables.

    Args:
        folder: Where, or the name of a model that comes with the package.

    Raises:
        ValueError: In one line that names the folder, if it holds no model or a damaged one.
    """
    return read_codec(
        folder, KIND, SpeechModel, lambda model: model.quantizer.sizes, read_tables, shipped=SHIPPED, known=ENVELOPES
    )


def read_tables(folder: Path) -> SpeechTables:
    """The tables of a model.

    Raises:
        ValueError: In one line, if they are missing or damaged.
    """
    path = folder / TABLES
    with damaged_tables(path):
        return SpeechTables.from_arrays(load_file(path))
