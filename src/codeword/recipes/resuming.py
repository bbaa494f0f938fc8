"""Where what was interrupted waits, and what becomes of it in the end."""

import shutil
from collections.abc import Callable
from pathlib import Path

from codeword.training.loop import CHECKPOINT


def resume_folder(out: Path) -> Path:
    """Where an interrupted training waits to be continued; with folds, until the last one is finished."""
    return out.with_name(f"{out.name}.resume")


def is_begun(out: Path) -> bool:
    """Whether an interrupted training has a checkpoint to go on from."""
    return (resume_folder(out) / CHECKPOINT).is_file()


def finish(out: Path, save: Callable[[Path], object]) -> None:
    """Put a trained model where it belongs, once all of it is written, and forget how it was trained.

    Args:
        out: Its folder; files of other names stay.
        save: Writes it into a folder.
    """
    home = resume_folder(out)
    part = home / "result"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save(part)
    out.mkdir(parents=True, exist_ok=True)
    for file in part.iterdir():
        file.replace(out / file.name)
    shutil.rmtree(home)
