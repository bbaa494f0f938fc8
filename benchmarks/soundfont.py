"""Samples of a SoundFont 2 file: where each lies in the file, and its sound."""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

_HEADER = struct.Struct("<20s5IBbHH")  # name, first, last, two ends of a loop, rate, key, correction, link, type


class Sample(NamedTuple):
    """A recording in a SoundFont.

    Attributes:
        name: As its author called it, 20 characters at most.
        rate: Samples per second.
        offset: Byte of the file where it begins.
        count: Samples of 16 bits.
    """

    name: str
    rate: int
    offset: int
    count: int


def samples(path: Path) -> list[Sample]:
    """All recordings, in the order of the file.

    Raises:
        ValueError: If it is no SoundFont.
    """
    content = np.memmap(path, np.uint8, "r")
    if bytes(content[:4]) != b"RIFF" or bytes(content[8:12]) != b"sfbk":
        raise ValueError(f"{path} is no SoundFont: it begins with {bytes(content[:12])!r}")
    chunks = _chunks(content, 12, len(content))
    (sound, _), (headers, size) = chunks["smpl"], chunks["shdr"]
    found = []
    for place in range(headers, headers + size - _HEADER.size, _HEADER.size):  # the last header ends the list
        name, first, last, _, _, rate, *_ = _HEADER.unpack(bytes(content[place : place + _HEADER.size]))
        found.append(Sample(name.split(b"\0")[0].decode("latin-1"), rate, sound + 2 * first, last - first))
    return found


def read(path: Path, sample: Sample) -> np.ndarray:
    """The sound, full scale 1."""
    return np.fromfile(path, "<i2", sample.count, offset=sample.offset).astype(np.float32) / 32768


def _chunks(content: np.ndarray, place: int, end: int) -> dict[str, tuple[int, int]]:
    """Where the content of every chunk begins, and its bytes; lists are opened."""
    found: dict[str, tuple[int, int]] = {}
    while place + 8 <= end:
        name, size = struct.unpack("<4sI", bytes(content[place : place + 8]))
        if name == b"LIST":
            found |= _chunks(content, place + 12, place + 8 + size)
        else:
            found[name.decode("latin-1")] = (place + 8, size)
        place += 8 + size + size % 2
    return found
