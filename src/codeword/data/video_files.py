"""Clips from video files by their time stamps, through PyAV, which the extra ``media`` brings."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from codeword.data.av_files import Container, Frame, Scaler, Stream, decoding, new_scaler, opened
from codeword.data.listing import Item
from codeword.data.tar_members import MemberFile, is_tar
from codeword.quantizers.config import register

EXTENSIONS = frozenset(
    {".mp4", ".m4v", ".mkv", ".webm", ".avi", ".mov", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv", ".flv", ".3gp"}
)
_NEAR = 0.1  # of a frame: how far a time stamp may be from the time that is asked for
_MISSING = 1.0  # seconds that may be missing at the end of a stream, whose length containers round


class VideoError(ValueError):
    """A video, or a listing of videos, that cannot be used; the message is one line that names the file."""


class VideoInfo(NamedTuple):
    """What the header of a video says.

    Attributes:
        seconds: Duration; ``None`` where the container does not tell.
        rate: Frames per second on the average.
        height: Of a frame as stored, in pixels.
        width: Of a frame as stored.
    """

    seconds: float | None
    rate: float
    height: int
    width: int


class Clip(NamedTuple):
    """Frames of a video.

    Attributes:
        frames: From early to late.
        valid: How many are from the video; the others repeat the last.
    """

    frames: UInt8[Tensor, "channels frames height width"]
    valid: int


@register
@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Which frames make a clip.

    Attributes:
        frames: How many.
        stride: Every how many frames of the video's mean rate one is taken.
        short_side: Frames are reduced until their shorter side has so many pixels, as they are decoded; larger ones
            only. ``None``: as they are.
    """

    frames: int = 16
    stride: int = 4
    short_side: int | None = None

    def __post_init__(self) -> None:
        if min(self.frames, self.stride, self.short_side or 1) < 1:
            raise ValueError(
                f"frames, stride and short_side are at least 1, got {self.frames}, {self.stride}, {self.short_side}"
            )

    def seconds(self, rate: float) -> float:
        """Time that a clip covers at a rate of frames."""
        return self.frames * self.stride / rate


def video_info(item: Item | Path | str) -> VideoInfo:
    """Read the header of a video.

    Raises:
        VideoError: In one line, if it is missing, damaged or no video.
    """
    with _opened(_item(item)) as (container, stream, _):
        return VideoInfo(_seconds(container, stream), _rate(stream), stream.height, stream.width)


def read_clip(item: Item | Path | str, config: ClipConfig = ClipConfig(), *, where: float = 0.0) -> Clip:
    """A clip of a video, upright, in colour.

    The frame at time t is the one that is on the screen then, so that a variable rate does no harm. Where a video is
    shorter than the clip, its last frame is repeated.

    Args:
        item: An item of a listing, whose ``start`` and ``seconds`` bound the clip, or a file.
        config: Which frames.
        where: 0 takes the earliest clip, 1 the latest, 0.5 the middle; a number drawn from [0, 1] a random one.

    Raises:
        VideoError: In one line, if it is missing, damaged, no video, or ends before ``start``.
        TarError: If it is in a tar file that is damaged.
    """
    if not 0 <= where <= 1:
        raise ValueError(f"where is a share from 0 to 1 of the places a clip can have, got {where}")
    item = _item(item)
    with _opened(item) as (container, stream, name):
        rate = _rate(stream)
        length = _seconds(container, stream)
        stop = length if item.seconds is None else item.start + item.seconds
        # The last frame is taken a stride before a clip's end, and frames after it are not needed.
        needed = ((config.frames - 1) * config.stride + 1) / rate
        free = 0.0 if stop is None else max(stop - item.start - needed, 0.0)
        first = item.start + where * free
        times = [first + number * config.stride / rate for number in range(config.frames)]
        # Headers may tell a length that is wrong: only what the item says ends a clip.
        ends = None if item.seconds is None else item.start + item.seconds - _NEAR / rate
        within = [time for time in times if ends is None or time < ends] or times[:1]
        scaler = new_scaler()  # one for all frames: a frame's own would be set up for it alone, which takes longer
        frames = [_pixels(frame, config, name, scaler) for frame in _shown(container, stream, name, within)]
        if not frames:
            raise VideoError(f"{name} has no frame at {first:.3f} s: it ends before")
        if (
            len(frames) < len(within)
            and length is not None
            and min(within[-1], length) - within[len(frames) - 1] > _MISSING
        ):
            lost = within[len(frames)]
            raise VideoError(f"{name} is truncated: there is no frame at {lost:.3f} of its {length:.3f} s")
    padded = frames + frames[-1:] * (config.frames - len(frames))
    return Clip(torch.from_numpy(np.stack(padded, axis=1)), len(frames))


def _item(item: Item | Path | str) -> Item:
    return item if isinstance(item, Item) else Item(path=Path(item))


@contextmanager
def _opened(item: Item) -> Generator[tuple[Container, Stream, str], None, None]:
    source = MemberFile(item.path, item.place) if is_tar(item.path) else item.path
    name = str(source)
    with opened(source, "video", VideoError) as (container, stream):
        if not stream.width or not stream.height:
            raise VideoError(f"{name} is damaged: its frames have no size")
        yield container, stream, name


def _rate(stream: Stream) -> float:
    return float(stream.average_rate or stream.guessed_rate or stream.base_rate or 25)


def _seconds(container: Container, stream: Stream) -> float | None:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _shown(container: Container, stream: Stream, name: str, times: list[float]) -> Iterator[Frame]:
    """The frames on the screen at times that rise; fewer where the video ends."""
    rate, wanted = _rate(stream), list(reversed(times))
    held: Frame | None = None
    ends = 0.0
    for time, frame in _from(container, stream, name, times[0]):
        while held is not None and wanted and wanted[-1] < time - _NEAR / rate:
            wanted.pop()
            yield held
        if not wanted:
            return
        held, ends = frame, time + max(1 / rate, float((frame.duration or 0) * frame.time_base))
    while held is not None and wanted and wanted[-1] < ends - _NEAR / rate:
        wanted.pop()
        yield held


def _from(container: Container, stream: Stream, name: str, start: float) -> Iterator[tuple[float, Frame]]:
    """Frames with their times, from one at or before a start on, or from the first."""
    # A stream without a container has neither length nor places, and is not the same after an attempt to seek.
    if start > 0 and stream.time_base and _seconds(container, stream) is not None:
        with decoding(name, VideoError):
            container.seek(int(start / stream.time_base) + (stream.start_time or 0), stream=stream)
        frames = _timed(container, stream, name)
        first = next(frames, None)
        if first is not None and first[0] <= start:
            yield first
            yield from frames
            return
        with decoding(name, VideoError):
            container.seek(0)  # the index led beyond the place
    yield from _timed(container, stream, name)


def _timed(container: Container, stream: Stream, name: str) -> Iterator[tuple[float, Frame]]:
    rate, begin = Fraction(_rate(stream)), stream.start_time or 0
    with decoding(name, VideoError):
        for number, frame in enumerate(container.decode(stream)):
            # Streams without a container have no stamps.
            stamp = number / rate if frame.pts is None else (frame.pts - begin) * frame.time_base
            yield float(stamp), frame


def _pixels(frame: Frame, config: ClipConfig, name: str, scaler: Scaler) -> UInt8[np.ndarray, "channels height width"]:
    if frame.is_corrupt:  # of no matter in frames that are passed over, as after a seek
        raise VideoError(f"{name} is truncated or damaged: the frame at {frame.time:.3f} s cannot be decoded")
    short_side, height, width = config.short_side, frame.height, frame.width
    if short_side is not None and short_side < min(height, width):
        scale = short_side / min(height, width)
        height, width = max(round(height * scale), 1), max(round(width * scale), 1)
    scaled = scaler.reformat(frame, width=width, height=height, format="rgb24", interpolation="BICUBIC")
    pixels = scaled.to_ndarray()
    upright = np.rot90(pixels, round(frame.rotation / 90))
    return np.ascontiguousarray(upright.transpose(2, 0, 1))
