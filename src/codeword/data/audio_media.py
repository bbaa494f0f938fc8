"""What libsndfile cannot read (AAC, MP4, WebM, G.722, AMR ...), through PyAV, which the extra ``media`` brings."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from codeword.data.audio_errors import AudioError
from codeword.data.audio_wav import Readable
from codeword.data.av_files import Container, Frame, Stream, decoding, opened, source_name
from codeword.data.tar_members import MemberFile

# Files without a container, whose format only their name tells.
_BARE = {".g722": "g722", ".g726": "g726", ".sln": "s16le"}
# Frames decoded and thrown away before a part, for decoders that look back.
_PREROLL_SECONDS = 0.5


def media_info(path: Path | MemberFile, reason: str) -> tuple[int, int, int]:
    """Frames, rate and channels, counted by decoding: containers round lengths and leave out what encoders pad.

    Args:
        path: The file.
        reason: Why libsndfile refused it.
    """
    with _opened(path, reason) as (container, stream):
        frames = sum(frame.samples for frame in _frames(container, stream, path))
        return frames, stream.rate, stream.channels


def read_media(path: Path | MemberFile, start: int, frames: int | None, reason: str) -> npt.NDArray[np.float32]:
    """A part of a file, as ``read_frames`` gives it."""
    stop = None if frames is None else start + frames
    with _opened(path, reason) as (container, stream):
        position = _seek(container, stream, start)
        parts = [np.zeros((stream.channels, 0), np.float32)]
        for frame in _frames(container, stream, path):
            if position is None:
                position = _position(frame, stream)
            first, position = position, position + frame.samples
            if position > start:
                samples = frame_samples(frame)
                parts.append(samples[:, max(start - first, 0) : None if stop is None else max(stop - first, 0)])
            if stop is not None and position >= stop:
                break
        return np.ascontiguousarray(np.concatenate(parts, axis=1))


@contextmanager
def media_stream(source: Path | Readable, reason: str) -> Iterator[tuple[int, int, Iterator[npt.NDArray[np.float32]]]]:
    """Rate, channels and all frames in order, of a file or a binary stream that can seek."""
    with _opened(source, reason) as (container, stream):
        yield stream.rate, stream.channels, map(frame_samples, _frames(container, stream, source))


def frame_samples(frame: Frame) -> npt.NDArray[np.float32]:
    """Samples ``(channels, time)`` of a decoded frame, integers scaled to full scale 1."""
    samples: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128.0) / 128.0
    if np.issubdtype(samples.dtype, np.integer):
        return samples.astype(np.float32) / np.float32(-float(np.iinfo(samples.dtype).min))
    return samples.astype(np.float32)


@contextmanager
def _opened(source: Path | Readable, reason: str) -> Iterator[tuple[Container, Stream]]:
    bare = _BARE.get(Path(source_name(source)).suffix.lower())
    if isinstance(source, MemberFile):
        source.seek(0)
    with opened(source, "audio", AudioError, reason=reason, bare=bare) as (container, stream):
        if not stream.rate or not stream.channels:
            raise AudioError(f"{source_name(source)} is damaged: no rate or no channels")
        yield container, stream


def _frames(container: Container, stream: Stream, source: Path | Readable) -> Iterator[Frame]:
    with decoding(source_name(source), AudioError):
        yield from container.decode(stream)


def _seek(container: Container, stream: Stream, start: int) -> int | None:
    """Go near ``start``: the position there, ``None`` where the next frame tells it."""
    ahead = start / stream.rate - _PREROLL_SECONDS
    if ahead <= 0 or stream.time_base != Fraction(1, stream.rate):
        # Stamps in milliseconds (Matroska) or none (raw streams) do not name a frame: decode from the start.
        return 0
    container.seek(int(ahead * stream.rate) + (stream.start_time or 0), stream=stream)
    return None


def _position(frame: Frame, stream: Stream) -> int:
    if frame.pts is None or stream.time_base is None:
        raise AudioError(f"{stream.name} without time stamps: frames cannot be told apart")
    return round((frame.pts - (stream.start_time or 0)) * stream.time_base * stream.rate)
