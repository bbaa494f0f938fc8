"""Which codec a file, a folder or a model is for."""

import json
from collections import Counter
from pathlib import Path
from typing import Literal, get_args

Coded = Literal["audio", "image", "speech"]
_KINDS: dict[object, Coded] = {f"codeword {kind}": kind for kind in get_args(Coded)}


def kind_of_media(source: Path, model: Path | None, codec: Coded | None) -> Coded:
    """What compresses: the codec that is asked for, that of the model, or else what the names of the files say.

    Raises:
        ValueError: If the model is of another codec.
    """
    from codeword.data.image_files import EXTENSIONS

    if model is not None:
        return kind_of_model(model, codec)
    if codec is not None:
        return codec
    if not source.is_dir():
        return "image" if source.suffix.lower() in EXTENSIONS else "audio"
    return _most(source, dict.fromkeys(EXTENSIONS, "image"))


def kind_of_codes(source: Path, model: Path | None, codec: Coded | None) -> Coded:
    """What a file of codes holds: what its header says, or, of a pipe, what the model is for; of a folder the first.

    Raises:
        ValueError: If the model, or the file, is of another codec.
    """
    if str(source) == "-":
        return (codec or "audio") if model is None else kind_of_model(model, codec)
    found = next((file for file in sorted(source.rglob("*.cw")) if file.is_file()), source)
    kind = _KINDS.get(f"codeword {_header_kind(found)}", "audio")
    if codec not in (None, kind):
        raise ValueError(f"{found} was written by the codec {kind}, not {codec}: leave out --codec")
    return kind


def kind_of_model(model: Path, codec: Coded | None = None) -> Coded:
    """What a model is for; audio, whose codec says what is wrong with it, where its folder does not say.

    Raises:
        ValueError: If that is another codec than the one asked for.
    """
    kind = _KINDS.get(_format(model))
    if kind is not None and codec not in (None, kind):
        raise ValueError(f"{model} is a model of the codec {kind}, not {codec}: leave out --codec")
    return kind or codec or "audio"


def _format(model: Path) -> object:
    """What the folder of a model, or of that which comes with the package under this name, says that it is."""
    from codeword.codecs.audio import storage as audio
    from codeword.codecs.image import storage as image
    from codeword.codecs.speech import storage as speech

    folder = speech.located(image.located(audio.located(model)))
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None
    return config.get("format") if isinstance(config, dict) else None


def _header_kind(path: Path) -> str:
    from codeword.formats.container import read_header
    from codeword.formats.errors import FormatError

    try:
        with path.open("rb") as file:
            return read_header(file).kind
    except (OSError, FormatError):
        return ""  # what reads it will say what is wrong


def _most(folder: Path, kinds: dict[str, Coded]) -> Coded:
    from codeword.data.audio_corpus import EXTENSIONS

    known = {**dict.fromkeys(EXTENSIONS, "audio"), **kinds}
    suffixes = (file.suffix.lower() for file in folder.rglob("*") if file.is_file())
    counts = Counter(known[suffix] for suffix in suffixes if suffix in known)
    return "image" if counts["image"] > counts["audio"] else "audio"
