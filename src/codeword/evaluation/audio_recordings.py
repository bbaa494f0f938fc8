"""The recordings an audio model is evaluated on: one channel, at the model's rate, one at a time."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.data.audio_corpus import AudioClip, AudioEntry, Corpus, open_corpus, scan
from codeword.data.audio_errors import AudioError
from codeword.data.audio_resample import mix
from codeword.data.audio_source import FileSource
from codeword.evaluation.audio_results import ClipInfo

SHORTEST_SECONDS = 1.0  # ViSQOL hears nothing shorter


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which of the recordings to take, and how much of each.

    Attributes:
        clips: How many, spread evenly over all; ``None`` for all.
        seconds: The longest part, from the middle of a recording; ``None`` for the whole.
        split: Only those of this split of a manifest.
    """

    clips: int | None = None
    seconds: float | None = 10.0
    split: str | None = None

    def __post_init__(self) -> None:
        if self.clips is not None and self.clips < 1:
            raise ValueError(f"clips must be 1 or more, got {self.clips}")
        if self.seconds is not None and not self.seconds >= SHORTEST_SECONDS:
            raise ValueError(f"seconds must be {SHORTEST_SECONDS:g} or more, got {self.seconds:g}")


class Recordings:
    """Clips to be read one by one.

    Args:
        corpus: What there is.
        rate: Samples per second to read at.
        selection: What of it to take.
        home: Folder that names are told from.

    Attributes:
        skipped: Files that cannot be used, and why.

    Raises:
        AudioError: If nothing is left.
    """

    def __init__(self, corpus: Corpus, rate: int, selection: Selection, home: Path) -> None:
        corpus = corpus if selection.split is None else corpus.only(split=selection.split)
        long = [clip for clip in corpus.clips if clip.seconds >= SHORTEST_SECONDS]
        self.skipped = [bad.reason for bad in corpus.bad]
        self.skipped += [
            f"{clip.entry.path} lasts {clip.seconds:.2f} s, less than {SHORTEST_SECONDS:g}"
            for clip in corpus.clips
            if clip.seconds < SHORTEST_SECONDS
        ]
        if not long:
            raise AudioError(f"there is nothing to evaluate on: {'; '.join(self.skipped[:3])}")
        count = len(long) if selection.clips is None else min(selection.clips, len(long))
        chosen = [long[(2 * number + 1) * len(long) // (2 * count)] for number in range(count)]
        self._corpus, self._rate, self._home = Corpus(tuple(chosen)), rate, home
        self._source, self._longest = FileSource(self._corpus), selection.seconds

    def __len__(self) -> int:
        return len(self._corpus)

    def info(self, number: int) -> ClipInfo:
        """Name and length of a clip."""
        clip = self._corpus.clips[number]
        path = Path(clip.entry.path)
        name = path.relative_to(self._home).as_posix() if path.is_relative_to(self._home) else path.name
        first, frames = self._part(clip)
        begin = (clip.first + first) / clip.rate
        return ClipInfo(f"{name}@{begin:.2f}" if begin else name, frames / clip.rate)

    def read(self, number: int) -> Float[Tensor, " time"]:
        """The samples of a clip.

        Raises:
            AudioError: If it cannot be read.
        """
        clip = self._corpus.clips[number]
        first, frames = self._part(clip)
        wanted = -(-frames * self._rate // clip.rate)
        return torch.from_numpy(mix(self._source.read(number, first, wanted, self._rate), 1)[0])

    def _part(self, clip: AudioClip) -> tuple[int, int]:
        """First frame, within the clip, and number of frames."""
        wanted = clip.frames if self._longest is None else min(round(self._longest * clip.rate), clip.frames)
        return (clip.frames - wanted) // 2, wanted


def open_recordings(
    source: Path, rate: int, selection: Selection | None = None, *, root: Path | None = None
) -> Recordings:
    """Find recordings.

    Args:
        source: A folder, a CSV manifest, or one audio file.
        rate: Samples per second to read them at.
        selection: What of it to take; all, and of each ten seconds, by default.
        root: Of a manifest's paths.

    Raises:
        AudioError: In one line, if there are none.
    """
    if source.is_dir() or source.suffix.lower() == ".csv":
        corpus, home = open_corpus(source, root=root), source if source.is_dir() else root or source.parent
    else:
        corpus, home = scan([AudioEntry(path=str(source))]), source.parent
    return Recordings(corpus, rate, selection or Selection(), home)
