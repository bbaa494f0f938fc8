"""Recordings as inputs of one size for a network: log-mel frames, and which of them are sound and not padding.

::

    item ──► read, at any place ──► mono, resample ──► mean removed ──► log_mel ──► cut or padded ──► AudioSample
                                                                                                        │ augment
                                          (values - mean) / (2 deviation), padding 0 ◄── normalized ◄───┘
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from codeword.data.audio_corpus import AudioClip, AudioEntry
from codeword.data.audio_errors import AudioError
from codeword.data.audio_files import AudioInfo, audio_info
from codeword.data.audio_resample import fitted, mix
from codeword.data.audio_source import read_part
from codeword.data.channel_statistics import channel_statistics
from codeword.data.listing import Item, Listing
from codeword.data.tar_members import MemberFile, is_tar
from codeword.functional.filterbank import FLOOR, MelConfig, frame_counts, log_mel
from codeword.quantizers.config import register

SILENCE = float(np.log(FLOOR))  # what the filterbank makes of no sound

register(MelConfig)


class AudioSample(NamedTuple):
    """An input of a network.

    Attributes:
        values: Log-mel frames; where they are not valid silence, and 0 once normalised.
        valid: Which frames come from the recording; at least one.
    """

    values: Float[Tensor, "1 frames bins"]
    valid: Bool[Tensor, " frames"]


@register
@dataclass(frozen=True, kw_only=True)
class MelStatistics:
    """Mean and standard deviation of log-mel values."""

    mean: float
    deviation: float


# Those that BRIDLE's reference code normalises with; AudioMAE's for AudioSet differ.
PUBLISHED: Mapping[str, MelStatistics] = {
    "audioset": MelStatistics(mean=-4.4446096, deviation=3.3216383),
    "audioset_audiomae": MelStatistics(mean=-4.2677393, deviation=4.5689974),
    "esc50": MelStatistics(mean=-6.6268077, deviation=5.358466),
    "speech_commands": MelStatistics(mean=-6.845978, deviation=5.5654526),
}


@register
@dataclass(frozen=True, kw_only=True)
class AudioSampleConfig:
    """What a sample holds.

    Attributes:
        frames: Frames of every sample; 1024 are 10.24 seconds.
        mel: The filterbank; recordings are resampled to its rate.
    """

    frames: int = 1024
    mel: MelConfig = field(default_factory=MelConfig)

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"a sample has 1 frame or more: got frames={self.frames}")


def read_sample(item: Item, config: AudioSampleConfig, generator: torch.Generator | None = None) -> AudioSample:
    """A recording as a sample, not normalised.

    Only what the sample holds is decoded. Its mean is removed, as BRIDLE does; frames lose theirs in any case, so this
    is heard only where a recording is shorter than a frame, and completed to one with zeros.

    Args:
        item: The recording, or part of one.
        config: What to make of it.
        generator: Draws where in a longer recording the sample begins; ``None``: at its beginning.

    Raises:
        AudioError: If it cannot be read, or is empty.
        TarError: If it is in a tar file that is damaged.
    """
    mel = config.mel
    file = _opened(item.path, item.place)
    clip = _clip(item)
    wanted = mel.samples(config.frames)
    spare = max(clip.frames - -(-wanted * clip.rate // mel.rate), 0)
    start = 0 if generator is None else int(torch.randint(spare + 1, (), generator=generator))
    audio = mix(read_part(file, clip, start, wanted, mel.rate), 1)
    audio = torch.from_numpy(fitted(audio - audio.mean(), max(audio.shape[1], mel.frame_samples)))
    values = log_mel(audio, mel.rate, mel)
    return AudioSample(
        F.pad(values, (0, 0, 0, config.frames - values.shape[1]), value=SILENCE),
        torch.arange(config.frames) < frame_counts(torch.tensor(audio.shape[1]), mel),
    )


def normalized(sample: AudioSample, statistics: MelStatistics) -> AudioSample:
    """The sample with values of standard deviation 0.5 (AST, AudioMAE, BRIDLE), and 0, their mean, in place of padding.

    Note:
        The published code pads with 0 before this, so that padding was the loudest thing in a sample.
    """
    values = (sample.values - statistics.mean) / (2.0 * statistics.deviation)
    return sample._replace(values=values * sample.valid.unsqueeze(-1))


def statistics(listing: Listing, config: AudioSampleConfig, *, clips: int = 1000) -> MelStatistics:
    """Mean and standard deviation over the valid frames of a data set, in double precision.

    Args:
        listing: The data set: give it its training items only.
        config: What its samples are.
        clips: So many items are read, evenly spread over the listing; those that cannot be are passed over.

    Raises:
        AudioError: If none of them can be read, or all are silent alike.
    """

    def read(item: Item) -> Float[Tensor, "1 values"]:
        sample = read_sample(item, config)
        return sample.values[:, sample.valid].flatten(1)

    try:
        found = channel_statistics(listing, read, items=clips)
    except ValueError as error:
        raise AudioError(str(error)) from error
    return MelStatistics(mean=found.mean[0], deviation=found.deviation[0])


def _opened(path: Path, place: int) -> Path | MemberFile:
    return MemberFile(path, place) if is_tar(path) else path


@lru_cache(maxsize=1 << 16)
def _info(path: Path, place: int, _changed: int) -> AudioInfo:
    """What a header says, once: what PyAV reads has to be decoded to know how long it is."""
    return audio_info(_opened(path, place))


def _clip(item: Item) -> AudioClip:
    info = _info(item.path, item.place, item.path.stat().st_mtime_ns if item.path.exists() else 0)
    first = round(item.start * info.rate)
    rest = info.frames - first
    frames = rest if item.seconds is None else min(round(item.seconds * info.rate), rest)
    if frames < 1:
        raise AudioError(f"{item.path} lasts {info.seconds:.3f} s: nothing is there from {item.start} s on")
    entry = AudioEntry(path=str(item.path), start=item.start, seconds=item.seconds)
    return AudioClip(entry, info.rate, info.channels, first, frames)
