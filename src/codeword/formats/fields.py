"""What headers of several kinds of files have in common: counts, fingerprints, lists of codebook sizes."""

import re
from collections.abc import Sequence
from itertools import groupby

MAX_INTEGER = 2**31 - 1
LONG, SHORT = 64, 16  # hexadecimal digits of a fingerprint, and those that small files keep
_HEXADECIMAL = re.compile(r"[0-9a-f]*")


def is_count(value: object, least: int, most: int) -> bool:
    """Whether something that a header holds is an integer within bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_fingerprint(value: object, digits: int) -> bool:
    """Whether something that a header holds is a fingerprint of so many hexadecimal digits."""
    return isinstance(value, str) and len(value) == digits and _HEXADECIMAL.fullmatch(value) is not None


def short_fingerprint(fingerprint: str) -> str:
    """The digits of a fingerprint that a small file keeps: the first 16."""
    return fingerprint[:SHORT]


def check_model(written: str, fingerprint: str) -> None:
    """Refuse a file of another model.

    Args:
        written: The short fingerprint in the file.
        fingerprint: Of the model that is there.

    Raises:
        ValueError: Naming both.
    """
    if written != (own := short_fingerprint(fingerprint)):
        raise ValueError(f"the file was written with model {written}, this is model {own}: give the one that wrote it")


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
