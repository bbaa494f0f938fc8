"""Files of coded images: the kind ``image`` of the ``.cw`` container.

codes (rows, columns, levels) -> bands of rows -> payload (packed | ranged) -> chunks
"""

import os
from dataclasses import replace
from typing import ClassVar

import numpy as np
from jaxtyping import Integer

from codeword.entropy.frames import FrameTables
from codeword.formats.blocks import BlockReader, BlockWriter
from codeword.formats.container import BinaryReader, BinaryWriter
from codeword.formats.fields import short_fingerprint
from codeword.formats.image_payload import MAX_CHUNK_CODES, ImageHeader, ImagePayload, check_rows

KIND = "image"
CHUNK_PLACES = 2**16  # latents of a band: contexts begin anew in each


class ImageFileWriter(BlockWriter):
    """Writes rows of codes as they come; the contract is that of ``BlockWriter``.

    Args:
        file: Where the bytes go, a pipe or a file; the caller closes it.
        header: What the file says about itself.
        tables: The model's tables: with them the codes are range-coded, without them they are packed.
        chunk_rows: Rows of latents per chunk; as many as make 65536 latents if not given.
    """

    what: ClassVar[str] = "rows"

    def __init__(
        self,
        file: BinaryWriter,
        header: ImageHeader,
        *,
        tables: FrameTables | None = None,
        chunk_rows: int | None = None,
    ) -> None:
        self.header = replace(header, tables=None if tables is None else short_fingerprint(tables.fingerprint()))
        if chunk_rows is None:
            chunk_rows = max(1, CHUNK_PLACES // header.columns)
        super().__init__(
            file,
            KIND,
            self.header.to_fields(),
            ImagePayload(self.header, tables),
            chunk_items=min(chunk_rows, header.max_rows),
            total=header.rows,
        )

    def write(self, codes: Integer[np.ndarray, "rows columns levels"]) -> None:
        """Append rows of codes; -1 beyond the depth of a place."""
        self._write(check_rows(codes, self.header))


class ImageFileReader(BlockReader):
    """Reads a file of a coded image, (rows, columns, levels); the contract is that of ``BlockReader``.

    Args:
        source: A path, or an open binary file or pipe; the container starts where it stands.
        tables: The model's tables, if the file is range-coded.

    Attributes:
        header: What the file says about itself.

    Raises:
        FormatError: If the header is damaged, or this is another kind of file.
    """

    what: ClassVar[str] = "rows"
    free_codes: ClassVar[int] = MAX_CHUNK_CODES

    def __init__(self, source: str | os.PathLike[str] | BinaryReader, *, tables: FrameTables | None = None) -> None:
        super().__init__(source, KIND)
        self._tables = tables

    def _open_header(self) -> None:
        self.header = ImageHeader.from_fields(self._source.header.fields)

    def _open_payload(self) -> ImagePayload:
        return ImagePayload(self.header, self._tables)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.header.columns, self.header.levels

    @property
    def _total(self) -> int | None:
        return self.header.rows

    @property
    def _most(self) -> int:
        return self.header.max_rows
