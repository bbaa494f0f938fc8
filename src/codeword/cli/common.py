"""What several verbs share: progress bars, tables on the terminal, checks of output paths."""

import os
from collections.abc import Sequence
from pathlib import Path


def one_line(error: BaseException) -> str:
    """The message of an error a user can mend, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'file'}: {error.strerror.lower()}"
    return " ".join(str(error).split())


def check_output(path: Path, *, overwrite: bool = False) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Raises:
        ValueError: If it exists, its folder does not, or the folder is read-only.
    """
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists already: choose another name, or pass --overwrite")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"the folder {folder} does not exist: make it first")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"the folder {folder} cannot be written to")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text, the first a title, with numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([first.strip().ljust(widths[0]), *others]).rstrip())
