"""What all sets for pretraining share: tables, divisions by hash, sound at one rate."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile

from codeword.data.audio_files import read_frames
from codeword.data.audio_resample import mix, resample

RATE = 16000
_QUIET = 1e-3  # of the peak


def part(name: str, parts: int) -> int:
    """One of so many parts, by the MD5 of a name: an item stays where it is when others come or go."""
    return int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest(), 16) % parts


def write_table(path: Path, titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(titles)
        table.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_sound(path: Path) -> np.ndarray:
    """A recording at 16 kHz in mono."""
    return at_rate(read_frames(path), soundfile.info(path).samplerate)


def at_rate(audio: np.ndarray, rate: int) -> np.ndarray:
    """Channels of a recording as one at 16 kHz."""
    return resample(mix(np.atleast_2d(audio), 1), rate, RATE)[0]


def write_sound(path: Path, audio: np.ndarray) -> None:
    """A file of 16 bits; resampled sound beyond full scale is cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, RATE, subtype="PCM_16")


def trimmed(audio: np.ndarray) -> np.ndarray:
    """Without what is 60 dB below the peak at both ends."""
    loud = np.flatnonzero(np.abs(audio) > _QUIET * np.abs(audio).max(initial=0))
    return audio[loud[0] : loud[-1] + 1] if len(loud) else audio
