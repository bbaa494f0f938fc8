"""Files of speech under envelopes: the kind ``speech`` of the ``.cw`` container.

step, codes (levels), values (lines) of every frame -> blocks of frames of one step -> payload -> chunks

A payload is the step of its frames, two bytes with a sign, and one message of ``codeword.entropy.lines``. Where the
header does not tell how long the signal is, four bytes between them say how many samples of all frames so far belong to
none; only those of the last chunk may be other than 0.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64, Integer

from codeword.entropy.lines import LineCoder, SpeechTables
from codeword.formats.blocks import BlockReader, BlockWriter
from codeword.formats.container import MAX_CHUNK_ITEMS, MAX_ITEMS, BinaryReader, BinaryWriter
from codeword.formats.fields import MAX_INTEGER, SHORT, check_codes, header_of, is_count, short_fingerprint, size_runs
from codeword.formats.source import signal_length

KIND = "speech"
CHUNK_SECONDS = 40
MAX_CHUNK_NUMBERS = 2**22
_KNOWN, _UNKNOWN = struct.Struct("<h"), struct.Struct("<hI")  # step, and samples that are not used
_WHAT = "a file of speech"
_NUMBERS = ("sample_rate", "lines", "num_samples")
_MORE: Mapping[str, tuple[str, object]] = {"t": ("tables", None)}


@dataclass(frozen=True, kw_only=True)
class SpeechHeader:
    """The description of a file of speech.

    Attributes:
        model: Fingerprint of the model that made the codes, its first 16 hexadecimal digits.
        sample_rate: Samples per second.
        lines: Of a frame, which stands for as many samples.
        sizes: Codebook size of every level of the envelope.
        num_samples: Length of the signal; ``None`` if it was not known when the file was begun, and stands at its end.
        tables: Fingerprint of the model's tables, 16 digits; the writer fills it in.
    """

    model: str
    sample_rate: int
    lines: int
    sizes: tuple[int, ...]
    num_samples: int | None = None
    tables: str = "0" * SHORT

    def __post_init__(self) -> None:
        _check_fields(asdict(self))

    @property
    def levels(self) -> int:
        """Codes of an envelope."""
        return len(self.sizes)

    @property
    def channels(self) -> int:
        """Always one."""
        return 1

    @property
    def numbers(self) -> int:
        """Of a frame in memory: its step, the codes of its envelope, and its lines."""
        return 1 + self.levels + self.lines

    @property
    def max_frames(self) -> int:
        """Frames that one chunk may hold."""
        return min(MAX_CHUNK_ITEMS, MAX_CHUNK_NUMBERS // self.numbers)

    def to_fields(self) -> dict[str, object]:
        """The header fields of the container."""
        shape = [self.sample_rate, self.lines, self.num_samples, *size_runs(self.sizes)]
        return {"a": shape, "m": self.model, "t": self.tables}

    @classmethod
    def from_fields(cls, found: Mapping[str, object]) -> "SpeechHeader":
        """Undo :meth:`to_fields`.

        Raises:
            FormatError: If a field is missing, unknown or wrong.
        """
        return header_of(found, cls, _check_fields, _WHAT, _NUMBERS, _MORE)


def _check_fields(values: Mapping[str, Any]) -> None:
    """Refuse values that no file may have; they may come from a file and be of any type."""
    samples = values["num_samples"]
    lined = is_count(values["lines"], 2, 2**16)
    rules = {
        "a sample_rate from 1 to 2**31 - 1": is_count(values["sample_rate"], 1, MAX_INTEGER),
        "2 to 2**16 lines": lined,
        "a num_samples that is a count or null": samples is None
        or (lined and is_count(samples, 0, MAX_ITEMS * values["lines"])),
    }
    check_codes(_WHAT, values, rules, always=True)


class SpeechPayload:
    """Frames of one chunk <-> bytes. Frames given to it have been checked by :func:`check_speech`.

    Args:
        header: What the file says about itself.
        tables: The model's tables.

    Attributes:
        unused: Samples that belong to none, of the chunk that comes next or came last; 0 where the header knows more.
    """

    def __init__(self, header: SpeechHeader, tables: SpeechTables | None) -> None:
        if tables is None:
            raise ValueError("a file of speech needs the tables that are stored with its model: pass tables=")
        if (found := short_fingerprint(tables.fingerprint())) != header.tables:
            raise ValueError(f"the file was written with tables {header.tables}, another model has {found}")
        if tables.sizes != header.sizes or tables.bands.lines != header.lines:
            raise ValueError(
                f"the tables are for sizes {tables.sizes} and {tables.bands.lines} lines, the file has {header.sizes} "
                f"and {header.lines}"
            )
        self._levels, self._coder, self.unused = header.levels, LineCoder(tables), 0
        self._known = header.num_samples is not None

    def encode(self, codes: Int64[np.ndarray, "frames numbers"]) -> bytes:
        """Frames to bytes."""
        steps, of_envelope, values = np.split(codes, [1, 1 + self._levels], axis=1)
        step = int(steps[0, 0])
        head = _KNOWN.pack(step) if self._known else _UNKNOWN.pack(step, self.unused)
        return head + self._coder.encode(of_envelope, values, steps[:, 0])

    def decode(self, data: bytes, count: int) -> Int64[np.ndarray, "{count} numbers"]:
        """Bytes to frames; ``ValueError`` on bytes that :meth:`encode` never makes."""
        if self.unused:
            raise ValueError("these frames come after the end of the signal")
        step, self.unused, message = _split(data, known=self._known)
        steps = np.full((count, 1), step, dtype=np.int64)
        of_envelope, values = self._coder.decode(message, steps[:, 0])
        return np.concatenate([steps, of_envelope, values], axis=1)


def _split(data: bytes, *, known: bool) -> tuple[int, int, bytes]:
    """Step, unused samples and message of a payload."""
    head = _KNOWN if known else _UNKNOWN
    if len(data) < head.size:
        raise ValueError(f"a payload begins with {head.size} bytes, this one has {len(data)}")
    step, unused = (*head.unpack_from(data), 0)[:2]
    return step, unused, data[head.size :]


def check_speech(
    frames: Integer[np.ndarray, "frames numbers"], header: SpeechHeader
) -> Int64[np.ndarray, "frames numbers"]:
    """A copy of ``frames`` as int64, if a file with this header can hold them.

    Raises:
        ValueError: Naming what it cannot hold.
    """
    if frames.shape[1] != header.numbers:
        raise ValueError(f"frames have {frames.shape[1]} numbers, the file has {header.numbers}")
    frames = frames.astype(np.int64)
    steps, of_envelope = frames[:, :1], frames[:, 1 : 1 + header.levels]
    if frames.size and not -(2**15) <= steps.min() <= steps.max() < 2**15:
        raise ValueError(f"steps have 16 bits, got {steps.min()} to {steps.max()}")
    if (wrong := (of_envelope < 0) | (of_envelope >= np.array(header.sizes))).any():
        frame, level = (int(axis[0]) for axis in np.nonzero(wrong))
        raise ValueError(
            f"codes[{frame}, {level}] = {of_envelope[frame, level]} is outside the codebook sizes {header.sizes}"
        )
    return frames


class SpeechFileWriter(BlockWriter):
    """Writes frames as they come; the contract is that of ``BlockWriter``.

    Args:
        file: Where the bytes go, a pipe or a file; the caller closes it.
        header: What the file says about itself.
        tables: The model's tables.
        chunk_frames: Frames per chunk; 40 seconds if not given.
    """

    what: ClassVar[str] = "frames"

    def __init__(
        self, file: BinaryWriter, header: SpeechHeader, *, tables: SpeechTables, chunk_frames: int | None = None
    ) -> None:
        self.header = replace(header, tables=short_fingerprint(tables.fingerprint()))
        if chunk_frames is None:
            chunk_frames = max(1, CHUNK_SECONDS * header.sample_rate // header.lines)
        self._step: int | None = None
        self._own = SpeechPayload(self.header, tables)
        super().__init__(
            file,
            KIND,
            self.header.to_fields(),
            self._own,
            chunk_items=min(chunk_frames, header.max_frames),
            total=None,
            lagging=header.num_samples is None,
        )

    def write(self, frames: Integer[np.ndarray, "frames numbers"]) -> None:
        """Append frames: step, codes of the envelope, lines in steps. All frames of a chunk have the same step."""
        checked = check_speech(frames, self.header)
        for part in np.split(checked, np.flatnonzero(np.diff(checked[:, 0])) + 1):
            if len(part) and part[0, 0] != self._step:
                self.flush()
                self._step = int(part[0, 0])
            self._write(part)

    def flush(self) -> None:
        """Write all frames so far as a chunk, for a listener at the other end of a pipe."""
        self._flush()

    def close(self, num_samples: int | None = None) -> None:
        """Write what is pending and the footer. Closing again does nothing.

        Args:
            num_samples: Length of the signal, if the header does not tell it; the last frames must not be flushed then.
        """
        if num_samples is not None and self.header.num_samples is None and not self._closed:
            unused = (self._num_written + self._num_pending) * self.header.lines - num_samples
            if not self._num_pending or not 0 <= unused < 2**32:
                raise ValueError(f"{num_samples} samples do not end in the last of the frames that are not flushed")
            self._own.unused = unused
        super().close()


class SpeechFileReader(BlockReader):
    """Reads a file of speech, frames of :attr:`SpeechHeader.numbers`; the contract is that of ``BlockReader``.

    Args:
        source: A path, or an open binary file or pipe; the container starts where it stands.
        tables: The model's tables; needed to decode, not to open.
        delay: Samples that a signal's frames reach beyond it, by the model; without it nobody checks how many frames
            there are.

    Attributes:
        header: What the file says about itself.

    Raises:
        FormatError: If the header is damaged, or this is another kind of file.
    """

    what: ClassVar[str] = "frames"
    free_codes: ClassVar[int] = MAX_CHUNK_NUMBERS

    def __init__(
        self,
        source: str | os.PathLike[str] | BinaryReader,
        *,
        tables: SpeechTables | None = None,
        delay: int | None = None,
    ) -> None:
        super().__init__(source, KIND)
        self._tables, self._delay = tables, delay
        self._num_samples = self.header.num_samples

    @property
    def num_samples(self) -> int | None:
        """Length of the signal, or of all frames where nobody told; ``None`` as long as a pipe has not ended."""
        if self._num_samples is None and self._source.seekable:
            lines = self.header.lines
            self._num_samples = self._source.length(lines, lambda payload: _split(payload, known=False)[1])
        return self._num_samples

    @property
    def num_frames(self) -> int:
        """Frames of a file that can be sought."""
        return self._source.index().num_items

    def _open_header(self) -> None:
        self.header = SpeechHeader.from_fields(self._source.header.fields)

    def _open_payload(self) -> SpeechPayload:
        return SpeechPayload(self.header, self._tables)

    def _blocks(self) -> Iterator[tuple[int, Int64[np.ndarray, "_ numbers"]]]:
        frames = 0
        payload = self._open_payload()
        for payload_bytes, items in self._decoded(payload):
            frames += len(items)
            yield payload_bytes, items
        if self.header.num_samples is None:
            self._num_samples = signal_length(frames, self.header.lines, payload.unused)

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self.header.numbers,)

    @property
    def _total(self) -> int | None:
        samples = self.header.num_samples
        return None if samples is None or self._delay is None else -(-(samples + self._delay) // self.header.lines)

    @property
    def _most(self) -> int:
        return self.header.max_frames
