"""WAV, read and written front to back: for pipes, which cannot seek, for files cut short, and for more than 4 GB."""

import io
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from codeword.data.audio_errors import AudioError

# Programs that write to a pipe do not know the length: 0, or something near the largest number there is.
_LARGEST = 0x7FFFF000
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


@runtime_checkable
class Readable(Protocol):
    """What bytes can be read from, in order."""

    def read(self, count: int, /) -> bytes: ...


class WavHeader(NamedTuple):
    """The format of the samples that follow it.

    Attributes:
        rate: Frames per second.
        channels: Channels.
        subtype: libsndfile's name for plain samples: ``PCM_U8``, ``PCM_16``, ``PCM_24``, ``PCM_32``, ``FLOAT``,
            ``DOUBLE``; ``None`` for what is coded.
        size: Bytes of samples; ``None`` where the writer did not know.
    """

    rate: int
    channels: int
    subtype: str | None
    size: int | None


def read_wav_header(source: Readable, name: str) -> WavHeader:
    """Read up to the first byte of samples.

    Raises:
        AudioError: If the stream ends before that or is no WAV.
    """
    riff = _exactly(source, 12, name)
    if riff[:4] not in (b"RIFF", b"RF64") or riff[8:] != b"WAVE":
        raise AudioError(f"{name} is no WAV: it starts with {riff[:4]!r}")
    layout: tuple[int, int, int, int] | None = None
    long_size: int | None = None
    while True:
        kind, size = struct.unpack("<4sI", _exactly(source, 8, name))
        if kind == b"data":
            break
        body = _exactly(source, size + size % 2, name)
        if kind == b"fmt " and size >= 16:
            layout = _layout(body)
        if kind == b"ds64" and size >= 16:
            (long_size,) = struct.unpack("<Q", body[8:16])
    if layout is None:
        raise AudioError(f"{name} is damaged: its samples come before their format")
    code, channels, rate, bits = layout
    if not channels or not rate:
        raise AudioError(f"{name} is damaged: its header says {channels} channels at {rate} Hz")
    unknown = size == 0 or size >= _LARGEST
    return WavHeader(rate, channels, _subtype(code, bits), long_size if unknown else size)


def missing_bytes(file: io.BufferedIOBase, name: str) -> int:
    """Bytes of samples that the header of a WAV file announces and the file lacks; 0 where it does not know."""
    size, place = read_wav_header(file, name).size, file.tell()
    return 0 if size is None else max(size - (file.seek(0, io.SEEK_END) - place), 0)


def _layout(body: bytes) -> tuple[int, int, int, int]:
    code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", body[:16])
    if code == _EXTENSIBLE and len(body) >= 26:
        (code,) = struct.unpack("<H", body[24:26])
    return code, channels, rate, bits


def _subtype(code: int, bits: int) -> str | None:
    names = {
        (_PCM, 8): "PCM_U8",
        (_PCM, 16): "PCM_16",
        (_PCM, 24): "PCM_24",
        (_PCM, 32): "PCM_32",
        (_FLOAT, 32): "FLOAT",
        (_FLOAT, 64): "DOUBLE",
    }
    return names.get((code, bits))


def _exactly(source: Readable, count: int, name: str) -> bytes:
    data = _up_to(source, count)
    if len(data) < count:
        raise AudioError(f"{name} is truncated: it ends inside its header")
    return bytes(data)


def pcm_blocks(
    source: Readable, header: WavHeader, name: str, count: int
) -> tuple[int | None, Iterator[npt.NDArray[np.float32]]]:
    """The number of frames, where it is known, and the samples after the header in blocks of ``count`` frames."""
    assert header.subtype is not None
    width, convert = _SAMPLES[header.subtype]
    frame = width * header.channels
    frames = None if header.size is None else header.size // frame

    def blocks() -> Iterator[npt.NDArray[np.float32]]:
        left = frames
        while left is None or left:
            data = _up_to(source, frame * (count if left is None else min(count, left)))
            found = len(data) // frame
            if found:
                yield np.ascontiguousarray(convert(data[: found * frame]).reshape(found, header.channels).T)
            left = None if left is None else left - found
            if found * frame < len(data) or not data:
                break
        if left:
            raise AudioError(f"{name} is truncated: {left} of {frames} frames are missing")

    return frames, blocks()


def encode_pcm(audio: npt.NDArray[np.float32], bits: int) -> bytes:
    """Samples ``(channels, time)`` as a WAV stores them: integers of 16 or 24 bits, cut at full scale, or floats."""
    rows = np.ascontiguousarray(audio.T, dtype=np.float32)
    if bits == 32:
        return rows.astype("<f4").tobytes()
    scale = 2.0 ** (bits - 1)
    whole = np.clip(np.rint(rows.astype(np.float64) * scale), -scale, scale - 1).astype("<i4")
    return whole.astype("<i2").tobytes() if bits == 16 else whole.reshape(-1, 1).view("u1")[:, :3].tobytes()


def wav_header(rate: int, channels: int, bits: int, size: int | None) -> bytes:
    """80 bytes before ``size`` bytes of samples (``None``: not known yet); more than 4 GB make it an RF64."""
    frame = channels * bits // 8
    code = _FLOAT if bits == 32 else _PCM
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, code, channels, rate, rate * frame, frame, bits)
    whole = None if size is None else 72 + size + size % 2
    if whole is not None and size is not None and whole > _LARGEST:
        lengths = struct.pack("<4sIQQQI", b"ds64", 28, whole, size, size // frame, 0)
        return b"RF64\xff\xff\xff\xffWAVE" + lengths + layout + b"data\xff\xff\xff\xff"
    numbers = (0xFFFFFFFF, 0xFFFFFFFF) if whole is None or size is None else (whole, size)
    room = struct.pack("<4sI28x", b"JUNK", 28)
    return (
        struct.pack("<4sI4s", b"RIFF", numbers[0], b"WAVE") + room + layout + struct.pack("<4sI", b"data", numbers[1])
    )


def empty_flac(rate: int, channels: int, bits: int) -> bytes:
    """A FLAC file without samples: its mark and STREAMINFO (RFC 9639, section 8.2)."""
    numbers = (rate << 44) | (channels - 1 << 41) | (bits - 1 << 36)
    return b"fLaC\x80\0\0\x22" + struct.pack(">HH6xQ16x", 4096, 4096, numbers)


def _integers(dtype: str, scale: float) -> Callable[[bytes], npt.NDArray[np.float32]]:
    return lambda data: np.frombuffer(data, dtype).astype(np.float32) / np.float32(scale)


def _three_bytes(data: bytes) -> npt.NDArray[np.float32]:
    whole = np.zeros((len(data) // 3, 4), np.uint8)
    whole[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return whole.view("<i4").reshape(-1).astype(np.float32) / np.float32(2.0**31)


# Bytes of a sample, and what makes float32 of many.
_SAMPLES: dict[str, tuple[int, Callable[[bytes], npt.NDArray[np.float32]]]] = {
    "PCM_U8": (1, lambda data: (np.frombuffer(data, np.uint8).astype(np.float32) - 128.0) / np.float32(128.0)),
    "PCM_16": (2, _integers("<i2", 2.0**15)),
    "PCM_24": (3, _three_bytes),
    "PCM_32": (4, _integers("<i4", 2.0**31)),
    "FLOAT": (4, lambda data: np.frombuffer(data, "<f4").astype(np.float32)),
    "DOUBLE": (8, lambda data: np.frombuffer(data, "<f8").astype(np.float32)),
}


def _up_to(source: Readable, count: int) -> bytes:
    """``count`` bytes, fewer only where the stream ends: a pipe gives what it has."""
    data = bytearray()
    # In pieces: the size of a chunk comes from outside and is not to be trusted with memory.
    while len(data) < count and (part := source.read(min(count - len(data), 1 << 20))):
        data += part
    return bytes(data)
