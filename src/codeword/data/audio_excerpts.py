"""Training batches: excerpts of a corpus, batch n a function of the seed and n alone.

::

    corpus ──► kind, in turn ──► clip, by duration ──► place ──► read, resample, mix ──► loud enough? ──► augment
                     ▲                                                                      │ no: again, a few times
                     └────────────── a file that cannot be read: draw again ◄───────────────┘
"""

import threading
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from codeword.data.audio_augment import Augmentation
from codeword.data.audio_corpus import AudioClip, BadFile, Corpus
from codeword.data.audio_errors import AudioError
from codeword.data.audio_loudness import loudness
from codeword.data.audio_resample import fitted, mix
from codeword.data.audio_source import ClipSource, FileSource

_MAX_BAD = 100  # in a row, for one excerpt: then it is the corpus that is bad


@dataclass(frozen=True, kw_only=True)
class Salience:
    """Quiet places are drawn again, the loudest of all tries is kept if none is loud enough.

    Attributes:
        cutoff: Loud enough, in LUFS.
        tries: Places tried, all in the same clip.
    """

    cutoff: float = -40.0
    tries: int = 8


@dataclass(frozen=True, kw_only=True)
class ExcerptConfig:
    """What a batch holds.

    Attributes:
        rate: Frames per second; clips of another rate are resampled.
        seconds: Length of an excerpt; shorter clips are padded with zeros.
        batch: Excerpts of a batch, over all processes.
        channels: Channels; clips of another number are mixed.
        seed: All draws follow from it.
        balance: What takes turns: kinds, groups, or nothing.
        weights: Relative frequency of kinds (or groups), by name; those not named are left out. By default they take
            turns.
        salience: Which excerpts are loud enough; ``None``: all.
        augment: Applied to every excerpt, in order.
        one_channel: Keep one channel, drawn at random, instead of mixing all.
    """

    rate: int
    seconds: float
    batch: int
    channels: int = 1
    seed: int = 0
    balance: Literal["kind", "group", "none"] = "kind"
    weights: Mapping[str, float] | None = None
    salience: Salience | None = Salience()
    augment: tuple[Augmentation, ...] = ()
    one_channel: bool = False

    @property
    def samples(self) -> int:
        """Samples of an excerpt."""
        return round(self.seconds * self.rate)


class Excerpt(NamedTuple):
    """One excerpt.

    Attributes:
        audio: Samples, full scale 1.
        length: Samples that come from the clip; zeros follow.
        clip: Its number in the corpus.
        start: Its first frame, in frames of the clip's file.
    """

    audio: Float[np.ndarray, "channels time"]
    length: int
    clip: int
    start: int


class ExcerptBatch(NamedTuple):
    """A batch with where it comes from.

    Attributes:
        audio: Excerpts, full scale 1.
        lengths: Samples of each that come from its clip; zeros follow.
        clips: Their numbers in the corpus.
        starts: First frames, in frames of the clips' files.
    """

    audio: Float[Tensor, "batch channels time"]
    lengths: Int64[Tensor, " batch"]
    clips: Int64[Tensor, " batch"]
    starts: Int64[Tensor, " batch"]


class Excerpts:
    """Batches of excerpts of a corpus.

    A kind is chosen in turn (or by weight), a clip of it in proportion to its duration, a place in it uniformly. A file
    that turns out to be unreadable is noted in ``bad`` and replaced by the next draw.

    Args:
        corpus: Where from.
        config: What a batch holds.
        workers: Threads that read ahead; 0 reads when asked. What a batch holds does not depend on it.
        ahead: Batches read ahead.
        source: How a part of a clip is read: by default from its file; a ``ClipCache`` is faster.
    """

    def __init__(
        self,
        corpus: Corpus,
        config: ExcerptConfig,
        *,
        workers: int = 0,
        ahead: int = 4,
        source: ClipSource | None = None,
    ) -> None:
        _check(config, workers, ahead)
        self.corpus, self.config, self.workers, self.ahead = corpus, config, workers, ahead
        self.source = FileSource(corpus) if source is None else source
        self.bad: dict[str, BadFile] = {}
        self._lock = threading.Lock()
        self._pools, self._shares = _pools(corpus, config)

    def batch(self, number: int) -> Float[Tensor, "batch channels time"]:
        """Batch ``number``: a function of the seed and the number, as long as the files stay the same."""
        return self.labelled(number).audio

    def labelled(self, number: int) -> ExcerptBatch:
        """Batch ``number`` with the lengths and origins of its excerpts."""
        return _stacked([self.excerpt(number, place) for place in range(self.config.batch)])

    def batches(
        self, start: int = 0, rank: int = 0, world_size: int = 1
    ) -> Generator[Float[Tensor, "batch channels time"], None, None]:
        """Batches from number ``start`` on without end, of each the share of a process: as ``Task.batches`` asks.

        Shares of all ranks, one after the other, are the batch.
        """
        size = self.config.batch
        if size % world_size:
            raise ValueError(f"a batch of {size} cannot be shared by {world_size} processes: take a multiple of that")
        places = range(rank * size // world_size, (rank + 1) * size // world_size)
        if not self.workers:
            for number in count(start):
                yield _stacked([self.excerpt(number, place) for place in places]).audio
        with ThreadPoolExecutor(self.workers, thread_name_prefix="excerpts") as pool:
            waiting: list[list[Future[Excerpt]]] = []
            try:
                for number in count(start):
                    waiting.append([pool.submit(self.excerpt, number, place) for place in places])
                    if len(waiting) > self.ahead:
                        yield _stacked([future.result() for future in waiting.pop(0)]).audio
            finally:
                pool.shutdown(cancel_futures=True)

    def excerpt(self, number: int, place: int) -> Excerpt:
        """One excerpt of batch ``number``."""
        # Draws of different excerpts are independent, and none depends on how many another one needed.
        generator = np.random.default_rng((self.config.seed, number, place))
        pool = self._pools[self._turn(number * self.config.batch + place, generator)]
        for _ in range(_MAX_BAD):
            clip = int(pool.clips[np.searchsorted(pool.ends, generator.uniform(0.0, pool.ends[-1]), side="right")])
            try:  # known bad ones too: they may have good places, and a batch must not depend on those before it
                return self._salient(clip, np.random.default_rng(generator.integers(1 << 62)))
            except (AudioError, OSError) as error:
                path = self.corpus.clips[clip].entry.path
                with self._lock:
                    self.bad.setdefault(path, BadFile(path, str(error)))
        last = next(reversed(self.bad.values())).reason
        raise AudioError(f"{_MAX_BAD} files in a row cannot be read, the last that was new: {last}")

    def _turn(self, item: int, generator: np.random.Generator) -> int:
        if self._shares is None:
            return item % len(self._pools)
        return int(np.searchsorted(self._shares, generator.random(), side="right"))

    def _salient(self, number: int, generator: np.random.Generator) -> Excerpt:
        """An excerpt of a clip, loud enough if one of a few places is, augmented and padded."""
        config = self.config
        best = self._anywhere(number, generator)
        if config.salience is not None:
            level = loudness(best.audio, config.rate)
            for _ in range(config.salience.tries - 1):
                if level > config.salience.cutoff or best.length < config.samples:
                    break
                other = self._anywhere(number, generator)
                other_level = loudness(other.audio, config.rate)
                if other_level > level:
                    best, level = other, other_level
        audio = best.audio
        for change in config.augment:
            audio = change(audio, config.rate, generator)
        return best._replace(audio=fitted(audio, config.samples))

    def _anywhere(self, number: int, generator: np.random.Generator) -> Excerpt:
        clip = self.corpus.clips[number]
        wanted = -(-self.config.samples * clip.rate // self.config.rate)
        start = int(generator.integers(max(clip.frames - wanted, 0) + 1))
        audio = self._read(number, clip, start, generator)
        return Excerpt(audio, audio.shape[1], number, clip.first + start)

    def _read(
        self, number: int, clip: AudioClip, start: int, generator: np.random.Generator
    ) -> Float[np.ndarray, "channels time"]:
        config = self.config
        audio = self.source.read(number, start, config.samples, config.rate)
        if config.one_channel and clip.channels > config.channels:
            chosen = generator.permutation(clip.channels)[: config.channels]
            return audio[np.sort(chosen)]
        return mix(audio, config.channels)


class _Pool(NamedTuple):
    """Clips that take turns as one, and the running sum of their durations."""

    clips: np.ndarray
    ends: np.ndarray


def _pools(corpus: Corpus, config: ExcerptConfig) -> tuple[list[_Pool], np.ndarray | None]:
    members: dict[str, list[int]] = {}
    for number, clip in enumerate(corpus.clips):
        if clip.frames:
            name = "" if config.balance == "none" else str(getattr(clip.entry, config.balance))
            members.setdefault(name, []).append(number)
    if not members:
        raise AudioError(f"there is nothing to draw from: {len(corpus)} clips, none with a sample in it")
    names = sorted(members)
    shares = None
    if config.weights is not None:
        unknown = sorted(set(config.weights) - set(names))
        if unknown:
            raise ValueError(f"weights name {unknown}, which the corpus has not: it has {names}")
        names = [name for name in names if config.weights.get(name, 0.0) > 0.0]
        if not names or min(config.weights.values()) < 0.0:
            raise ValueError(f"weights are numbers >= 0, not all zero: got {dict(config.weights)}")
        shares = np.cumsum([config.weights[name] for name in names])
        shares = shares / shares[-1]
    seconds = np.array([clip.seconds for clip in corpus.clips])
    return [_Pool(np.array(members[name]), np.cumsum(seconds[members[name]])) for name in names], shares


def _check(config: ExcerptConfig, workers: int, ahead: int) -> None:
    if config.samples < 1 or config.batch < 1 or config.channels < 1 or config.rate < 1:
        raise ValueError(
            f"excerpts have at least one sample, channel and place in a batch: got {config.seconds} s at "
            f"{config.rate} Hz, {config.channels} channels, batch {config.batch}"
        )
    if config.salience is not None and config.salience.tries < 1:
        raise ValueError(f"an excerpt needs at least 1 try, got tries={config.salience.tries}")
    if workers < 0 or ahead < 1:
        raise ValueError(f"workers are 0 or more and ahead 1 or more: got {workers} and {ahead}")


def _stacked(excerpts: list[Excerpt]) -> ExcerptBatch:
    audio = torch.from_numpy(np.stack([one.audio for one in excerpts]))
    numbers = torch.tensor([[one.length, one.clip, one.start] for one in excerpts], dtype=torch.int64)
    return ExcerptBatch(audio, *numbers.unbind(1))
