"""Audio files of any common format: what they hold, and any part of it as float32.

libsndfile (WAV, FLAC, Ogg, Opus, MP3, AIFF ...) comes first; what it does not know goes to PyAV, an extra.
"""

import io
import os
import struct
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from codeword.data import audio_media
from codeword.data.audio_errors import AudioError
from codeword.data.audio_wav import missing_bytes
from codeword.data.tar_members import MemberFile

# libsndfile's figure for a length that nothing tells is larger; no real file comes near.
UNKNOWN = 1 << 60
_BLOCK = 1 << 16
_MP3_SLACK = 4096  # bytes; encoders count the frame that announces, or do not
_BAD_FILE = 7  # "file does not exist": what libsndfile says of an MP3 without a frame, when it has the file in hand


class SequentialFile(soundfile.SoundFile):
    """A file read from one place on: soundfile seeks after every block, which FLAC pays for and pipes cannot do."""

    def seekable(self) -> bool:
        return False

    def next_frames(self, count: int) -> npt.NDArray[np.float32]:
        """The next frames ``(channels, time)``, fewer at the end."""
        return np.ascontiguousarray(cast(npt.NDArray[np.float32], self.read(count, dtype="float32", always_2d=True)).T)


AnyFile = str | os.PathLike[str] | MemberFile


class AudioInfo(NamedTuple):
    """What the header of an audio file says.

    Attributes:
        frames: Samples of each channel.
        rate: Frames per second.
        channels: Channels.
    """

    frames: int
    rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.frames / self.rate


def audio_info(path: AnyFile) -> AudioInfo:
    """Length, rate and channels of an audio file.

    Raises:
        AudioError: In one line, if the file is missing, no audio, damaged, or needs the extra ``media``.
    """
    path = _begin(path)
    try:
        with SequentialFile(path) as file:
            check_complete(file, path)
            frames = file.frames if file.frames < UNKNOWN else _count(file)
            return AudioInfo(frames, file.samplerate, file.channels)
    except soundfile.LibsndfileError as error:
        return AudioInfo(*audio_media.media_info(path, reason(error)))


def read_audio(path: AnyFile, start: int = 0, frames: int | None = None) -> Float[Tensor, "channels time"]:
    """Frames ``start`` to ``start + frames`` of a file, as the same slice of the whole would be; full scale is 1.

    Where the file ends earlier there are fewer, as in a slice. A file without samples gives ``(channels, 0)``.

    Note:
        Files read by PyAV are sought to the sample, but decoders with noise substitution (AAC) start it anew after a
        seek, so that values differ below the noise that the encoder left.

    Raises:
        AudioError: In one line, if the file is missing, no audio, truncated, holds a NaN, or needs the extra ``media``.
    """
    return torch.from_numpy(read_frames(path, start, frames))


def read_frames(path: AnyFile, start: int = 0, frames: int | None = None) -> Float[np.ndarray, "channels time"]:
    """``read_audio`` as an array; it lets other threads run while it decodes."""
    if start < 0 or (frames is not None and frames < 0):
        raise ValueError(f"a part of a file starts and lasts 0 frames or more: got start={start}, frames={frames}")
    path = _begin(path)
    try:
        audio = _read_sndfile(path, start, frames)
    except soundfile.LibsndfileError as error:
        audio = audio_media.read_media(path, start, frames, reason(error))
    check_finite(audio, start, str(path))
    return audio


def readable(path: str | os.PathLike[str]) -> Path:
    """The path, once it is known to name a file with something in it."""
    path = Path(path)
    if path.is_dir():
        raise AudioError(f"{path} is a directory: give one audio file")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise AudioError(f"{path}: {(error.strerror or str(error)).lower()}: give an audio file") from error
    if path.is_file() and not size:
        raise AudioError(f"{path} is empty (0 bytes): give an audio file")
    if not os.access(path, os.R_OK):
        raise AudioError(f"{path} may not be read: permission denied")
    return path


def check_finite(audio: Float[np.ndarray, "channels time"], start: int, name: str) -> None:
    """Refuse a NaN or an infinity, naming the first.

    Raises:
        AudioError: It names frame and channel.
    """
    # One cheap pass; a sum of finite samples is finite unless they are near the end of float32.
    with np.errstate(over="ignore"):
        if not audio.size or np.isfinite(audio.sum()):
            return
    bad = np.argwhere(~np.isfinite(audio.T))
    if len(bad):
        frame, channel = bad[0]
        raise AudioError(
            f"{name}: frame {start + frame} of channel {channel} is not finite (NaN or infinite), {len(bad)} samples "
            "are not: repair the file"
        )


def check_complete(file: soundfile.SoundFile, path: Path | MemberFile) -> None:
    """Refuse a WAV or MP3 file that is shorter than its header says, which libsndfile would pass over.

    Raises:
        AudioError: It says how much is missing.
    """
    if file.format not in ("WAV", "WAVEX", "RF64", "MP3") or not (isinstance(path, MemberFile) or path.is_file()):
        return
    # A file of its own: libsndfile would lose its place in a member.
    with io.BytesIO(path.getvalue()) if isinstance(path, MemberFile) else path.open("rb") as other:
        lost = missing_mp3_bytes(other) if file.format == "MP3" else missing_bytes(other, str(path))
    if lost:
        raise AudioError(f"{path} is truncated: {lost} bytes of what its header announces are missing")


def missing_mp3_bytes(file: io.BufferedIOBase) -> int:
    """How many bytes an MP3 lacks of those that its first frame announces; 0 where it announces none.

    A file without the frame called Xing or Info, as of constant rate, says nothing of its length.
    """
    start = file.read(10)
    # The size of a tag has seven bits in a byte.
    tag = 10 + sum(byte << shift for byte, shift in zip(start[6:], (21, 14, 7, 0), strict=False))
    begin = tag if start[:3] == b"ID3" else 0
    size = file.seek(0, io.SEEK_END) - begin
    file.seek(begin)
    frame = file.read(256)
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    if place < 0:
        return 0
    flags, *counts = struct.unpack(">III", frame[place + 4 : place + 16].ljust(12, b"\0"))
    announced = counts[flags & 1] if flags & 2 else 0
    return announced - size if announced > size + _MP3_SLACK else 0


def reason(error: soundfile.LibsndfileError) -> str:
    """What libsndfile says, to be the end of a sentence."""
    if error.code == _BAD_FILE:
        return "no frame of audio was found"
    said = str(error.error_string).strip().rstrip(".").removeprefix("Error : ")
    return said[:1].lower() + said[1:] if said else "its data is damaged"


def _begin(path: AnyFile) -> Path | MemberFile:
    """A file with something in it, at its first byte."""
    if not isinstance(path, MemberFile):
        return readable(path)
    if not path.seek(0, io.SEEK_END):
        raise AudioError(f"{path} is empty (0 bytes): give an audio file")
    path.seek(0)
    return path


def _read_sndfile(path: Path | MemberFile, start: int, frames: int | None) -> npt.NDArray[np.float32]:
    with SequentialFile(path) as file:
        check_complete(file, path)
        stop = file.frames if frames is None else min(start + frames, file.frames)
        wanted = max(stop - start, 0)
        if not wanted:
            return np.zeros((file.channels, 0), np.float32)
        if file.frames >= UNKNOWN:
            return _read_unknown(file, start, stop)
        try:
            if start:
                file.seek(start)
            audio = file.next_frames(wanted)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{path} is truncated or damaged: {reason(error)}") from error
        # The length of an MP3 without a table of contents is an estimate.
        if audio.shape[1] < wanted and file.format != "MP3":
            raise AudioError(
                f"{path} is truncated or damaged: {wanted} frames from frame {start} are announced, "
                f"{audio.shape[1]} can be decoded"
            )
        return audio


def _count(file: SequentialFile) -> int:
    total = 0
    while count := file.next_frames(_BLOCK).shape[1]:
        total += count
    return total


def _read_unknown(file: SequentialFile, start: int, stop: int) -> npt.NDArray[np.float32]:
    parts, position = [np.zeros((file.channels, 0), np.float32)], 0
    while position < stop and (block := file.next_frames(_BLOCK)).size:
        parts.append(block[:, max(start - position, 0) : max(stop - position, 0)])
        position += block.shape[1]
    return np.concatenate(parts, axis=1)
