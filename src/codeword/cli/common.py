"""What several verbs share: arguments, checks of output paths, progress, tables on the terminal."""

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import tyro
from tyro.constructors import PrimitiveConstructorSpec

_OPTIONAL = "(optional)"
ModelFolder: TypeAlias = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="MODEL")]]
DataFile: TypeAlias = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DATA")]]
Column: TypeAlias = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint=_OPTIONAL)]
_COUNT = PrimitiveConstructorSpec(  # tyro's own for a union would answer with all it has tried
    nargs=1,
    metavar="INT",
    instance_from_str=lambda words: int(words[0]),
    is_instance=lambda value: value is None or isinstance(value, int),
    str_from_instance=lambda value: [str(value)],
)
OptionalCount: TypeAlias = Annotated[int | None, _COUNT, tyro.conf.arg(help_behavior_hint=_OPTIONAL)]
OptionalPath: TypeAlias = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint=_OPTIONAL)]


def check_output(path: Path, *, overwrite: bool, inputs: Sequence[Path] = ()) -> None:
    """Refuse a file that cannot be written, before any work is done.

    Args:
        path: The file to be.
        overwrite: Whether an existing one may be replaced.
        inputs: What is read; never replaced.

    Raises:
        ValueError: If it exists, is a folder or an input, or its folder does not exist or is read-only.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the name of a file")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists already: choose another name, or pass --overwrite")
    for source in inputs:
        inside = (source / "config.json").is_file() and source.resolve() in path.resolve().parents
        if inside or path.resolve() == source.resolve():
            raise ValueError(f"{path} belongs to the input {source} and would be lost: choose another name")
    check_folder(path)


def check_folder(path: Path) -> None:
    """Refuse a path whose folder does not take new files.

    Raises:
        ValueError: If the folder does not exist or is read-only.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"the folder {folder} does not exist: make it first")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"the folder {folder} cannot be written to: choose another, or change its permissions")


@contextmanager
def progress_bar(label: str) -> Generator[Callable[[int, int], None] | None, None, None]:
    """A bar on a terminal, called with vectors done and vectors in all; nothing where nobody looks."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=label, unit=" vectors", unit_scale=True, dynamic_ncols=True, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text, the first a title, with numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([first.strip().ljust(widths[0]), *others]).rstrip())
