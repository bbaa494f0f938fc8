"""What can still be read of a damaged container.

The scan goes forward only, so it works on pipes. Wherever no intact chunk stands it moves on to the next place where a
tag stands and a checksum confirms it; a chunk says which items it holds, so the gaps between intact chunks are known.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

from codeword.formats.container import (
    CHUNK_HEAD,
    CHUNK_TAG,
    CRC,
    END_MAGIC,
    ENTRY,
    FOOTER_HEAD,
    FOOTER_OVERHEAD,
    FOOTER_TAG,
    FOOTER_TAIL,
    MAX_CHUNKS,
    MAX_PAYLOAD_BYTES,
    TOTALS,
    BinaryReader,
    Chunk,
    ChunkHead,
    parse_chunk_head,
)
from codeword.formats.errors import FormatError

_BLOCK = 2**20
_TAGS = re.compile(re.escape(CHUNK_TAG) + b"|" + re.escape(FOOTER_TAG))
_HEAD_BYTES = CHUNK_HEAD.size + CRC.size
_MAX_PROBLEMS = 100
_PATIENCE = 4


T = TypeVar("T")


class Recovered(NamedTuple, Generic[T]):
    """The decoded content of an intact chunk: ``count`` items from item ``first`` on, out of ``payload_bytes``."""

    first: int
    count: int
    payload_bytes: int
    content: T


class SalvageReport(NamedTuple):
    """How much of a file survived.

    Attributes:
        num_chunks: Intact chunks.
        num_items: Items in them.
        total: Number of items in the undamaged file; ``None`` if nothing intact tells.
        missing: Ranges ``(start, stop)`` of lost items, as far as they are known; ascending.
        problems: What is wrong, a line each.
    """

    num_chunks: int
    num_items: int
    total: int | None
    missing: tuple[tuple[int, int], ...]
    problems: tuple[str, ...]


class Salvage(Generic[T]):
    """Iterates over the intact chunks of a container whose header has been read.

    Every byte is looked at a bounded number of times, and little more than one chunk is in memory, whatever the file
    claims.

    Args:
        file: Positioned after the header.
        position: Bytes before that place, for the messages.
        decode: Makes content of a chunk; raises ``ValueError`` if the checksum is right but the content is not.
        total: Number of items, if the header tells it.
    """

    def __init__(
        self, file: BinaryReader, position: int, *, decode: Callable[[Chunk], T], total: int | None = None
    ) -> None:
        self._window = _Window(file, position)
        self._decode = decode
        self._total = total
        self._expected = 0  # first item that may come next
        self._num_chunks = 0
        self._num_items = 0
        self._missing: list[tuple[int, int]] = []
        self._problems: list[str] = []
        self._wasted = 0  # bytes under checksums that did not match

    def __iter__(self) -> Iterator[Recovered[T]]:
        while self._window.fill(len(CHUNK_TAG)):
            if self._at_footer():
                return
            chunk = self._next_chunk()
            if chunk is None:
                continue
            try:
                recovered = Recovered(chunk.first, chunk.count, len(chunk.payload), self._decode(chunk))
            except ValueError as error:
                self._note(f"{_items(chunk)}: {error}")
                continue
            if chunk.first > self._expected:
                self._missing.append((self._expected, chunk.first))
            self._expected = chunk.first + chunk.count
            self._num_chunks += 1
            self._num_items += chunk.count
            yield recovered
        self._note("the file ends before its footer: it was cut off or not finished")

    def report(self) -> SalvageReport:
        """What was found; complete once the iteration has ended."""
        total = None if self._total is None or self._total < self._expected else self._total
        missing = list(self._missing)
        if total is not None and total > self._expected:
            missing.append((self._expected, total))
        # Whole chunks that were cut out leave nothing behind that is wrong.
        problems = self._problems or [f"items {start} to {stop - 1} are missing" for start, stop in missing]
        return SalvageReport(self._num_chunks, self._num_items, total, tuple(missing), tuple(problems))

    def _note(self, problem: str) -> None:
        if len(self._problems) < _MAX_PROBLEMS:
            self._problems.append(f"byte {self._window.position}: {problem}")

    def _next_chunk(self) -> Chunk | None:
        """The chunk that starts here; if there is none, nothing, and the window moves on to a place worth trying."""
        window = self._window
        try:
            window.fill(_HEAD_BYTES)
            head = parse_chunk_head(window.peek(_HEAD_BYTES).ljust(_HEAD_BYTES, b"\0"), "chunk")
        except FormatError as error:
            self._note(error.problem)
            window.skip_to_tag()
            return None
        size = _HEAD_BYTES + head.payload_bytes + CRC.size
        if head.first < self._expected:
            self._note(f"{_items(head)} come a second time or out of order")
            window.skip_to_tag()
            return None
        if not window.fill(size):
            self._note(f"the file ends within the chunk of {_items(head)}")
            window.skip_to_tag()
            return None
        chunk = window.peek(size)
        payload = chunk[_HEAD_BYTES : -CRC.size]
        if CRC.pack(zlib.crc32(payload, head.crc)) == chunk[-CRC.size :]:
            window.drop(size)
            return Chunk(head.first, head.count, payload)
        self._note(f"damaged: the checksum of {_items(head)} does not match")
        # If bytes were lost, the next chunk starts inside of what seems to be this one. Looking there is limited, lest
        # a file of nested heads be summed up again and again.
        if self._may_waste(size):
            window.skip_to_tag()
        else:
            window.drop(size)
        return None

    def _at_footer(self) -> bool:
        """Whether an intact footer starts here; if so, learn the number of items from it."""
        window = self._window
        if window.peek(len(FOOTER_TAG)) != FOOTER_TAG or not window.fill(FOOTER_HEAD.size):
            return False
        _, num_chunks = FOOTER_HEAD.unpack(window.peek(FOOTER_HEAD.size))
        size = FOOTER_OVERHEAD + num_chunks * ENTRY.size
        # An entry is shorter than its chunk: a table much longer than what went by is not believed, and not read.
        believed = num_chunks <= MAX_CHUNKS and size <= window.position + _BLOCK
        if not believed or not self._may_waste(size) or not window.fill(size):
            return False
        footer = window.peek(size)
        body = footer[: -FOOTER_TAIL.size]
        if footer[-FOOTER_TAIL.size :] != FOOTER_TAIL.pack(zlib.crc32(body), size, END_MAGIC):
            return False
        items, _ = TOTALS.unpack_from(body, len(body) - TOTALS.size)
        if items < self._expected or self._total not in (None, items):
            self._note(f"the footer speaks of {items} items, which contradicts the rest of the file")
        else:
            self._total = items
        window.drop(size)
        if window.fill(1):
            self._note("bytes follow the end of the file")
        return True

    def _may_waste(self, size: int) -> bool:
        self._wasted += size
        return self._wasted <= _PATIENCE * (self._window.position + MAX_PAYLOAD_BYTES)


def _items(chunk: Chunk | ChunkHead) -> str:
    return f"items {chunk.first} to {chunk.first + chunk.count - 1}"


class _Window:
    """The next bytes of a stream, as many as somebody asked to see."""

    def __init__(self, file: BinaryReader, position: int) -> None:
        self._file = file
        self._data = bytearray()
        self.position = position

    def fill(self, size: int) -> bool:
        """Read on until ``size`` bytes are there; whether the file had so many."""
        while len(self._data) < size and (block := self._file.read(_BLOCK)):
            self._data += block
        return len(self._data) >= size

    def peek(self, size: int) -> bytes:
        """The next bytes, up to ``size`` of those that are there."""
        return bytes(self._data[:size])

    def drop(self, size: int) -> None:
        """Go on by ``size`` bytes."""
        del self._data[:size]
        self.position += size

    def skip_to_tag(self) -> None:
        """Go on, by at least a byte, to the next place where a tag stands, or to the end."""
        self.drop(1)
        while (hit := _TAGS.search(self._data)) is None:
            # A tag may lie across the border of two blocks.
            self.drop(max(len(self._data) - len(CHUNK_TAG) + 1, 0))
            if not self.fill(len(self._data) + 1):
                self.drop(len(self._data))
                return
        self.drop(hit.start())
