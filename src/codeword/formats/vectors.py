"""Files of vector codes: the kind ``vectors`` of the ``.cw`` container.

codes (n, levels) -> blocks of rows -> payload (packed | ranged) -> chunks
"""

import os
from dataclasses import replace
from typing import ClassVar

import numpy as np
from jaxtyping import Integer

from codeword.entropy.tables import CodeTables
from codeword.formats.blocks import BlockReader, BlockWriter
from codeword.formats.container import BinaryReader, BinaryWriter
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


class VectorCodesWriter(BlockWriter):
    """Writes codes as they come; the contract is that of ``BlockWriter``.

    Args:
        file: Where the bytes go, a pipe or a file; the caller closes it.
        header: What the file says about itself.
        tables: The model's tables; needed for a ranged payload.
        chunk_rows: Vectors per chunk.
    """

    what: ClassVar[str] = "vectors"

    def __init__(
        self,
        file: BinaryWriter,
        header: VectorHeader,
        *,
        tables: CodeTables | None = None,
        chunk_rows: int = CHUNK_ROWS,
    ) -> None:
        payload = make_payload(header, tables)
        if tables is not None and isinstance(payload, RangedPayload):
            header = replace(header, tables=tables.fingerprint())
        self.header = header
        super().__init__(
            file,
            KIND,
            header.to_fields(),
            payload,
            chunk_items=min(chunk_rows, header.max_rows),
            total=header.num_vectors,
        )

    def write(self, codes: Integer[np.ndarray, "count levels"]) -> None:
        """Append rows of codes; -1 beyond a row's depth, where the header allows it."""
        self._write(check_codes(codes, self.header))


class VectorCodesReader(BlockReader):
    """Reads a file of vector codes, (count, levels); the contract is that of ``BlockReader``.

    Args:
        source: A path, or an open binary file or pipe that stands where the codes start.
        tables: The model's tables; needed to decode (not to open) a ranged file.

    Attributes:
        header: What the file says about itself.

    Raises:
        FormatError: If the header is damaged, or this is another kind of file.
    """

    what: ClassVar[str] = "vectors"
    free_codes: ClassVar[int] = MAX_CHUNK_CODES

    def __init__(self, source: str | os.PathLike[str] | BinaryReader, *, tables: CodeTables | None = None) -> None:
        super().__init__(source, KIND)
        self._tables = tables

    def _open_header(self) -> None:
        self.header = VectorHeader.from_fields(self._source.header.fields)

    def _open_payload(self) -> Payload:
        return make_payload(self.header, self._tables)

    @property
    def _shape(self) -> tuple[int, ...]:
        return (self.header.levels,)

    @property
    def _total(self) -> int | None:
        return self.header.num_vectors

    @property
    def _most(self) -> int:
        return self.header.max_rows
