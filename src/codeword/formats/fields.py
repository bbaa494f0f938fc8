"""What headers of several kinds of files have in common: counts, fingerprints, lists of codebook sizes."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol, TypeVar, runtime_checkable

from codeword.formats.errors import FormatError
from codeword.functional.bits import MAX_WIDTH

MAX_INTEGER = 2**31 - 1
LONG, SHORT = 64, 16  # hexadecimal digits of a fingerprint, and those that small files keep
MAX_LEVELS = 64
_HEXADECIMAL = re.compile(r"[0-9a-f]*")


@runtime_checkable
class Fielded(Protocol):
    """A description that becomes the fields of a header."""

    def to_fields(self) -> dict[str, object]:
        """The header fields of the container."""
        ...


H = TypeVar("H", bound=Fielded)


def is_count(value: object, least: int, most: int) -> bool:
    """Whether something that a header holds is an integer within bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_fingerprint(value: object, digits: int) -> bool:
    """Whether something that a header holds is a fingerprint of so many hexadecimal digits."""
    return isinstance(value, str) and len(value) == digits and _HEXADECIMAL.fullmatch(value) is not None


def short_fingerprint(fingerprint: str) -> str:
    """The digits of a fingerprint that a small file keeps: the first 16."""
    return fingerprint[:SHORT]


@runtime_checkable
class Modelled(Protocol):
    """A header that says which model wrote the file."""

    @property
    def model(self) -> str:
        """Its short fingerprint."""
        ...


def check_model(header: Modelled, fingerprint: str, **fields: object) -> None:
    """Refuse a file of another model.

    Args:
        header: Of the file.
        fingerprint: Of the model that is there.
        fields: What that model writes into a header.

    Raises:
        ValueError: Naming both fingerprints.
        FormatError: If the header claims what this model does not write.
    """
    own = short_fingerprint(fingerprint)
    if header.model != own:
        raise ValueError(
            f"the file was written with model {header.model}, this is model {own}: give the one that wrote it"
        )
    for name, known in fields.items():
        if (said := getattr(header, name)) != known:
            raise FormatError("header", f"{name} is {said}, where model {own} writes {known}")


def size_runs(sizes: Sequence[int]) -> list[int]:
    """Codebook sizes as runs, (how many, size) one after the other: eight times 1024 is [8, 1024]."""
    return [number for size, run in groupby(sizes) for number in (len(list(run)), size)]


def sizes_of_runs(runs: Sequence[object], most: int) -> tuple[object, ...]:
    """Undo :func:`size_runs`; the sizes may still be of any type.

    Raises:
        ValueError: If there are no pairs, or more than ``most`` sizes.
    """
    pairs = list(zip(runs[::2], runs[1::2], strict=False))
    counts = [run for run, _ in pairs if isinstance(run, int) and is_count(run, 1, most)]
    if not runs or len(runs) % 2 or len(counts) < len(pairs) or sum(counts) > most:
        raise ValueError(f"codebook sizes are runs in pairs, {most} sizes at most, got {list(runs)}")
    return tuple(size for run, (_, size) in zip(counts, pairs, strict=True) for _ in range(run))


def check_codes(what: str, values: Mapping[str, Any], rules: Mapping[str, bool], *, always: bool = False) -> None:
    """Refuse values that no file of a model's codes may have; they may come from a file and be of any type.

    Args:
        what: The file, with its article.
        values: With ``sizes``, ``model`` and ``tables``.
        rules: What else must hold, in words.
        always: Whether there are always tables.

    Raises:
        ValueError: Naming the first rule that does not hold.
    """
    sizes, tables = values["sizes"], values["tables"]
    rules = {
        **rules,
        f"1 to {MAX_LEVELS} sizes, each from 1 to 2**{MAX_WIDTH}": 1 <= len(sizes) <= MAX_LEVELS
        and all(is_count(size, 1, 2**MAX_WIDTH) for size in sizes),
        "the fingerprint of a model, 16 hexadecimal digits": is_fingerprint(values["model"], SHORT),
        "tables with a fingerprint of 16 hexadecimal digits": (tables is None and not always)
        or is_fingerprint(tables, SHORT),
    }
    for rule, holds in rules.items():
        if not holds:
            raise ValueError(f"{what} needs {rule}, got {dict(values)}")


def header_of(
    found: Mapping[str, object],
    header: Callable[..., H],
    check: Callable[[Mapping[str, Any]], None],
    what: str,
    names: Sequence[str],
    more: Mapping[str, tuple[str, object]],
) -> H:
    """The description of a file of a model's codes.

    Args:
        found: Fields of one letter: ``a``, a list of numbers and of runs of sizes; ``m``, the model; and others.
        header: Makes the description.
        check: Refuses values of it, with :func:`check_codes`.
        what: The file, with its article.
        names: Of the numbers before the runs.
        more: What other fields mean, by their letters, and what they are where they are not there.

    Raises:
        FormatError: If a field is missing, unknown or wrong.
    """
    shape = found.get("a")
    known = {"a", "m"} <= set(found) <= {"a", "m", *more}
    if not known or not isinstance(shape, list) or len(shape) < len(names) + 2:
        raise FormatError("header", f"{what} has the fields a, m and perhaps {', '.join(more)}, this one has {found}")
    values: dict[str, Any] = dict(zip(names, shape, strict=False)) | {"model": found["m"]}
    values |= {name: found.get(letter, absent) for letter, (name, absent) in more.items()}
    try:
        values["sizes"] = sizes_of_runs(shape[len(names) :], MAX_LEVELS)
        check(values)
    except ValueError as error:
        raise FormatError("header", str(error)) from error
    made = header(**values)
    if made.to_fields() != found:
        raise FormatError("header", f"{what} spells its fields in the shortest way, this one has {found}")
    return made
