"""Access to any item of a container that lies on a disk, through the chunk table in its footer."""

import io
import os
import zlib
from collections.abc import Iterator

import numpy as np

from codeword.formats.container import (
    CHUNK_OVERHEAD,
    END_MAGIC,
    ENTRY,
    FOOTER_HEAD,
    FOOTER_OVERHEAD,
    FOOTER_TAG,
    FOOTER_TAIL,
    MAX_CHUNKS,
    TOTALS,
    Chunk,
    ContainerHeader,
    SeekableReader,
    read_chunk,
    read_exactly,
)
from codeword.formats.errors import FormatError

_ENTRIES = np.dtype([("offset", "<u8"), ("payload_bytes", "<u4"), ("count", "<u4")])


class Cursor:
    """A reading position of its own in a seekable file, so that several readers of it do not disturb one another.

    A plain file on a disk is read without moving its own position: threads and forked processes may share it.
    """

    def __init__(self, file: SeekableReader, position: int) -> None:
        self._file = file
        self._position = position
        raw = file.raw if isinstance(file, io.BufferedReader) else file
        # Only a FileIO is surely the bytes of its descriptor: gzip and others have one too, of other bytes.
        self._descriptor = raw.fileno() if type(raw) is io.FileIO and hasattr(os, "pread") else None

    def read(self, size: int, /) -> bytes:
        """Read on from where this cursor stands."""
        if self._descriptor is not None:
            data = os.pread(self._descriptor, size, self._position)
        else:
            self._file.seek(self._position)
            data = self._file.read(size)
        self._position += len(data)
        return data


class ChunkIndex:
    """The footer of a seekable container, checked against its size.

    Args:
        file: A seekable file.
        start: Where the container starts in it; it ends where the file ends.
        header: The container's header.

    Raises:
        FormatError: If the footer is missing, damaged or contradicts the size of the file.
    """

    def __init__(self, file: SeekableReader, start: int, header: ContainerHeader) -> None:
        self._file = file
        self._start = start
        table, items, payload_bytes = _read_footer(file, start, header)
        lengths = table["payload_bytes"].astype(np.int64) + CHUNK_OVERHEAD
        ends = header.num_bytes + np.cumsum(lengths)
        self._offsets = ends - lengths
        self._payload_bytes, self._counts = table["payload_bytes"], table["count"]
        last = np.cumsum(table["count"].astype(np.int64))
        self._firsts = last - table["count"]
        self.num_chunks = len(table)
        self.num_items = int(last[-1]) if len(table) else 0
        end = int(ends[-1]) if len(table) else header.num_bytes
        agrees = (
            np.array_equal(table["offset"], self._offsets.astype(np.uint64))
            and (self.num_items, int(table["payload_bytes"].sum(dtype=np.int64))) == (items, payload_bytes)
            and end + len(table) * ENTRY.size + FOOTER_OVERHEAD == file.seek(0, io.SEEK_END) - start
        )
        if not agrees:
            raise FormatError("footer", "the chunk table contradicts itself or the size of the file")

    def chunks(self, start: int, stop: int) -> Iterator[Chunk]:
        """The chunks that hold items ``start`` to ``stop - 1``."""
        index = max(int(np.searchsorted(self._firsts, start, side="right")) - 1, 0)
        while start < stop and index < self.num_chunks and self._firsts[index] < stop:
            cursor = Cursor(self._file, self._start + int(self._offsets[index]))
            chunk = read_chunk(cursor, int(self._firsts[index]), f"chunk {index}")
            if (len(chunk.payload), chunk.count) != (self._payload_bytes[index], self._counts[index]):
                raise FormatError(f"chunk {index}", "disagrees with the chunk table in the footer")
            yield chunk
            index += 1


def _read_footer(file: SeekableReader, start: int, header: ContainerHeader) -> tuple[np.ndarray, int, int]:
    """The chunk table, the number of items and of payload bytes."""
    end = file.seek(0, io.SEEK_END)
    room = end - start - header.num_bytes
    if room < FOOTER_OVERHEAD:
        raise FormatError("footer", "the file ends too early: there is no footer")
    tail = read_exactly(Cursor(file, end - FOOTER_TAIL.size), FOOTER_TAIL.size, "footer")
    crc, num_bytes, magic = FOOTER_TAIL.unpack(tail)
    if magic != END_MAGIC:
        raise FormatError("footer", "the file was cut off or not finished: its end mark is missing")
    num_chunks, rest = divmod(num_bytes - FOOTER_OVERHEAD, ENTRY.size)
    if not 0 <= num_chunks <= MAX_CHUNKS or rest or num_bytes > room:
        raise FormatError("footer", f"a length of {num_bytes} bytes is impossible here")
    body = read_exactly(Cursor(file, end - num_bytes), num_bytes - FOOTER_TAIL.size, "footer")
    if zlib.crc32(body) != crc or body[: FOOTER_HEAD.size] != FOOTER_HEAD.pack(FOOTER_TAG, num_chunks):
        raise FormatError("footer", "damaged: the checksum does not match")
    items, payload_bytes = TOTALS.unpack_from(body, len(body) - TOTALS.size)
    table = np.frombuffer(body, dtype=_ENTRIES, count=num_chunks, offset=FOOTER_HEAD.size)
    return table, items, payload_bytes
