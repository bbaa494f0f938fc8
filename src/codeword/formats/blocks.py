"""Files whose codes come as items along the first axis: vectors, or rows of a picture. Chunks of items in both ways."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import ClassVar, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Int64

from codeword.formats.container import BinaryReader, BinaryWriter, Chunk, ContainerWriter
from codeword.formats.errors import FormatError
from codeword.formats.salvage import Salvage, SalvageReport
from codeword.formats.source import Limits, SourceReader, restored

W = TypeVar("W", bound="BlockWriter")


class Salvaged(NamedTuple):
    """What is left of a damaged file.

    Attributes:
        codes: All items up to the last one that is known of; -1 where an item was lost.
        report: What was lost.
    """

    codes: Int64[np.ndarray, "count *shape"]
    report: SalvageReport


@runtime_checkable
class BlockPayload(Protocol):
    """Items of one chunk <-> bytes."""

    def encode(self, codes: Int64[np.ndarray, "count *shape"]) -> bytes:
        """Items to bytes."""
        ...

    def decode(self, data: bytes, count: int) -> Int64[np.ndarray, "{count} *shape"]:
        """Bytes to items; ``ValueError`` on bytes that :meth:`encode` never makes."""
        ...


class BlockWriter:
    """Writes items as they come.

    As a context manager it completes the file when the block ends well. For a file on a disk use it inside
    :func:`codeword.formats.atomic.atomic_write`.

    Args:
        file: Where the bytes go, a pipe or a file; the caller closes it.
        kind: Of the container.
        fields: The description of the file.
        payload: Items to bytes.
        chunk_items: Items of a chunk.
        total: How many the description promises, if it does.
        lagging: Whether a full chunk waits for the item after it, since the last one says more.
    """

    what: ClassVar[str]
    """Items, in words."""

    def __init__(
        self,
        file: BinaryWriter,
        kind: str,
        fields: Mapping[str, object],
        payload: BlockPayload,
        *,
        chunk_items: int,
        total: int | None,
        lagging: bool = False,
    ) -> None:
        if chunk_items < 1:
            raise ValueError(f"a chunk holds 1 or more {self.what}, got {chunk_items}")
        self._payload, self._chunk_items, self._total, self._lag = payload, chunk_items, total, int(lagging)
        self._pending: list[Int64[np.ndarray, ...]] = []
        self._num_pending = 0
        self._num_written = 0
        self._closed = False
        self._container = ContainerWriter(file, kind, fields)

    def _write(self, codes: Int64[np.ndarray, "count *shape"]) -> None:
        """Append items that have been checked."""
        if self._closed:
            raise ValueError("this file has its footer already: write before close()")
        self._pending.append(codes)
        self._num_pending += len(codes)
        if self._num_pending >= self._chunk_items + self._lag:
            items = np.concatenate(self._pending)
            full = (len(items) - self._lag) // self._chunk_items * self._chunk_items
            for start in range(0, full, self._chunk_items):
                self._emit(items[start : start + self._chunk_items])
            self._pending = [items[full:].copy()]
            self._num_pending = len(items) - full

    def close(self) -> None:
        """Write what is pending and the footer. Closing again does nothing."""
        self._flush()
        if self._total not in (None, self._num_written):
            raise ValueError(
                f"the header promised {self._total} {self.what}, {self._num_written} were written: say the number that "
                "is there, or None if it is not known"
            )
        self._container.close()
        self._closed = True

    def __enter__(self: W) -> W:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _flush(self) -> None:
        """Write what is pending as a chunk."""
        if self._num_pending:
            self._emit(np.concatenate(self._pending))
        self._pending.clear()
        self._num_pending = 0

    def _emit(self, items: Int64[np.ndarray, "count *shape"]) -> None:
        self._container.write(self._payload.encode(items), len(items))
        self._num_written += len(items)


class BlockReader(SourceReader, ABC):
    """Reads items: in order from anywhere, any of them where the file can be sought.

    Args:
        source: A path, or an open binary file or pipe that stands where the codes start.
        kind: Of the container.
    """

    what: ClassVar[str]
    """Items, in words."""
    free_codes: ClassVar[int]
    """Codes that salvage may fill in at any rate."""

    def __init__(self, source: str | os.PathLike[str] | BinaryReader, kind: str) -> None:
        super().__init__(source, kind)
        try:
            self._open_header()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _open_header(self) -> None:
        """Understand the description of the file."""

    @abstractmethod
    def _open_payload(self) -> BlockPayload:
        """Bytes to items."""

    @property
    @abstractmethod
    def _shape(self) -> tuple[int, ...]:
        """Of an item's codes."""

    @property
    @abstractmethod
    def _total(self) -> int | None:
        """Items that the header promises."""

    @property
    @abstractmethod
    def _most(self) -> int:
        """Items that a chunk may hold."""

    def __iter__(self) -> Iterator[Int64[np.ndarray, "count *shape"]]:
        """Blocks of items, in order; the footer is checked at the end."""
        return (items for _, items in self._blocks())

    def read_all(self, *, max_codes: int | None = None) -> Int64[np.ndarray, "count *shape"]:
        """All codes.

        Args:
            max_codes: Codes that may be held in memory. Some cost next to no bytes, so a small hostile file may hold
                any number; without this argument 2**24, or 256 for every byte of payload, are believed.

        Raises:
            FormatError: If the file holds more, or is damaged.
        """
        blocks: list[Int64[np.ndarray, ...]] = []
        limits, held, count = self._limits(max_codes), 0, 0
        for payload_bytes, items in self._blocks():
            held, count = held + payload_bytes, count + len(items)
            limits.check(count, held)
            blocks.append(items)
        return self._join(blocks)

    def stretch(self, start: int, stop: int) -> Iterator[Int64[np.ndarray, "count *shape"]]:
        """Items ``start`` to ``stop - 1``, block by block; touches only the footer and the chunks that hold them."""
        index = self._source.index()
        self._check_total(index.num_items)
        if not 0 <= start <= stop <= index.num_items:
            raise ValueError(
                f"the file has {index.num_items} {self.what}, asked for those from {start} on and before {stop}: "
                "start and stop lie between 0 and that number, in this order"
            )
        payload = self._open_payload()
        return (
            self._decode(payload, chunk)[max(start - chunk.first, 0) : stop - chunk.first]
            for chunk in index.chunks(start, stop)
        )

    def read(self, start: int, stop: int) -> Int64[np.ndarray, "count *shape"]:
        """As :meth:`stretch`, in one piece."""
        return self._join(list(self.stretch(start, stop)))

    def salvage_chunks(self) -> Salvage[Int64[np.ndarray, "count *shape"]]:
        """Intact chunks of a damaged file, to iterate over; ``report()`` afterwards tells what was lost."""
        payload = self._open_payload()
        return Salvage(
            self._source.stream(),
            self._source.header.num_bytes,
            decode=lambda chunk: self._decode(payload, chunk),
            total=self._total,
        )

    def salvage(self, *, max_fill: int | None = None, max_codes: int | None = None) -> Salvaged:
        """All items of a damaged file, with -1 in those that were lost.

        Args:
            max_fill: Lost items that may be filled in. A damaged or hostile file may claim any number; without this
                argument 16 times the intact ones are believed, and in any case 2**22 codes.
            max_codes: Intact codes that may be held in memory, as in :meth:`read_all`.

        Raises:
            FormatError: If more items are said to be lost, or more codes are there.
        """
        limits = self._limits(max_codes)
        codes, report = restored(
            self.salvage_chunks(),
            limits,
            lambda count: (count, *self._shape),
            max_fill=max_fill,
            free=self.free_codes // limits.codes_per_item,
            what=self.what,
        )
        return Salvaged(codes, report)

    def _blocks(self) -> Iterator[tuple[int, Int64[np.ndarray, "_ *shape"]]]:
        """Bytes of payload and items of every chunk."""
        return self._decoded(self._open_payload())

    def _decoded(self, payload: BlockPayload) -> Iterator[tuple[int, Int64[np.ndarray, "_ *shape"]]]:
        count = 0
        for chunk in self._source.chunks():
            yield len(chunk.payload), self._decode(payload, chunk)
            count += chunk.count
        self._check_total(count)

    def _limits(self, max_codes: int | None) -> Limits:
        return Limits(int(np.prod(self._shape)), max_codes)

    def _decode(self, payload: BlockPayload, chunk: Chunk) -> Int64[np.ndarray, "count *shape"]:
        if chunk.count > self._most:
            raise FormatError(chunk.place, f"at most {self._most} {self.what} of these sizes are allowed in a chunk")
        try:
            return payload.decode(chunk.payload, chunk.count)
        except ValueError as error:
            raise FormatError(chunk.place, str(error)) from error

    def _check_total(self, found: int) -> None:
        if self._total not in (None, found):
            raise FormatError("footer", f"the header promises {self._total} {self.what}, the file has {found}")

    def _join(self, blocks: list[Int64[np.ndarray, "..."]]) -> Int64[np.ndarray, "count *shape"]:
        return np.concatenate([np.zeros((0, *self._shape), dtype=np.int64), *blocks])
