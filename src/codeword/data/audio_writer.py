"""Audio written block by block, in constant memory; a file appears when it is complete."""

import io
import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import soundfile
from jaxtyping import Float
from torch import Tensor

from codeword.data.audio_errors import AudioError
from codeword.data.audio_files import reason
from codeword.data.audio_wav import empty_flac, encode_pcm, wav_header
from codeword.formats.atomic import atomic_write
from codeword.formats.errors import WriteError

_FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG"}
_BITS = {"WAV": (16, 24, 32), "FLAC": (16, 24), "OGG": (16,)}
_BLOCK = 1 << 14  # libvorbis overflows its stack on long blocks


class AudioWriter:
    """Writes blocks of samples; used as a context manager.

    A file changes only when the block ends well; after an exception what was there is untouched.

    Args:
        target: A path that ends in ``.wav``, ``.flac`` or ``.ogg``, or an open binary file or pipe, which gets WAV.
        rate: Frames per second.
        channels: Channels.
        bits: 16 or 24 (integers, cut at full scale), 32 (floats, WAV only). Ogg Vorbis has no such number.

    Attributes:
        frames: Frames written so far.
        cut: Samples so far that were beyond full scale and were cut, where samples are integers.

    Raises:
        AudioError: In one line: another ending, or what the format cannot hold.
        WriteError: If the file cannot be written.
    """

    def __init__(
        self, target: str | os.PathLike[str] | BinaryIO, *, rate: int, channels: int, bits: Literal[16, 24, 32] = 16
    ) -> None:
        self.target, self.rate, self.channels, self.bits = target, rate, channels, bits
        self.name = str(target) if isinstance(target, (str, os.PathLike)) else "the stream"
        suffix = Path(target).suffix.lower() if isinstance(target, (str, os.PathLike)) else ".wav"
        if suffix not in _FORMATS:
            raise AudioError(f"{self.name}: cannot write {suffix!r}: audio is written to {', '.join(_FORMATS)}")
        self.format = _FORMATS[suffix]
        if bits not in _BITS[self.format]:
            raise AudioError(f"{self.name}: {self.format} holds {_BITS[self.format]} bits a sample, got {bits}")
        if rate < 1 or not 1 <= channels <= 65535:
            raise AudioError(f"{self.name}: rate and channels are 1 or more, got {rate} and {channels}")
        if self.format != "WAV" and not soundfile.check_format(self.format, self._subtype):
            raise AudioError(f"{self.name}: this libsndfile cannot write {self.format}")
        self.frames = self.cut = 0
        self._stack = ExitStack()
        self._file: BinaryIO | None = None
        self._encoder: soundfile.SoundFile | None = None
        self._origin: int | None = None  # of a file that can be gone back in

    @property
    def _subtype(self) -> str:
        return "VORBIS" if self.format == "OGG" else f"PCM_{self.bits}"

    def __enter__(self) -> "AudioWriter":
        with ExitStack() as stack:
            target = self.target
            file = stack.enter_context(atomic_write(target)) if isinstance(target, (str, os.PathLike)) else target
            if self.format == "WAV":
                self._origin = file.tell() if file.seekable() else None
                file.write(wav_header(self.rate, self.channels, self.bits, None))
            else:
                self._encoder = stack.enter_context(self._opened_encoder(file))
            stack.push(self._finish)
            self._file, self._stack = file, stack.pop_all()
        return self

    def write(self, audio: Float[Tensor, "channels time"]) -> None:
        """Append a block.

        Raises:
            AudioError: If it has another number of channels, or a sample that is not finite.
        """
        assert self._file is not None, "an AudioWriter is used as a context manager"
        block = np.asarray(audio.detach().numpy(force=True), dtype=np.float32)
        if len(block) != self.channels:
            raise AudioError(f"{self.name}: {self.channels} channels were announced, got {len(block)}")
        if not np.isfinite(block).all():
            raise AudioError(f"{self.name}: samples must be finite, got a NaN or an infinity after frame {self.frames}")
        if self.bits < 32:
            self.cut += int((np.abs(block) > 1.0).sum())
        for start in range(0, block.shape[1], _BLOCK):
            part = block[:, start : start + _BLOCK]
            if self._encoder is None:
                self._file.write(encode_pcm(part, self.bits))
            else:
                self._encode(part)
        self.frames += block.shape[1]

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, value, trace)

    def _encode(self, part: npt.NDArray[np.float32]) -> None:
        assert self._encoder is not None
        try:
            self._encoder.write(np.ascontiguousarray(np.clip(part, -1.0, 1.0).T))
        except (soundfile.LibsndfileError, AssertionError) as error:  # soundfile asserts that all was written
            raise WriteError(f"cannot write {self.name}: the encoder could not store a block, disk full?") from error

    def _opened_encoder(self, file: BinaryIO) -> soundfile.SoundFile:
        try:
            return soundfile.SoundFile(
                file.fileno(), "w", self.rate, self.channels, self._subtype, format=self.format, closefd=False
            )
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{self.name}: {self.format} cannot hold {self.channels} channels at {self.rate} Hz: {reason(error)}"
            ) from error

    def _finish(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Complete what needs it, unless an exception passes."""
        if kind is not None or self._file is None:
            return
        if self._encoder is not None:
            if self.format == "FLAC" and not self.frames:  # libsndfile writes nothing at all
                self._file.write(empty_flac(self.rate, self.channels, self.bits))
            return
        size = self.frames * self.channels * self.bits // 8
        self._file.write(b"\0" * (size % 2))
        if self._origin is not None:
            self._file.seek(self._origin)
            self._file.write(wav_header(self.rate, self.channels, self.bits, size))
            self._file.seek(0, io.SEEK_END)
