"""Files of vector codes: the kind ``vectors`` of the ``.cw`` container.

codes (n, levels) -> blocks of rows -> payload (packed | ranged) -> chunks
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from codeword.entropy.tables import CodeTables
from codeword.formats.container import BinaryReader, BinaryWriter, Chunk, ContainerWriter
from codeword.formats.errors import FormatError
from codeword.formats.salvage import Salvage, SalvageReport
from codeword.formats.source import Limits, SourceReader, restored
from codeword.formats.vector_payload import (
    MAX_CHUNK_CODES,
    Payload,
    RangedPayload,
    VectorHeader,
    check_codes,
    make_payload,
)

KIND = "vectors"
CHUNK_ROWS = 65536


class SalvagedCodes(NamedTuple):
    """What is left of a damaged file.

    Attributes:
        codes: All rows up to the last one that is known of; -1 where a row was lost.
        report: What was lost.
    """

    codes: Int64[np.ndarray, "count levels"]
    report: SalvageReport


class VectorCodesWriter:
    """Writes codes as they come.

    As a context manager it completes the file when the block ends well. For a file on a disk use it inside
    :func:`codeword.formats.atomic.atomic_write`.

    Args:
        file: Where the bytes go, a pipe or a file; the caller closes it.
        header: What the file says about itself.
        tables: The model's tables; needed for a ranged payload.
        chunk_rows: Vectors per chunk.
    """

    def __init__(
        self,
        file: BinaryWriter,
        header: VectorHeader,
        *,
        tables: CodeTables | None = None,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        if chunk_rows < 1:
            raise ValueError(f"a chunk has at least one row, got chunk_rows={chunk_rows}")
        self._payload = make_payload(header, tables)
        if tables is not None and isinstance(self._payload, RangedPayload):
            header = replace(header, tables=tables.fingerprint())
        self.header = header
        self._chunk_rows = min(chunk_rows, header.max_rows)
        self._pending: list[Int64[np.ndarray, "_ levels"]] = []
        self._num_pending = 0
        self._num_written = 0
        self._closed = False
        self._container = ContainerWriter(file, KIND, header.to_fields())

    def write(self, codes: Integer[np.ndarray, "count levels"]) -> None:
        """Append rows of codes; -1 beyond a row's depth, where the header allows it."""
        if self._closed:
            raise ValueError("this file has its footer already: write before close()")
        self._pending.append(check_codes(codes, self.header))
        self._num_pending += len(codes)
        if self._num_pending >= self._chunk_rows:
            rows = np.concatenate(self._pending)
            full = len(rows) - len(rows) % self._chunk_rows
            for start in range(0, full, self._chunk_rows):
                self._emit(rows[start : start + self._chunk_rows])
            self._pending = [rows[full:].copy()]
            self._num_pending = len(rows) - full

    def close(self) -> None:
        """Write what is pending and the footer. Closing again does nothing."""
        if self._num_pending:
            self._emit(np.concatenate(self._pending))
            self._pending.clear()
            self._num_pending = 0
        if self.header.num_vectors not in (None, self._num_written):
            raise ValueError(
                f"the header promised {self.header.num_vectors} vectors, {self._num_written} were written; "
                "use num_vectors=None when the number is not known"
            )
        self._container.close()
        self._closed = True

    def __enter__(self) -> "VectorCodesWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _emit(self, rows: Int64[np.ndarray, "count levels"]) -> None:
        self._container.write(self._payload.encode(rows), len(rows))
        self._num_written += len(rows)


class VectorCodesReader(SourceReader):
    """Reads a file of vector codes: in order from anywhere, any rows where the file can be sought.

    Args:
        source: A path, or an open binary file or pipe that stands where the codes start.
        tables: The model's tables; needed to decode (not to open) a ranged file.

    Attributes:
        header: What the file says about itself.

    Raises:
        FormatError: If the header is damaged, or this is another kind of file.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryReader, *, tables: CodeTables | None = None) -> None:
        super().__init__(source, KIND)
        try:
            self.header = VectorHeader.from_fields(self._source.header.fields)
        except BaseException:
            self.close()
            raise
        self._tables = tables

    def __iter__(self) -> Iterator[Int64[np.ndarray, "count levels"]]:
        """Blocks of rows, in order; the footer is checked at the end."""
        return (rows for _, rows in self._blocks())

    def read_all(self, *, max_codes: int | None = None) -> Int64[np.ndarray, "count levels"]:
        """All codes.

        Args:
            max_codes: Codes that may be held in memory. Some cost next to no bytes, so a small hostile file may hold
                any number; without this argument 2**24, or 256 for every byte of payload, are believed.

        Raises:
            FormatError: If the file holds more, or is damaged.
        """
        blocks: list[Int64[np.ndarray, "_ levels"]] = []
        limits, held, count = Limits(self.header.levels, max_codes), 0, 0
        for payload_bytes, rows in self._blocks():
            held, count = held + payload_bytes, count + len(rows)
            limits.check(count, held)
            blocks.append(rows)
        return self._join(blocks)

    def read(self, start: int, stop: int) -> Int64[np.ndarray, "count levels"]:
        """Rows ``start`` to ``stop - 1``; touches only the footer and the chunks that hold them."""
        index = self._source.index()
        self._check_total(index.num_items)
        if not 0 <= start <= stop <= index.num_items:
            raise ValueError(
                f"the file has {index.num_items} rows, asked for those from {start} on and before {stop}: "
                "start and stop lie between 0 and that number, in this order"
            )
        payload = make_payload(self.header, self._tables)
        blocks = [
            self._decode(payload, chunk)[max(start - chunk.first, 0) : stop - chunk.first]
            for chunk in index.chunks(start, stop)
        ]
        return self._join(blocks)

    def salvage_chunks(self) -> Salvage[Int64[np.ndarray, "count levels"]]:
        """Intact chunks of a damaged file, to iterate over; ``report()`` afterwards tells what was lost."""
        payload = make_payload(self.header, self._tables)
        return Salvage(
            self._source.stream(),
            self._source.header.num_bytes,
            decode=lambda chunk: self._decode(payload, chunk),
            total=self.header.num_vectors,
        )

    def salvage(self, *, max_fill: int | None = None, max_codes: int | None = None) -> SalvagedCodes:
        """All rows of a damaged file, with -1 in those that were lost.

        Args:
            max_fill: Lost rows that may be filled in. A damaged or hostile file may claim any number; without this
                argument 16 times the intact rows are believed, and in any case 2**22 codes.
            max_codes: Intact codes that may be held in memory, as in :meth:`read_all`.

        Raises:
            FormatError: If more rows are said to be lost, or more codes are there.
        """
        levels = self.header.levels
        codes, report = restored(
            self.salvage_chunks(),
            Limits(levels, max_codes),
            lambda rows: (rows, levels),
            max_fill=max_fill,
            free=MAX_CHUNK_CODES // levels,
            what="rows",
        )
        return SalvagedCodes(codes, report)

    def _blocks(self) -> Iterator[tuple[int, Int64[np.ndarray, "_ levels"]]]:
        """Bytes of payload and rows of every chunk."""
        payload = make_payload(self.header, self._tables)
        num_rows = 0
        for chunk in self._source.chunks():
            yield len(chunk.payload), self._decode(payload, chunk)
            num_rows += chunk.count
        self._check_total(num_rows)

    def _decode(self, payload: Payload, chunk: Chunk) -> Int64[np.ndarray, "count levels"]:
        where = f"chunk of items {chunk.first} to {chunk.first + chunk.count - 1}"
        if chunk.count > self.header.max_rows:
            raise FormatError(where, f"at most {self.header.max_rows} vectors of these sizes are allowed in a chunk")
        try:
            return payload.decode(chunk.payload, chunk.count)
        except ValueError as error:
            raise FormatError(where, str(error)) from error

    def _check_total(self, found: int) -> None:
        if self.header.num_vectors not in (None, found):
            raise FormatError("footer", f"the header promises {self.header.num_vectors} vectors, the file has {found}")

    def _join(self, blocks: list[Int64[np.ndarray, "_ levels"]]) -> Int64[np.ndarray, "count levels"]:
        return np.concatenate([np.zeros((0, self.header.levels), dtype=np.int64), *blocks])
