"""Audio that passes by in blocks, in constant memory: from a file, from a pipe that cannot seek, or from the caller.

::

    samples ───────────────────────────┐
    path ───────► libsndfile or PyAV ──┤
    pipe, WAV ──► its chunks in order ─┼─► blocks ─► mix ─► resample ─► blocks of one size
    pipe, FLAC ─► libsndfile, forward ─┤
    pipe, other ► temporary file ──────┘
"""

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from codeword.data.audio_errors import AudioError
from codeword.data.audio_files import UNKNOWN, SequentialFile, check_complete, check_finite, readable, reason
from codeword.data.audio_media import media_stream
from codeword.data.audio_resample import mix, resample_blocks, resampled_length
from codeword.data.audio_wav import Readable, pcm_blocks, read_wav_header

_READ = 1 << 16
_WINDOW = 1 << 17  # bytes behind the reader that libsndfile may go back to


@runtime_checkable
class BinarySource(Protocol):
    """An open binary file or pipe."""

    def read(self, count: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int = ..., /) -> int: ...
    def seekable(self) -> bool: ...


class _Opened(NamedTuple):
    """A source as it is: frames are ``None`` where nothing tells."""

    rate: int
    channels: int
    frames: int | None
    blocks: Iterator[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class _Want:
    """What the caller asked for."""

    rate: int | None
    channels: int | None
    block: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, got {value}")

    def at_once(self, rate: int) -> int:
        """Frames of a source that make a block: more are not waited for."""
        return min(_READ, -(-self.block * rate // (self.rate or rate)))


class AudioStream:
    """Blocks of a source, one after the other; it closes at its end or as a context manager.

    ``stream_audio`` and ``stream_samples`` make it.

    Attributes:
        rate: Frames per second of the blocks.
        channels: Channels of the blocks.
        frames: Frames of all blocks together; ``None`` where the source does not tell, or only estimates.
        source_rate: Frames per second of the source.
        source_channels: Channels of the source.
    """

    def __init__(self, opened: _Opened, want: _Want, stack: ExitStack) -> None:
        self.source_rate, self.source_channels = opened.rate, opened.channels
        self.rate = opened.rate if want.rate is None else want.rate
        self.channels = opened.channels if want.channels is None else want.channels
        known = opened.frames is not None
        self.frames = resampled_length(opened.frames or 0, opened.rate, self.rate) if known else None
        self._stack, self._asked = stack, lambda: False
        mixed = (mix(audio, self.channels) for audio in opened.blocks)
        self._blocks = _regular(resample_blocks(mixed, opened.rate, self.rate, self.channels), want.block)

    def end_when(self, asked: Callable[[], bool]) -> None:
        """End after the block during which this becomes true, as if the source had ended there."""
        self._asked = asked

    def __iter__(self) -> Iterator[Float[Tensor, "channels time"]]:
        with self._stack:
            for audio in self._blocks:
                yield torch.from_numpy(audio)
                if self._asked():
                    return

    def __enter__(self) -> "AudioStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def stream_audio(
    source: str | os.PathLike[str] | BinarySource,
    *,
    rate: int | None = None,
    channels: int | None = None,
    block: int = 1 << 16,
) -> AudioStream:
    """Open audio to be read block by block, float32 with full scale 1.

    n frames at one rate become ceil(n * rate / source rate) at another, and the blocks together are what ``resample``
    makes of the whole. Mono is the mean of all channels, and a mono source is copied to every channel.

    Args:
        source: A path, or an open binary file or pipe. From a pipe, WAV and FLAC are decoded as they arrive, also where
            the header does not know the length; everything else goes through a temporary file first.
        rate: Frames per second of the blocks; by default the source's.
        channels: Channels of the blocks; by default the source's.
        block: Frames of each block; the last may have fewer. A source without samples has no blocks.

    Raises:
        AudioError: In one line: missing, no audio, truncated, a NaN; the last two while the blocks are read.
    """
    want = _Want(rate, channels, block)
    stack = ExitStack()
    try:
        if isinstance(source, (str, os.PathLike)):
            path = readable(source)
            name = str(path)
            regular = path.is_file()
            opened = (
                _open_file(path, stack)
                if regular
                else _open_pipe(stack.enter_context(path.open("rb")), name, stack, want)
            )
        else:
            name = "the stream"
            seekable = source.seekable()
            opened = _open_file(source, stack) if seekable else _open_pipe(source, name, stack, want)
        opened = opened._replace(blocks=_finite(opened.blocks, name))
        return AudioStream(opened, want, stack)
    except BaseException:
        stack.close()
        raise


def stream_samples(
    blocks: Iterable[Float[Tensor, "channels time"] | Float[np.ndarray, "channels time"]],
    source_rate: int,
    *,
    rate: int | None = None,
    channels: int | None = None,
    block: int = 1 << 16,
) -> AudioStream:
    """Samples that come in blocks of any length, as from a microphone, as a stream like that of a file.

    Args:
        blocks: Floats with full scale 1; all have as many channels as the first one, for which this waits.
        source_rate: Their frames per second.
        rate: Frames per second of the stream; by default that of the blocks.
        channels: Channels of the stream; by default those of the blocks.
        block: Frames that are waited for.

    Raises:
        ValueError: If blocks are of another kind, here or while the stream is read.
        AudioError: If there is none, or a sample is not finite.
    """
    if source_rate < 1:
        raise ValueError(f"source_rate must be 1 or more, got {source_rate}")
    want, coming = _Want(rate, channels, block), iter(blocks)
    if (given := next(coming, None)) is None:
        raise AudioError("no block of samples came: give one at least")
    first = _samples(given, None)
    count = len(first)

    def floats() -> Iterator[npt.NDArray[np.float32]]:
        yield first
        for given in coming:
            yield _samples(given, count)

    return AudioStream(_Opened(source_rate, count, None, _finite(floats(), "the stream")), want, ExitStack())


def _samples(given: object, channels: int | None) -> npt.NDArray[np.float32]:
    """A block of the caller, with so many channels or any number of them."""
    samples = given.detach().cpu() if isinstance(given, Tensor) else np.asarray(given)
    real = samples.is_floating_point() if isinstance(samples, Tensor) else samples.dtype.kind == "f"
    if not real or samples.ndim != 2 or len(samples) < 1 or channels not in (None, len(samples)):
        wanted = "channels" if channels is None else channels
        raise ValueError(
            f"blocks are floats of shape ({wanted}, time), got {samples.dtype} of shape {tuple(samples.shape)}"
        )
    return samples.float().numpy() if isinstance(samples, Tensor) else samples.astype(np.float32)


def _open_file(source: Path | BinarySource, stack: ExitStack) -> _Opened:
    name = str(source) if isinstance(source, Path) else "the stream"
    if not isinstance(source, Path) and not source.seek(0, io.SEEK_END):
        raise AudioError(f"{name} is empty (0 bytes): give audio")
    if not isinstance(source, Path):
        source.seek(0)
    try:
        file = stack.enter_context(SequentialFile(cast(BinaryIO, source)))
    except soundfile.LibsndfileError as error:
        if not isinstance(source, Path):
            source.seek(0)
        rate, channels, blocks = stack.enter_context(media_stream(source, reason(error)))
        return _Opened(rate, channels, None, blocks)
    if isinstance(source, Path):
        check_complete(file, source)
    # An MP3 may only estimate its length.
    exact = file.frames < UNKNOWN and file.format != "MP3"
    return _Opened(file.samplerate, file.channels, file.frames if exact else None, _sndfile_blocks(file, name))


def _sndfile_blocks(file: SequentialFile, name: str, count: int = _READ) -> Iterator[npt.NDArray[np.float32]]:
    left = file.frames
    while left:
        try:
            audio = file.next_frames(min(count, left))
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{name} is truncated or damaged: {reason(error)}") from error
        if not audio.size:
            break
        left -= audio.shape[1]
        yield audio
    if left and file.frames < UNKNOWN and file.format != "MP3":
        raise AudioError(f"{name} is truncated or damaged: {left} of {file.frames} frames cannot be decoded")


def _open_pipe(source: Readable, name: str, stack: ExitStack, want: _Want) -> _Opened:
    pipe = _Window(source)
    start = pipe.read(4)
    pipe.seek(0)
    if not start:
        raise AudioError(f"{name} is empty (0 bytes): give audio")
    if start in (b"RIFF", b"RF64"):
        header = read_wav_header(pipe, name)
        if header.subtype is not None:
            frames, blocks = pcm_blocks(pipe, header, name, want.at_once(header.rate))
            return _Opened(header.rate, header.channels, frames, blocks)
        pipe.seek(0)
    if start == b"fLaC":
        try:
            file = stack.enter_context(SequentialFile(cast(BinaryIO, pipe)))
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{name} is no FLAC: {reason(error)}") from error
        known = file.frames if file.frames < UNKNOWN else None
        return _Opened(
            file.samplerate, file.channels, known, _sndfile_blocks(file, name, want.at_once(file.samplerate))
        )
    spool = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    shutil.copyfileobj(pipe, spool)
    spool.seek(0)
    return _open_file(spool, stack)


class _Window:
    """A pipe as libsndfile wants it: a file of enormous length, of which the last bytes read can be read again."""

    def __init__(self, source: Readable) -> None:
        self.source, self.position = source, 0
        self.first, self.kept = 0, bytearray()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: UNKNOWN}
        self.position = origin[whence] + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def read(self, count: int = -1) -> bytes:
        stop = self.position + (_READ if count < 0 else count)
        while self.first + len(self.kept) < stop and (part := self.source.read(min(_READ, stop - self.first))):
            self.kept += part
        start = self.position - self.first
        found = bytes(self.kept[start : stop - self.first]) if start >= 0 else b""
        self.position += len(found)
        drop = max(self.position - self.first - _WINDOW, 0)
        del self.kept[:drop]
        self.first += drop
        return found


def _finite(blocks: Iterable[npt.NDArray[np.float32]], name: str) -> Iterator[npt.NDArray[np.float32]]:
    position = 0
    for audio in blocks:
        check_finite(audio, position, name)
        position += audio.shape[1]
        yield audio


def _regular(blocks: Iterable[npt.NDArray[np.float32]], size: int) -> Iterator[npt.NDArray[np.float32]]:
    """The same samples in blocks of ``size``, the last as long as it comes."""
    waiting: list[npt.NDArray[np.float32]] = []
    have = 0
    for audio in blocks:
        waiting.append(audio)
        have += audio.shape[1]
        if have < size:
            continue
        joined = np.concatenate(waiting, axis=1)
        for start in range(0, have - size + 1, size):
            yield np.ascontiguousarray(joined[:, start : start + size])
        have %= size
        waiting = [joined[:, joined.shape[1] - have :]] if have else []
    if have:
        yield np.ascontiguousarray(np.concatenate(waiting, axis=1))
