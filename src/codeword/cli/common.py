"""What several verbs share: arguments, checks of output paths, progress, tables on the terminal."""

import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, get_args

import tyro
from tyro.constructors import PrimitiveConstructorSpec

if TYPE_CHECKING:
    from codeword.data.listing import BadItem

_OPTIONAL = "(optional)"
CODES = frozenset({".cw"})
_NAMED = 20  # files that cannot be read
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
_FLOAT = PrimitiveConstructorSpec(
    nargs=1,
    metavar="FLOAT",
    instance_from_str=lambda words: _finite(words[0]),
    is_instance=lambda value: value is None or isinstance(value, float),
    str_from_instance=lambda value: [str(value)],
)
Coded: TypeAlias = Literal["audio", "speech", "image"]
_CODEC = PrimitiveConstructorSpec(
    nargs=1,
    metavar="{audio,speech,image}",
    instance_from_str=lambda words: words[0],
    is_instance=lambda value: value is None or isinstance(value, str),
    str_from_instance=lambda value: [str(value)],
    choices=get_args(Coded),
)
OptionalNumber: TypeAlias = Annotated[float | None, _FLOAT, tyro.conf.arg(help_behavior_hint=_OPTIONAL)]
OptionalCount: TypeAlias = Annotated[int | None, _COUNT, tyro.conf.arg(help_behavior_hint=_OPTIONAL)]
OptionalModel: TypeAlias = Annotated[Path | None, tyro.conf.arg(metavar="MODEL", help_behavior_hint=_OPTIONAL)]
CodecName: TypeAlias = Annotated[Coded | None, _CODEC, tyro.conf.arg(help_behavior_hint=_OPTIONAL)]
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


def pairs(
    source: Path, out: Path, suffix: str, extensions: frozenset[str], *, overwrite: bool
) -> list[tuple[Path, Path]]:
    """Inputs and their outputs: one of each, or all of some kind below a folder and their places in another.

    What is there already is left out of a folder's work, so that an interrupted run goes on; standard error tells how
    many.

    Args:
        source: A file or a folder.
        out: Likewise.
        suffix: Of outputs in a folder.
        extensions: Of the files of a folder that are inputs.
        overwrite: Whether to do again what is there.

    Raises:
        ValueError: If only one of the two is a folder, or there is nothing to do it with.
    """
    if not source.is_dir():
        if out.is_dir():
            raise ValueError(f"{out} is a folder: give the name of a file, or a folder of inputs")
        return [(source, out)]
    if str(out) == "-" or (out.exists() and not out.is_dir()):
        what = "standard output" if str(out) == "-" else "a file"
        raise ValueError(f"{source} is a folder, so its outputs need one: {out} is {what}")
    files = sorted(
        file
        for file in source.rglob("*")
        if file.suffix.lower() in extensions and not file.name.startswith(".") and file.is_file()
    )
    if not files:
        raise ValueError(f"{source} holds nothing to work on: looked for {', '.join(sorted(extensions))}")
    named = _named(files, source, out, suffix)
    work = [(file, made) for file, made in named if overwrite or not made.exists()]
    if done := len(named) - len(work):
        print(
            f"codeword: {done} of {len(named)} files are in {out} already and stay: --overwrite replaces them",
            file=sys.stderr,
        )
    return work


def _named(files: Sequence[Path], source: Path, out: Path, suffix: str) -> list[tuple[Path, Path]]:
    """Files of a folder and what is made of them: a.wav.cw of a.wav, since a.mp3 may stand beside it, and a.wav again.

    Of codes beside which originals may lie, and of all in a folder where two would get one name, whole names stay.
    """
    places = [out / file.relative_to(source) for file in files]
    whole = [place.with_name(f"{place.name}{suffix}") for place in places]
    beside = source.resolve().is_relative_to(out.resolve())
    short = whole if beside else [place.with_name(_again(place, suffix)) for place in places]
    crowded = {place.parent for place, count in Counter(short).items() if count > 1}
    return [
        (file, long if place.parent in crowded else place)
        for file, place, long in zip(files, short, whole, strict=True)
    ]


def _again(file: Path, suffix: str) -> str:
    """a.wav of a.wav.cw, b.mp3.wav of b.mp3.cw, a.wav.cw of a.wav."""
    name = file.stem if file.suffix.lower() in CODES else file.name
    return name if name.lower().endswith(suffix) else f"{name}{suffix}"


def report_failures(work: Sequence[tuple[Path, Path]], do: Callable[[tuple[Path, Path], str], None]) -> None:
    """Do all of a folder's work; what fails is told and counted, and the rest goes on.

    Args:
        work: Inputs and their outputs.
        do: Called with a pair and its place, such as ``3 of 12``.

    Raises:
        ValueError: At the end, if something failed.
    """
    from codeword.cli.errors import lacks_memory, one_line

    failed = 0
    for number, pair in enumerate(work, 1):
        try:
            pair[1].parent.mkdir(parents=True, exist_ok=True)
            do(pair, f"{number} of {len(work)}")
        except BrokenPipeError:  # nobody reads what is printed; the file itself is there
            raise
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not lacks_memory(error):
                raise
            failed += 1
            said = one_line(error)
            named = said if said.startswith(str(pair[0])) else f"{pair[0]}: {said}"
            print(f"codeword: {named}", file=sys.stderr)
    if failed:
        raise ValueError(f"{failed} of {len(work)} files failed, see above; the others are done")


def print_left_out(bad: Sequence["BadItem"]) -> None:
    """Name files that could not be read, the first of many."""
    from codeword.data.listing import left_out

    for line in left_out(bad, _NAMED):
        print(line)


def report_left_out(bad: Sequence["BadItem"], data: Path, others: str = "the others are written") -> None:
    """Name files that could not be read, after all the others are done.

    Args:
        bad: What could not be read.
        data: Of which data set.
        others: What became of what could.

    Raises:
        ValueError: If there are any, with their count.
    """
    print_left_out(bad)
    if bad:
        raise ValueError(f"{len(bad)} files of {data} cannot be used, see above; {others}")


@contextmanager
def offering_salvage() -> Generator[None, None, None]:
    """Say of a file whose header is intact how to get at the rest of it."""
    from codeword.formats.errors import FormatError

    try:
        yield
    except FormatError as error:
        if error.where == "header":
            raise
        raise FormatError(error.where, f"{error.problem}; --salvage reads what is intact") from error


@contextmanager
def progress_bar(
    label: str, *, unit: str = " vectors"
) -> Generator[Callable[[float, float | None], None] | None, None, None]:
    """A bar on a terminal, called with the vectors or seconds done and in all; nothing where nobody looks."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=label, unit=unit, unit_scale=True, dynamic_ncols=True, leave=False) as bar:

        def show(done: float, total: float | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text, the first a title, with numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([first.strip().ljust(widths[0]), *others]).rstrip())


def _finite(word: str) -> float:
    number = float(word)
    if not math.isfinite(number):
        raise ValueError(f"a number with an end is needed, got {word!r}")
    return number
