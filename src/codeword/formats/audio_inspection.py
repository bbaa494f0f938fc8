"""What an audio file spends its bits on, without the model that decodes it."""

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from codeword.entropy.frames import FrameTables
from codeword.formats.audio import AudioFileReader
from codeword.formats.audio_payload import AudioHeader
from codeword.formats.inspection import inspect


class AudioInspection(NamedTuple):
    """The account of an audio file; of a damaged one, of its intact chunks.

    Attributes:
        header: What the file says about itself.
        seconds: Length of the intact frames.
        kbps: Rate of the whole file, headers and checksums included.
        depth_per_second: Mean depth of the frames of every second, not a number where none is intact; ``None`` if it
            varies and can only be decoded with the model's tables.
        shares: Of every level, the share of frames that have it; ``None`` likewise.
    """

    header: AudioHeader
    seconds: float
    kbps: float
    depth_per_second: Float64[np.ndarray, " seconds"] | None
    shares: Float64[np.ndarray, " levels"] | None

    @property
    def level_kbps(self) -> Float64[np.ndarray, " levels"] | None:
        """Rate of every level at log2(size) bits a code."""
        if self.shares is None:
            return None
        bits = np.array([math.log2(size) for size in self.header.sizes])
        return self.shares * bits * self.header.channels * self.header.sample_rate / self.header.hop / 1000


def inspect_audio(path: str | os.PathLike[str], tables: FrameTables | None = None) -> AudioInspection:
    """Read a whole audio file.

    Args:
        path: The file.
        tables: Those of the model; without them the depths of a range-coded file stay unknown, unless constant.

    Raises:
        FormatError: If the header is damaged, or this is another kind of file.
    """
    with AudioFileReader(path, tables=tables) as reader:
        header = reader.header
        if header.tables is not None and tables is None:
            return _unread(path, header)
        chunks = reader.salvage_chunks()
        found: dict[int, np.ndarray] = {}  # second by second, the number of frames of every depth
        num_frames = 0
        for chunk in chunks:
            num_frames += chunk.count
            depths = np.count_nonzero(chunk.content >= 0, axis=2)
            seconds = np.arange(chunk.first, chunk.first + chunk.count) * header.hop // header.sample_rate
            for second in np.unique(seconds).tolist():
                counts = found.setdefault(second, np.zeros(header.levels + 1, dtype=np.int64))
                counts += np.bincount(depths[:, seconds == second].reshape(-1), minlength=header.levels + 1)
        whole = not chunks.report().problems
        num_samples = reader.num_samples if whole else None
    length = (num_frames * header.hop if num_samples is None else num_samples) / header.sample_rate
    return AudioInspection(
        header, length, _kbps(path, length), _means(found, header.levels), _shares(found, header.levels)
    )


def _unread(path: str | os.PathLike[str], header: AudioHeader) -> AudioInspection:
    """What can be said without decoding anything."""
    items = inspect(path).items
    num_samples = header.num_samples if items == header.num_frames else None
    length = (items * header.hop if num_samples is None else num_samples) / header.sample_rate
    depths = shares = None
    if header.depth is not None:
        depths = np.full(math.ceil(length), float(header.depth))
        shares = (np.arange(header.levels) < header.depth).astype(np.float64)
    return AudioInspection(header, length, _kbps(path, length), depths, shares)


def _kbps(path: str | os.PathLike[str], seconds: float) -> float:
    return Path(path).stat().st_size * 8 / seconds / 1000 if seconds else 0.0


def _means(found: dict[int, np.ndarray], levels: int) -> Float64[np.ndarray, " seconds"]:
    means = np.full(max(found, default=-1) + 1, np.nan)
    for second, counts in found.items():
        means[second] = (counts * np.arange(levels + 1)).sum() / counts.sum()
    return means


def _shares(found: dict[int, np.ndarray], levels: int) -> Float64[np.ndarray, " levels"]:
    counts = np.sum([np.zeros(levels + 1), *found.values()], axis=0)
    deeper = counts[::-1].cumsum()[::-1][1:]  # frames of depth 1 and more, 2 and more, ...
    return deeper / max(counts.sum(), 1)
