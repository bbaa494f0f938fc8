"""What is inside the chunks of an audio file: a description of the frames, and codes <-> payload bytes.

unused samples    only where the header does not know the length
frames            see codeword.formats.frame_payload
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from codeword.entropy.frames import FrameCoder, FrameTables
from codeword.formats.container import MAX_CHUNK_ITEMS, MAX_ITEMS
from codeword.formats.fields import MAX_INTEGER, check_codes, header_of, is_count, size_runs
from codeword.formats.frame_packing import FramePacking
from codeword.formats.frame_payload import FramePayload, check_frames, check_tables

MAX_CHANNELS = 255
MAX_CHUNK_CODES = 2**20
_WHAT = "an audio file"
_NUMBERS = ("sample_rate", "hop", "num_samples", "channels", "depth")
_MORE: Mapping[str, tuple[str, object]] = {"c": ("channel_mode", "dual"), "t": ("tables", None)}


@dataclass(frozen=True, kw_only=True)
class AudioHeader:
    """The description of an audio file.

    Attributes:
        model: Fingerprint of the model that made the codes, its first 16 hexadecimal digits.
        sample_rate: Samples per second of what the model encodes.
        hop: Samples that a frame stands for.
        sizes: Codebook size of every level.
        num_samples: Samples per channel; ``None`` where the number was not known when the file was begun.
        channels: Number of channels.
        channel_mode: ``dual``: every channel is coded by itself; ``mid_side``: two channels as half their sum, half
            their difference.
        depth: The number of levels of all frames; ``None`` if every frame of every channel has its own.
        tables: Fingerprint of the tables of a range-coded file, 16 digits; the writer fills it in.
    """

    model: str
    sample_rate: int
    hop: int
    sizes: tuple[int, ...]
    num_samples: int | None = None
    channels: int = 1
    channel_mode: Literal["dual", "mid_side"] = "dual"
    depth: int | None = None
    tables: str | None = None

    def __post_init__(self) -> None:
        _check_fields(asdict(self))

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.sizes)

    @property
    def num_frames(self) -> int | None:
        """Number of frames; the last one may stand for fewer samples than the others."""
        return None if self.num_samples is None else -(-self.num_samples // self.hop)

    @property
    def max_frames(self) -> int:
        """Frames that one chunk may hold."""
        return min(MAX_CHUNK_ITEMS, MAX_CHUNK_CODES // (self.channels * self.levels))

    def to_fields(self) -> dict[str, object]:
        """The header fields of the container."""
        fields: dict[str, object] = {
            "a": [self.sample_rate, self.hop, self.num_samples, self.channels, self.depth, *size_runs(self.sizes)],
            "m": self.model,
        }
        if self.channel_mode != "dual":
            fields["c"] = self.channel_mode
        if self.tables is not None:
            fields["t"] = self.tables
        return fields

    @classmethod
    def from_fields(cls, found: Mapping[str, object]) -> "AudioHeader":
        """Undo :meth:`to_fields`.

        Raises:
            FormatError: If a field is missing, unknown or wrong.
        """
        return header_of(found, cls, _check_fields, _WHAT, _NUMBERS, _MORE)


def _check_fields(values: Mapping[str, Any]) -> None:
    """Refuse values that no file may have; they may come from a file and be of any type."""
    hop, sizes, samples = values["hop"], values["sizes"], values["num_samples"]
    hop_holds = is_count(hop, 1, MAX_INTEGER)
    rules = {
        "a sample_rate from 1 to 2**31 - 1": is_count(values["sample_rate"], 1, MAX_INTEGER),
        "a hop from 1 to 2**31 - 1": hop_holds,
        f"1 to {MAX_CHANNELS} channels": is_count(values["channels"], 1, MAX_CHANNELS),
        "a channel_mode dual, or mid_side of two channels": values["channel_mode"] == "dual"
        or (values["channel_mode"] == "mid_side" and values["channels"] == 2),
        "a depth from 1 to the number of levels, or null": values["depth"] is None
        or is_count(values["depth"], 1, len(sizes)),
        "a num_samples that is a count or null": samples is None
        or (hop_holds and is_count(samples, 0, MAX_ITEMS * hop)),
    }
    check_codes(_WHAT, values, rules)


class AudioBlock(NamedTuple):
    """What a chunk holds.

    Attributes:
        codes: -1 beyond the depth of a frame.
        unused: Samples at the end that do not belong to the signal; not counted where the header knows the length.
    """

    codes: Int64[np.ndarray, "channels frames levels"]
    unused: int


class AudioPayload:
    """Frames of one chunk <-> bytes. Codes given to it have been checked by :func:`check_audio`.

    Args:
        header: What the file says about itself.
        tables: The model's tables, for a range-coded file.
    """

    def __init__(self, header: AudioHeader, tables: FrameTables | None) -> None:
        self._header = header
        coder = None
        if header.tables is not None:
            coder = FrameCoder(check_tables(header.tables, header.sizes, tables), header.channels, header.depth)
        self._frames = FramePayload(FramePacking(header.sizes, header.channels, header.depth), coder)

    def encode(self, codes: Int64[np.ndarray, "channels frames levels"], unused: int) -> bytes:
        """Frames to bytes."""
        prefix = b"" if self._header.num_samples is not None else _pack_number(unused)
        return prefix + self._frames.encode(codes)

    def decode(self, data: bytes, frames: int, levels: int) -> AudioBlock:
        """Bytes to frames with the first ``levels`` levels; ``ValueError`` on bytes that :meth:`encode` never makes."""
        unused, data = split_unused(data, self._header)
        return AudioBlock(self._frames.decode(data, frames, levels), unused)


def split_unused(data: bytes, header: AudioHeader) -> tuple[int, bytes]:
    """The number of unused samples at the end of a chunk, and the rest of its payload."""
    if header.num_samples is not None:
        return 0, data
    unused, rest = _unpack_number(data)
    if unused >= header.hop:
        raise ValueError(f"{unused} unused samples in a frame of {header.hop}")
    return unused, rest


def _pack_number(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the top bit says that more follow."""
    data = bytearray()
    while number >= 128:
        data.append(number % 128 + 128)
        number //= 128
    data.append(number)
    return bytes(data)


def _unpack_number(data: bytes) -> tuple[int, bytes]:
    number = 0
    for place, byte in enumerate(data[:5]):
        number += byte % 128 << 7 * place
        if byte < 128:
            if place and not byte:
                break
            return number, data[place + 1 :]
    raise ValueError("the number of unused samples is not one that a writer makes")


def check_audio(
    codes: Integer[np.ndarray, "channels frames levels"], header: AudioHeader
) -> Int64[np.ndarray, "channels frames levels"]:
    """A copy of ``codes`` as int64, if a file with this header can hold them.

    Raises:
        ValueError: Naming the first code that it cannot hold.
    """
    if (codes.shape[0], codes.shape[2]) != (header.channels, header.levels):
        raise ValueError(
            f"codes have {codes.shape[0]} channels and {codes.shape[2]} levels, "
            f"the file has {header.channels} and {header.levels}"
        )
    return check_frames(codes, header.sizes, header.depth)
