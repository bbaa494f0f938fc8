"""Which codec a file, a folder or a model is for."""

import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import BinaryIO, Literal, get_args

from codeword.cli.common import CODES

Coded = Literal["audio", "image", "speech"]
_KINDS: dict[object, Coded] = {f"codeword {kind}": kind for kind in get_args(Coded)}


def kind_of_media(source: Path, model: Path | None, codec: Coded | None) -> Coded:
    """What compresses: the codec that is asked for, that of the model, or else what the names of the files say.

    Raises:
        ValueError: If the model is of another codec.
    """
    from codeword.data.image_files import EXTENSIONS

    if model is not None and (kind := kind_of_model(model, codec)) is not None:
        return kind
    if codec is not None:
        return codec
    if not source.is_dir():
        return "image" if source.suffix.lower() in EXTENSIONS else "audio"
    return _most(source, dict.fromkeys(EXTENSIONS, "image"))


def kind_of_codes(source: Path, model: Path | None, codec: Coded | None) -> Coded:
    """What a file of codes, or the first of a folder, says that it holds; or else what the model is for.

    Raises:
        ValueError: If the model, or the file, is of another codec.
    """
    for found in _codes(source):
        if (kind := _header_kind(found)) is not None:
            if codec not in (None, kind):
                raise ValueError(f"{found} was written by the codec {kind}, not {codec}: leave out --codec")
            return kind
    kind = None if model is None else kind_of_model(model, codec)
    return kind or codec or "audio"  # whose codec says what is wrong


def kind_of_model(model: Path, codec: Coded | None = None) -> Coded | None:
    """What a model is for, if its folder says so.

    Raises:
        ValueError: If that is another codec than the one asked for.
    """
    kind = _KINDS.get(_format(model))
    if kind is not None and codec not in (None, kind):
        raise ValueError(f"{model} is a model of the codec {kind}, not {codec}: leave out --codec")
    return kind


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


def _codes(source: Path) -> list[Path]:
    """Files of codes; a named pipe, which can be read but once, is none."""
    if source.is_dir():
        return sorted(file for file in source.rglob("*") if file.suffix.lower() in CODES and file.is_file())
    return [source] if source.is_file() or str(source) == "-" else []


def _header_kind(path: Path) -> Coded | None:
    from codeword.formats.container import read_header
    from codeword.formats.errors import FormatError

    try:
        with _start(path) as file:
            return _KINDS.get(f"codeword {read_header(file).kind}")
    except (OSError, FormatError):
        return None  # what reads it will say what is wrong


def _start(path: Path) -> BinaryIO:
    """A file of codes, or what is known of standard input without taking anything from it."""
    if str(path) != "-":
        return path.open("rb")
    pipe = sys.stdin.buffer
    return io.BytesIO(pipe.peek() if isinstance(pipe, io.BufferedReader) else b"")


def _most(folder: Path, kinds: dict[str, Coded]) -> Coded:
    from codeword.data.audio_corpus import EXTENSIONS

    known = {**dict.fromkeys(EXTENSIONS, "audio"), **kinds}
    suffixes = (file.suffix.lower() for file in folder.rglob("*") if file.is_file())
    counts = Counter(known[suffix] for suffix in suffixes if suffix in known)
    return "image" if counts["image"] > counts["audio"] else "audio"
