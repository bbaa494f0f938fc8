"""A container that is read: opened from anywhere, in order or, where the file can be sought, from any place."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int64

from codeword.formats.container import BinaryReader, Chunk, SeekableReader, read_chunks, read_header
from codeword.formats.errors import FormatError
from codeword.formats.salvage import Recovered, Salvage, SalvageReport
from codeword.formats.seekable import ChunkIndex, Cursor

FREE_CODES = 2**24  # codes that any file may hold: 128 MB in memory
_CODES_PER_BYTE = 256  # and those of a larger one, for every byte of payload
_FILL = 16  # items that salvage fills in for every intact item


class ContainerSource:
    """Chunks of one kind of container.

    Args:
        source: A path, or an open binary file or pipe; the container starts where it stands.
        kind: What the chunks have to hold.

    Attributes:
        header: The container's header.

    Raises:
        FormatError: If the header is damaged, or this is another kind of file.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryReader, kind: str) -> None:
        self._opened = Path(source).open("rb") if isinstance(source, (str, os.PathLike)) else None  # noqa: SIM115
        file = source if isinstance(source, BinaryReader) else self._opened
        if file is None or isinstance(file, io.TextIOBase):
            raise ValueError(f"a path or a file opened in binary mode is needed, got {source!r}")
        self._file = file
        self._disk = file if isinstance(file, SeekableReader) and file.seekable() else None
        self._start = 0 if self._disk is None else self._disk.tell()
        self._consumed = False
        self._index: ChunkIndex | None = None
        try:
            self.header = read_header(self._file)
            if self.header.kind != kind:
                raise FormatError("header", f"the file holds {self.header.kind!r}, expected {kind!r}")
        except BaseException:
            self.close()
            raise

    @property
    def seekable(self) -> bool:
        """Whether chunks may be read in any order."""
        return self._disk is not None

    def stream(self) -> BinaryReader:
        """What follows the header; of a pipe only once."""
        if self._disk is not None:
            return Cursor(self._disk, self._start + self.header.num_bytes)
        if self._consumed:
            raise ValueError("a pipe can be read only once")
        self._consumed = True
        return self._file

    def chunks(self) -> Iterator[Chunk]:
        """All chunks in order; the footer is checked at the end."""
        return read_chunks(self.stream(), self.header.num_bytes)

    def index(self) -> ChunkIndex:
        """The chunk table of a file that can be sought."""
        if self._disk is None:
            raise ValueError("a pipe can only be read in order: iterate, or read_all()")
        if self._index is None:
            self._index = ChunkIndex(self._disk, self._start, self.header)
        return self._index

    def length(self, per_item: int, unused: Callable[[bytes], int]) -> int:
        """Samples of a file that can be sought, whose last chunk tells how many of its end are no part of the signal.

        Args:
            per_item: Samples of an item.
            unused: Takes a payload, raises ``ValueError`` if it is damaged.
        """
        index, count = self.index(), 0
        for chunk in index.chunks(max(0, index.num_items - 1), index.num_items):
            try:
                count = unused(chunk.payload)
            except ValueError as error:
                raise FormatError(chunk.place, str(error)) from error
        return signal_length(index.num_items, per_item, count)

    def close(self) -> None:
        """Close the file if it was opened here."""
        if self._opened is not None:
            self._opened.close()


def signal_length(items: int, per_item: int, unused: int) -> int:
    """Samples of a signal, or one line that its end lies before its beginning."""
    if unused > items * per_item:
        raise FormatError("chunks", f"{unused} samples are said to be unused, {items} frames have fewer")
    return items * per_item - unused


R = TypeVar("R", bound="SourceReader")


class SourceReader:
    """A reader of one kind of container; as a context manager it closes the file in the end.

    Args:
        source: As for ``ContainerSource``.
        kind: See there.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryReader, kind: str) -> None:
        self._source = ContainerSource(source, kind)

    @property
    def seekable(self) -> bool:
        """Whether any part can be read, and not only all in order."""
        return self._source.seekable

    def close(self) -> None:
        """Close the file if this reader opened it."""
        self._source.close()

    def __enter__(self: R) -> R:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Limits(NamedTuple):
    """How much of a file may be held in memory.

    Attributes:
        codes_per_item: Codes of one item.
        max_codes: Codes that may be held. Some cost next to no bytes, so a small hostile file may hold any number; with
            ``None`` 2**24, or 256 for every byte of payload, are believed.
    """

    codes_per_item: int
    max_codes: int | None

    def check(self, items: int, payload_bytes: int) -> None:
        """Refuse too many items.

        Raises:
            FormatError: If there are more than these bytes make believable.
        """
        codes, most = items * self.codes_per_item, self.max_codes
        if most is None:
            most = max(FREE_CODES, _CODES_PER_BYTE * payload_bytes)
        if codes > most:
            raise FormatError(
                "chunks",
                f"{codes} codes in {payload_bytes} bytes of payload, more than max_codes={most}; raise it, "
                "or read chunk by chunk",
            )


def restored(
    chunks: Salvage[Int64[np.ndarray, "*_"]],
    limits: Limits,
    shape: Callable[[int], tuple[int, ...]],
    *,
    axis: int = 0,
    max_fill: int | None,
    free: int,
    what: str,
) -> tuple[Int64[np.ndarray, "*_"], SalvageReport]:
    """All items of a damaged file, with -1 in those that were lost, and what was lost.

    Args:
        chunks: Intact chunks.
        limits: How many codes may be held.
        shape: Of the codes of so many items.
        axis: Along which items follow each other.
        max_fill: Lost items that may be filled in. A damaged or hostile file may claim any number; with ``None`` 16
            times the intact ones are believed, and in any case ``free`` of them.
        free: See there.
        what: The items, in words.

    Raises:
        FormatError: If more items are said to be lost, or more codes are there.
    """
    pieces: list[Recovered[Int64[np.ndarray, "*_"]]] = []
    held = count = 0
    for piece in chunks:
        held, count = held + piece.payload_bytes, count + piece.count
        limits.check(count, held)
        pieces.append(piece)
    report = chunks.report()
    lost = sum(stop - start for start, stop in report.missing)
    most = _FILL * count + free if max_fill is None else max_fill
    if lost > most:
        raise FormatError(
            "chunks",
            f"{count} {what} are intact and {lost} are said to be lost, more than max_fill={most}; "
            "raise it, or iterate over salvage_chunks()",
        )
    codes = np.full(shape(count + lost), -1, dtype=np.int64)
    items = np.moveaxis(codes, axis, 0)
    for piece in pieces:
        items[piece.first : piece.first + piece.count] = np.moveaxis(piece.content, axis, 0)
    return codes, report
