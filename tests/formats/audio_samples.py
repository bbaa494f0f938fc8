"""Audio codes to write, made by integer arithmetic alone, so that no random generator is part of a golden file."""

import io
from functools import cache

import numpy as np

from codeword.entropy.counting import FrameCounter
from codeword.formats.audio import AudioFileReader, AudioFileWriter
from codeword.formats.audio_payload import AudioHeader

MODEL = "c0de" * 4


def write(codes, header, *, tables=None, chunk_frames=16, blocks=(), num_samples=None):
    file = io.BytesIO()
    with AudioFileWriter(file, header, tables=tables, chunk_frames=chunk_frames) as writer:
        for block in np.split(codes, list(blocks), axis=1):
            writer.write(block)
        writer.close(num_samples)
    return file.getvalue()


class AudioSample:
    """Codes, a header and tables that belong together, and the bytes of a file of them."""

    def __init__(self, *, frames=70, sizes=(8, 5, 3), channels=1, depth=None, ranged=False, known=True, mode="dual"):
        channel, frame, level = np.ogrid[:channels, :frames, : len(sizes)]
        mixed = (frame * 2654435761 + level * 40503 + channel * 7919 + frame * frame * (97 + level)) >> 7
        codes = (mixed % 1009 * (mixed % 1009)) // 1009 % np.array(sizes)
        # Depths go up and down in steps of at most one, like those of a signal.
        wave = (frame // 3 + frame // 41 + channel) % (2 * len(sizes))
        depths = np.minimum(wave, 2 * len(sizes) - wave) if depth is None else depth
        self.codes = np.where(level < depths, codes, -1)
        self.num_samples = frames * 320 - 7
        self.header = AudioHeader(
            model=MODEL,
            sample_rate=16000,
            hop=320,
            sizes=sizes,
            num_samples=self.num_samples if known else None,
            channels=channels,
            channel_mode=mode,
            depth=depth,
        )
        counter = FrameCounter(sizes)
        for start in range(0, frames, 10):
            counter.add(self.codes[:, start : start + 10])
        self.tables = counter.tables() if ranged else None

    def data(self, chunk_frames=16):
        return write(
            self.codes, self.header, tables=self.tables, chunk_frames=chunk_frames, num_samples=self.num_samples
        )

    def reader(self, data=None):
        return AudioFileReader(io.BytesIO(self.data() if data is None else data), tables=self.tables)


VARIANTS = {
    "packed": {"depth": 3},
    "packed-depth": {"channels": 2, "known": False},
    "ranged": {"channels": 2, "depth": 2, "ranged": True, "mode": "mid_side"},
    "ranged-depth": {"ranged": True, "known": False},
    "ranged-depth-stereo": {"channels": 2, "ranged": True},
}


@cache
def sample_of(name):
    return AudioSample(**VARIANTS[name])
