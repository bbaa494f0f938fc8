"""What a file of audio costs at given depths, and how it is written at them; see ``codeword.functional.rate``."""

import math

import numpy as np
from jaxtyping import Int64, Integer

from codeword.entropy.frames import FrameTables
from codeword.formats.audio import AudioFileWriter
from codeword.formats.audio_payload import AudioHeader
from codeword.formats.counted import Counted
from codeword.functional.rate import codes_at

_PART = 2000  # frames that are written at once


def write_at(
    writer: AudioFileWriter,
    codes: Integer[np.ndarray, "channels frames levels"],
    depths: Int64[np.ndarray, "channels frames"] | int,
) -> None:
    """Write codes cut to a depth, a part at a time: hours of them are never there twice."""
    for start in range(0, codes.shape[1], _PART):
        part = slice(start, start + _PART)
        writer.write(codes_at(codes[:, part], depths if isinstance(depths, int) else depths[:, part]))


def bits_for(kbps: float, num_samples: int, sample_rate: int) -> int:
    """Bits of a file of this length and rate."""
    return math.floor(1000 * kbps * num_samples / sample_rate)


class FileSize:
    """Exact bytes of the file that codes make at any depths; what ``scale_for_bits`` asks for.

    Args:
        codes: All levels of all frames.
        header: What the file will say about itself.
        tables: The model's tables, if it is to be range-coded.
        chunk_frames: As for :class:`codeword.formats.audio.AudioFileWriter`.
    """

    def __init__(
        self,
        codes: Integer[np.ndarray, "channels frames levels"],
        header: AudioHeader,
        *,
        tables: FrameTables | None = None,
        chunk_frames: int | None = None,
    ) -> None:
        self._codes, self._header, self._tables, self._chunk_frames = codes, header, tables, chunk_frames
        self.num_calls = 0

    def __call__(self, depths: Int64[np.ndarray, "channels frames"]) -> int:
        self.num_calls += 1
        counter = Counted()
        with AudioFileWriter(counter, self._header, tables=self._tables, chunk_frames=self._chunk_frames) as writer:
            write_at(writer, self._codes, depths)
        return counter.num_bytes
