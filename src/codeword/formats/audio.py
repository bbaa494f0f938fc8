"""Files of coded audio: the kind ``audio`` of the ``.cw`` container.

codes (channels, frames, levels) -> blocks of frames -> payload (packed | ranged) -> chunks
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from codeword.entropy.frames import FrameTables
from codeword.formats.audio_payload import (
    MAX_CHUNK_CODES,
    AudioBlock,
    AudioHeader,
    AudioPayload,
    check_audio,
    split_unused,
)
from codeword.formats.container import BinaryReader, BinaryWriter, Chunk, ContainerWriter
from codeword.formats.errors import FormatError
from codeword.formats.fields import short_fingerprint
from codeword.formats.salvage import Salvage, SalvageReport
from codeword.formats.source import Limits, SourceReader, restored, signal_length

KIND = "audio"
CHUNK_SECONDS = 40


class SalvagedAudio(NamedTuple):
    """What is left of a damaged file.

    Attributes:
        codes: All frames up to the last one that is known of; -1 where a frame was lost.
        report: What was lost.
    """

    codes: Int64[np.ndarray, "channels frames levels"]
    report: SalvageReport


class AudioFileWriter:
    """Writes frames as they come.

    As a context manager it completes the file when the block ends well. For a file on a disk use it inside
    :func:`codeword.formats.atomic.atomic_write`.

    Args:
        file: Where the bytes go, a pipe or a file; the caller closes it.
        header: What the file says about itself.
        tables: The model's tables: with them the codes are range-coded, without them they are packed.
        chunk_frames: Frames per chunk; 40 seconds if not given.
    """

    def __init__(
        self,
        file: BinaryWriter,
        header: AudioHeader,
        *,
        tables: FrameTables | None = None,
        chunk_frames: int | None = None,
    ) -> None:
        if chunk_frames is None:
            chunk_frames = -(-CHUNK_SECONDS * header.sample_rate // header.hop)
        if chunk_frames < 1:
            raise ValueError(f"a chunk has at least one frame, got chunk_frames={chunk_frames}")
        self.header = replace(header, tables=None if tables is None else short_fingerprint(tables.fingerprint()))
        self._payload = AudioPayload(self.header, tables)
        self._chunk_frames = min(chunk_frames, header.max_frames)
        self._pending: list[Int64[np.ndarray, "channels _ levels"]] = []
        self._num_pending = 0
        self._num_written = 0
        self._closed = False
        self._container = ContainerWriter(file, KIND, self.header.to_fields())

    def write(self, codes: Integer[np.ndarray, "channels frames levels"]) -> None:
        """Append frames; -1 beyond the depth of a frame."""
        if self._closed:
            raise ValueError("this file has its footer already: write before close()")
        self._pending.append(check_audio(codes, self.header))
        self._num_pending += codes.shape[1]
        # The last frame stays here: only close() knows whether it is a whole one.
        if self._num_pending > self._chunk_frames:
            pending = np.concatenate(self._pending, axis=1)
            whole = (self._num_pending - 1) // self._chunk_frames * self._chunk_frames
            for start in range(0, whole, self._chunk_frames):
                self._emit(pending[:, start : start + self._chunk_frames], 0)
            self._keep(pending[:, whole:])

    def flush(self) -> None:
        """Write all frames but the last as a chunk of their own, for a listener at the other end of a pipe."""
        if self._num_pending > 1:
            pending = np.concatenate(self._pending, axis=1)
            self._emit(pending[:, :-1], 0)
            self._keep(pending[:, -1:])

    def close(self, num_samples: int | None = None) -> None:
        """Write what is pending and the footer. Closing again does nothing.

        Args:
            num_samples: Length of the signal, if the header does not tell it; a whole number of frames if not given.
        """
        if self._closed:
            return
        header, frames = self.header, self._num_written + self._num_pending
        if header.num_samples is None:
            unused = 0 if num_samples is None else frames * header.hop - num_samples
            if not 0 <= unused < header.hop or (unused and not frames):
                raise ValueError(f"{num_samples} samples do not end in the last of {frames} frames of {header.hop}")
        elif num_samples not in (None, header.num_samples) or header.num_frames != frames:
            raise ValueError(
                f"the header promised {header.num_samples} samples, {header.num_frames} frames; {frames} frames were "
                "written; use num_samples=None when the length is not known"
            )
        else:
            unused = 0
        if self._num_pending:
            self._emit(np.concatenate(self._pending, axis=1), unused)
        self._container.close()
        self._closed = True

    def __enter__(self) -> "AudioFileWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _keep(self, codes: Int64[np.ndarray, "channels frames levels"]) -> None:
        self._pending, self._num_pending = [codes.copy()], codes.shape[1]

    def _emit(self, codes: Int64[np.ndarray, "channels frames levels"], unused: int) -> None:
        self._container.write(self._payload.encode(codes, unused), codes.shape[1])
        self._num_written += codes.shape[1]


class AudioFileReader(SourceReader):
    """Reads a file of coded audio: in order from anywhere, any stretch where the file can be sought.

    Args:
        source: A path, or an open binary file or pipe; the container starts where it stands.
        tables: The model's tables, if the file is range-coded.

    Attributes:
        header: What the file says about itself.

    Raises:
        FormatError: If the header is damaged, or this is another kind of file.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryReader, *, tables: FrameTables | None = None) -> None:
        super().__init__(source, KIND)
        try:
            self.header = AudioHeader.from_fields(self._source.header.fields)
        except BaseException:
            self.close()
            raise
        self._tables = tables
        self._payload: AudioPayload | None = None
        self._num_samples = self.header.num_samples

    @property
    def num_samples(self) -> int | None:
        """Length of the signal; ``None`` as long as the end of a pipe has not been seen."""
        if self._num_samples is None and self._source.seekable:
            header = self.header
            self._num_samples = self._source.length(header.hop, lambda payload: split_unused(payload, header)[0])
        return self._num_samples

    def __iter__(self) -> Iterator[Int64[np.ndarray, "channels frames levels"]]:
        """Blocks of frames, in order; the footer is checked at the end."""
        return self.blocks()

    def blocks(self, levels: int | None = None) -> Iterator[Int64[np.ndarray, "channels frames levels"]]:
        """As iteration does, with the first ``levels`` levels only; of range-coded ones the others are not decoded."""
        levels = self._levels(levels)
        return (block.codes for _, block in self._blocks(levels))

    def stretch(
        self, start: int, stop: int, levels: int | None = None
    ) -> Iterator[Int64[np.ndarray, "channels frames levels"]]:
        """Frames ``start`` to ``stop - 1`` in blocks, to play while reading; touches only the chunks that hold them."""
        levels, index = self._levels(levels), self._source.index()
        self._check_total(index.num_items)
        if not 0 <= start <= stop <= index.num_items:
            raise ValueError(
                f"the file has {index.num_items} frames, asked for those from {start} on and before {stop}: "
                "start and stop lie between 0 and that number, in this order"
            )
        return (
            self._decode(chunk, levels).codes[:, max(start - chunk.first, 0) : stop - chunk.first]
            for chunk in index.chunks(start, stop)
        )

    def read(self, start: int, stop: int, levels: int | None = None) -> Int64[np.ndarray, "channels frames levels"]:
        """As :meth:`stretch`, in one piece."""
        return self._join(list(self.stretch(start, stop, levels)), self._levels(levels))

    def read_all(
        self, levels: int | None = None, *, max_codes: int | None = None
    ) -> Int64[np.ndarray, "channels frames levels"]:
        """All frames.

        Args:
            levels: How many levels to decode; all of them if not given.
            max_codes: Codes that may be held in memory, see :class:`codeword.formats.source.Limits`.

        Raises:
            FormatError: If the file holds more, or is damaged.
        """
        levels = self._levels(levels)
        blocks: list[Int64[np.ndarray, "channels _ levels"]] = []
        limits, payload_bytes, frames = self._limits(max_codes), 0, 0
        for chunk, block in self._blocks(levels):
            payload_bytes, frames = payload_bytes + len(chunk.payload), frames + chunk.count
            limits.check(frames, payload_bytes)
            blocks.append(block.codes)
        return self._join(blocks, levels)

    def salvage_chunks(self) -> Salvage[Int64[np.ndarray, "channels frames levels"]]:
        """Intact chunks of a damaged file, to iterate over; ``report()`` afterwards tells what was lost."""
        self._open_payload()
        return Salvage(
            self._source.stream(),
            self._source.header.num_bytes,
            decode=lambda chunk: self._decode(chunk, self.header.levels).codes,
            total=self.header.num_frames,
        )

    def salvage(self, *, max_fill: int | None = None, max_codes: int | None = None) -> SalvagedAudio:
        """All frames of a damaged file, with -1 in those that were lost.

        Args:
            max_fill: Lost frames that may be filled in, see :func:`codeword.formats.source.restored`.
            max_codes: Intact codes that may be held in memory, as in :meth:`read_all`.

        Raises:
            FormatError: If more frames are said to be lost, or more codes are there.
        """
        channels, levels, limits = self.header.channels, self.header.levels, self._limits(max_codes)
        codes, report = restored(
            self.salvage_chunks(),
            limits,
            lambda frames: (channels, frames, levels),
            axis=1,
            max_fill=max_fill,
            free=MAX_CHUNK_CODES // limits.codes_per_item,
            what="frames",
        )
        return SalvagedAudio(codes, report)

    def _blocks(self, levels: int) -> Iterator[tuple[Chunk, AudioBlock]]:
        self._open_payload()
        frames = unused = 0
        for chunk in self._source.chunks():
            if unused:
                raise FormatError(chunk.place, "frames follow one that is said to be the end of the signal")
            block = self._decode(chunk, levels)
            unused, frames = block.unused, frames + chunk.count
            yield chunk, block
        self._check_total(frames)
        if self.header.num_samples is None:
            self._num_samples = signal_length(frames, self.header.hop, unused)

    def _open_payload(self) -> AudioPayload:
        if self._payload is None:
            self._payload = AudioPayload(self.header, self._tables)
        return self._payload

    def _levels(self, levels: int | None) -> int:
        if levels is None:
            return self.header.levels
        if not 1 <= levels <= self.header.levels:
            raise ValueError(f"the file has {self.header.levels} levels, asked for the first {levels}")
        return levels

    def _limits(self, max_codes: int | None) -> Limits:
        return Limits(self.header.channels * self.header.levels, max_codes)

    def _decode(self, chunk: Chunk, levels: int) -> AudioBlock:
        if chunk.count > self.header.max_frames:
            most = self.header.max_frames
            raise FormatError(chunk.place, f"at most {most} frames of these sizes are allowed in a chunk")
        payload = self._open_payload()
        try:
            return payload.decode(chunk.payload, chunk.count, levels)
        except ValueError as error:
            raise FormatError(chunk.place, str(error)) from error

    def _check_total(self, found: int) -> None:
        expected = self.header.num_frames
        if expected not in (None, found):
            raise FormatError("footer", f"the header promises {expected} frames, the file has {found}")

    def _join(
        self, blocks: list[Int64[np.ndarray, "channels _ levels"]], levels: int
    ) -> Int64[np.ndarray, "channels frames levels"]:
        return np.concatenate([np.zeros((self.header.channels, 0, levels), dtype=np.int64), *blocks], axis=1)
