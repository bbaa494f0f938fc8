"""Where parts of clips come from: their files."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from codeword.data.audio_corpus import AudioClip, Corpus
from codeword.data.audio_files import AnyFile, read_frames
from codeword.data.audio_resample import fitted, margin, period, resample


@runtime_checkable
class ClipSource(Protocol):
    """What reads a part of a clip."""

    def read(self, number: int, start: int, samples: int, rate: int) -> Float[np.ndarray, "_ time"]:
        """Up to ``samples`` samples at ``rate`` of clip ``number``, from its frame ``start`` (at its own rate) on.

        Fewer where the clip ends; the channels are those that are stored.

        Raises:
            AudioError: If it cannot be read.
        """


class FileSource:
    """Parts of clips from their files: sought, decoded, and resampled with enough around them.

    Args:
        corpus: Where the clips are.
    """

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    def read(self, number: int, start: int, samples: int, rate: int) -> Float[np.ndarray, "_ time"]:
        clip = self.corpus.clips[number]
        return read_part(clip.entry.path, clip, start, samples, rate)


def read_part(file: AnyFile, clip: AudioClip, start: int, samples: int, rate: int) -> Float[np.ndarray, "_ time"]:
    """A part of a clip that lies in a file, as ``ClipSource`` gives it."""
    wanted = min(-(-samples * clip.rate // rate), clip.frames - start)
    first = clip.first + start
    if clip.rate == rate:
        return read_frames(file, first, wanted)
    around = margin(clip.rate, rate)
    # A whole number of periods of both rates, so that the resampled part falls on the same instants.
    step = period(clip.rate, rate)
    before = min(around, first // step * step)
    audio = read_frames(file, first - before, before + wanted + around)
    out = resample(audio, clip.rate, rate)[:, before * rate // clip.rate :]
    return fitted(out, min(samples, -(-wanted * rate // clip.rate)))
