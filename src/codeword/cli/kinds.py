"""Whether a file, a folder or a model is of audio or of images."""

import json
from collections import Counter
from pathlib import Path
from typing import Literal

Coded = Literal["audio", "image"]


def kind_of_media(source: Path, model: Path | None) -> Coded:
    """What is to be compressed: what the model is for, or else what the names of the files say."""
    from codeword.data.image_files import EXTENSIONS

    if model is not None:
        return kind_of_model(model)
    if not source.is_dir():
        return "image" if source.suffix.lower() in EXTENSIONS else "audio"
    return _most(source, dict.fromkeys(EXTENSIONS, "image"))


def kind_of_codes(source: Path, model: Path | None) -> Coded:
    """What a file of codes holds: what its header says, or, of a pipe, what the model is for; of a folder the first."""
    if str(source) == "-":
        return "audio" if model is None else kind_of_model(model)
    found = next((file for file in sorted(source.rglob("*.cw")) if file.is_file()), source)
    return "image" if _header_kind(found) == "image" else "audio"


def kind_of_model(model: Path) -> Coded:
    """What a model is for; audio where its folder does not say."""
    try:
        config = json.loads((model / "config.json").read_text())
    except (OSError, ValueError):
        return "audio"  # which says what is wrong with it, or finds one that comes with the package
    return "image" if isinstance(config, dict) and config.get("format") == "codeword image" else "audio"


def no_image_model(source: Path) -> ValueError:
    """That there is no model for images without one that was trained."""
    return ValueError(f"{source}: an image needs --model, a folder that codeword train image made")


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
