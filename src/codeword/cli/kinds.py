"""Which codec a file, a folder or a model is for."""

import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from codeword.cli.common import CODES, Coded

if TYPE_CHECKING:
    from codeword.formats.container import BinaryReader

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
            if model is not None and kind_of_model(model) not in (None, kind):
                raise ValueError(f"{found} was written by the codec {kind}, {model} is of another: leave out --model")
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


class _Given(io.RawIOBase):
    """Standard input whose first bytes were read already.

    Args:
        first: Those bytes.
        rest: What gives the others.
    """

    def __init__(self, first: bytes, rest: io.BufferedReader):
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyrefly: ignore[bad-override]
        if not self._first:
            return self._rest.readinto1(buffer)
        count = min(len(buffer), len(self._first))
        buffer[:count], self._first = self._first[:count], self._first[count:]
        return count


class _Kept:
    """Keeps what is read of a pipe."""

    def __init__(self, pipe: io.BufferedReader):
        self._pipe, self.read_so_far = pipe, b""

    def read(self, count: int = -1, /) -> bytes:
        data = self._pipe.read(count)
        self.read_so_far += data
        return data


@contextmanager
def _start(path: Path) -> "Iterator[BinaryReader]":
    """A file of codes, or standard input, of which whoever reads it next finds all."""
    if str(path) != "-":
        with path.open("rb") as file:
            yield file
        return
    pipe = sys.stdin.buffer
    if not isinstance(pipe, io.BufferedReader):
        yield io.BytesIO()
        return
    if pipe.seekable():
        start = pipe.tell()
        yield pipe
        pipe.seek(start)
        return
    kept = _Kept(pipe)
    try:
        yield kept
    finally:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(_Given(kept.read_so_far, pipe)))


def _most(folder: Path, kinds: dict[str, Coded]) -> Coded:
    from codeword.data.audio_corpus import EXTENSIONS

    known = {**dict.fromkeys(EXTENSIONS, "audio"), **kinds}
    suffixes = (file.suffix.lower() for file in folder.rglob("*") if file.is_file())
    counts = Counter(known[suffix] for suffix in suffixes if suffix in known)
    return "image" if counts["image"] > counts["audio"] else "audio"
