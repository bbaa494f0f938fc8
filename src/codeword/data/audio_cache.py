"""Clips decoded once: 16-bit samples at one rate in one file that is mapped into memory.

::

    FOLDER/clips.jsonl    what the cache is of, then one line per clip: offset, frames, channels, error
    FOLDER/samples.i16    the samples of one clip after the other, frames interleaved
"""

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from tqdm import tqdm

from codeword.data.audio_corpus import AudioClip, Corpus
from codeword.data.audio_errors import AudioError
from codeword.data.audio_files import read_frames
from codeword.data.audio_resample import mix, resample, resampled_length

_VERSION = 1
_SCALE = np.float32(32767.0)


class _Place(NamedTuple):
    """Where a clip lies: offset and frames, in frames of its channels; ``error`` where it could not be read."""

    offset: int
    frames: int
    channels: int
    error: str


class ClipCache:
    """Parts of clips from a cache, which is made first where it is not complete.

    An interrupted making goes on where it stopped. Samples are rounded to 16 bits and cut at full scale; excerpts start
    at the frame of the cache's rate at or before their start.

    Args:
        folder: Where the cache lies; it takes 2 bytes a sample.
        corpus: The clips.
        rate: Frames per second that they are resampled to.
        channels: Channels that clips of more are mixed to; clips of fewer keep theirs.
        workers: Threads that decode.
        progress: Draw a bar while it is made.

    Raises:
        AudioError: If the folder holds a cache of other clips, of changed files, or of another rate.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        corpus: Corpus,
        rate: int,
        channels: int = 1,
        *,
        workers: int = 2,
        progress: bool = False,
    ) -> None:
        self.folder, self.corpus, self.rate, self.channels = Path(folder), corpus, rate, channels
        self._places = self._opened()
        if len(self._places) < len(corpus):
            self._fill(workers, progress)
        path = self.folder / "samples.i16"
        empty = not path.stat().st_size  # nothing can be mapped
        self._samples = np.zeros(0, "<i2") if empty else np.memmap(path, "<i2", mode="r")

    def read(self, number: int, start: int, samples: int, rate: int) -> Float[np.ndarray, "_ time"]:
        """As ``ClipSource`` says."""
        place, clip = self._places[number], self.corpus.clips[number]
        if rate != self.rate:
            raise ValueError(f"{self.folder} holds audio at {self.rate} Hz: make another cache for {rate} Hz")
        if place.error:
            raise AudioError(place.error)
        first = min(start * self.rate // clip.rate, place.frames)
        count = min(samples, place.frames - first)
        begin = place.offset + first * place.channels
        stored = self._samples[begin : begin + count * place.channels].reshape(count, place.channels)
        return np.ascontiguousarray(stored.T).astype(np.float32) / _SCALE

    def _opened(self) -> list[_Place]:
        """What is already there, cut back to the last clip that is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        head = {"version": _VERSION, "rate": self.rate, "channels": self.channels, "corpus": _fingerprint(self.corpus)}
        lines, data = self.folder / "clips.jsonl", self.folder / "samples.i16"
        if not lines.exists():
            data.write_bytes(b"")
            lines.write_text(json.dumps(head) + "\n")
            return []
        # A line that a crash cut short is no line.
        whole = lines.read_text(encoding="utf-8").rpartition("\n")[0].split("\n")
        try:
            found, *rows = [json.loads(line) for line in whole]
            places = [_Place(**row) for row in rows]
        except (ValueError, TypeError) as error:
            raise AudioError(f"{lines} is damaged: remove {self.folder}, it can be made again") from error
        for name, value in head.items():
            if found.get(name) != value:
                raise AudioError(
                    f"{self.folder} is a cache of another {name}"
                    + ("" if name == "corpus" else f" ({found.get(name)}, now {value})")
                    + ": remove it, or name another folder"
                )
        size = data.stat().st_size if data.exists() else 0
        end = places[-1].offset + places[-1].frames * places[-1].channels if places else 0
        if size < 2 * end:
            raise AudioError(f"{data} is truncated: remove {self.folder}, it can be made again")
        os.truncate(data, 2 * end)
        lines.write_text("\n".join(whole) + "\n", encoding="utf-8")
        return places

    def _fill(self, workers: int, progress: bool) -> None:
        missing = self.corpus.clips[len(self._places) :]
        offset = (self.folder / "samples.i16").stat().st_size // 2
        with (self.folder / "samples.i16").open("ab") as data, (self.folder / "clips.jsonl").open("a") as lines:
            decoded = _ahead(self._decoded, missing, workers)
            for samples, error in tqdm(decoded, total=len(missing), disable=not progress, unit="clip"):
                place = _Place(offset, len(samples), samples.shape[1], error)
                data.write(samples.tobytes())
                data.flush()  # the line only after the samples that it speaks of
                lines.write(json.dumps(place._asdict()) + "\n")
                lines.flush()
                offset += samples.size
                self._places.append(place)

    def _decoded(self, clip: AudioClip) -> tuple[npt.NDArray[np.int16], str]:
        try:
            audio = read_frames(clip.entry.path, clip.first, clip.frames)
        except (AudioError, OSError) as error:
            return np.zeros((0, 1), "<i2"), str(error)
        audio = resample(mix(audio, min(self.channels, len(audio))), clip.rate, self.rate)
        assert audio.shape[1] == resampled_length(clip.frames, clip.rate, self.rate)
        return np.rint(np.clip(audio.T, -1.0, 1.0) * _SCALE).astype("<i2"), ""


def _ahead(call: Callable[[AudioClip], Any], items: tuple[AudioClip, ...], workers: int) -> Iterator[Any]:
    """``map`` in threads, in order, with only a few results waiting."""
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        waiting: deque[Future[Any]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(call, item))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _fingerprint(corpus: Corpus) -> str:
    """What tells whether clips or files have changed: names, sizes, times of change, parts."""
    digest = hashlib.sha256()
    for clip in corpus.clips:
        try:
            status = Path(clip.entry.path).stat()
            state = (status.st_size, status.st_mtime_ns)
        except OSError:
            state = (-1, 0)
        digest.update(repr((clip.entry.path, *state, clip.rate, clip.channels, clip.first, clip.frames)).encode())
    return digest.hexdigest()
