"""The folder of an audio model: networks, entropy tables, and the fingerprint of what decodes."""

from pathlib import Path

from codeword.codecs.audio.model import AudioModel
from codeword.codecs.folders import digest, located_in, read_codec, read_frame_tables, write_model
from codeword.entropy.frames import FrameTables

SPEECH = "speech-16k"  # the model that comes with the package
SHIPPED = Path(__file__).parent / "shipped"
KIND = "audio"
_DECODES = (".project_out.weight", ".project_out.bias", ".codebook.table")


def fingerprint(model: AudioModel) -> str:
    """SHA-256, in hexadecimal, of what turns codes into a waveform: decoder, codebooks and their projections."""
    return digest(model, model.arguments(), lambda name: name.startswith("decoder.") or name.endswith(_DECODES))


def write_audio(folder: Path, model: AudioModel, tables: FrameTables | None, *, half: bool = False) -> None:
    """Write a model without weight norm, and its tables, as ``write_model`` does."""
    write_model(folder, model, KIND, tables, half=half)


def located(model: Path) -> Path:
    """The folder of a model: the given one, or else that of a model of this name that comes with the package."""
    return located_in(SHIPPED, model)


def read_audio(folder: Path) -> tuple[AudioModel, FrameTables | None]:
    """Read a model and, where there are some, its tables.

    Args:
        folder: Where, or the name of a model that comes with the package.

    Raises:
        ValueError: In one line that names the folder, if it holds no model or a damaged one.
    """
    return read_codec(folder, KIND, AudioModel, _sizes, read_frame_tables, shipped=SHIPPED, known=SPEECH)


def read_tables(folder: Path) -> FrameTables | None:
    """The tables of a model, or nothing if it has none.

    Raises:
        ValueError: In one line, if they are damaged.
    """
    return read_frame_tables(located(folder))


def _sizes(model: AudioModel) -> tuple[int, ...]:
    return model.quantizer.quantizer.sizes
