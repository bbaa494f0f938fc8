"""Parts of a pretraining in folders that appear whole or not at all."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from codeword.pretraining.front_ends import FrontEnd
from codeword.pretraining.predictor import Predictor
from codeword.pretraining.tokenizer import Tokenizer
from codeword.quantizers.config import Plain, build, describe
from codeword.quantizers.storage import CONFIG, read_module, write_module

TOKENIZER = "tokenizer"  # beside an encoder, and the word for itself
_PREDICTOR = "predictor"
_FINGERPRINT = "front_end_fingerprint"


def write_tokenizer(folder: Path, tokenizer: Tokenizer, front_end: FrontEnd | None) -> None:
    """Write a tokenizer and what its inputs have to come from."""
    notes = {"front_end": None if front_end is None else describe(front_end)}
    whole(folder, lambda part: write_module(part, tokenizer, TOKENIZER, notes=notes))


def load_tokenizer(folder: Path) -> tuple[Tokenizer, FrontEnd | None]:
    """Read a tokenizer: of its own folder, or that which stands beside an encoder.

    Raises:
        ValueError: In one line that names the folder, if it holds none or a damaged one.
    """
    folder = folder / TOKENIZER if (folder / TOKENIZER).is_dir() else folder
    tokenizer = read_module(folder, TOKENIZER)
    if not isinstance(tokenizer, Tokenizer):
        raise ValueError(f"{folder} holds a {type(tokenizer).__name__}, not a tokenizer")
    front_end = build(json.loads((folder / CONFIG).read_text()).get("front_end"))
    if front_end is not None and not isinstance(front_end, FrontEnd):
        raise ValueError(f"{folder / CONFIG} describes a {type(front_end).__name__} as its front end")
    return tokenizer, front_end


def write_predictor(folder: Path, predictor: Predictor) -> None:
    """Write an encoder with its decoder and head."""
    whole(folder, lambda part: write_module(part, predictor, _PREDICTOR))


def read_predictor(folder: Path) -> Predictor:
    """Read what ``write_predictor`` wrote.

    Raises:
        ValueError: In one line that names the folder, if it holds none or a damaged one.
    """
    predictor = read_module(folder, _PREDICTOR)
    if not isinstance(predictor, Predictor):
        raise ValueError(f"{folder} holds a {type(predictor).__name__}, not a predictor")
    return predictor


def fingerprinted(front_end: FrontEnd | None) -> dict[str, Plain]:
    """What a configuration says of a front end beside its description."""
    return {_FINGERPRINT: None if front_end is None else front_end.fingerprint()}


def check_front_end(folder: Path, front_end: FrontEnd | None) -> None:
    """Refuse a model whose description of its front end was changed after it was saved.

    Raises:
        ValueError: In one line that names the file.
    """
    said = json.loads((folder / CONFIG).read_text()).get(_FINGERPRINT)
    if front_end is not None and said != (now := front_end.fingerprint()):
        raise ValueError(
            f"{folder / CONFIG} describes a front end of fingerprint {now[:12]}, the weights were trained with "
            f"{str(said)[:12]}: restore the file as it was saved"
        )


def whole(folder: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a folder that is there with all its files or not at all."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        write(part)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
