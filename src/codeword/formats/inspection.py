"""What a ``.cw`` file is and whether it is intact, without any knowledge of its kind."""

import os
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from codeword.formats.container import ContainerHeader, read_chunks, read_header
from codeword.formats.errors import FormatError
from codeword.formats.salvage import Salvage


class Inspection(NamedTuple):
    """The account of a file.

    Attributes:
        kind: What the chunks hold.
        version: Format version.
        header: The kind's own description.
        num_chunks: Intact chunks.
        items: Items in them.
        header_bytes: Bytes before the first chunk.
        payload_bytes: Bytes of the intact chunks' payloads.
        file_bytes: Bytes of the whole file.
        bits_per_item: 8 * payload_bytes / items; 0 without items.
        intact: Whether every byte is as it was written.
        missing: Known ranges ``(start, stop)`` of lost items.
        problems: What is wrong, a line each.
    """

    kind: str
    version: int
    header: dict[str, object]
    num_chunks: int
    items: int
    header_bytes: int
    payload_bytes: int
    file_bytes: int
    bits_per_item: float
    intact: bool
    missing: tuple[tuple[int, int], ...]
    problems: tuple[str, ...]


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Read a whole file, check every checksum and count.

    Raises:
        FormatError: If the header is damaged, or this is no ``.cw`` file.
    """
    with Path(path).open("rb") as file:
        header = read_header(file)
        num_chunks = items = payload_bytes = 0
        try:
            for chunk in read_chunks(file, header.num_bytes):
                num_chunks += 1
                items += chunk.count
                payload_bytes += len(chunk.payload)
        except FormatError as error:
            return _inspect_damaged(file, header, str(error))
        return _account(file, header, (num_chunks, items, payload_bytes))


def _inspect_damaged(file: BufferedReader, header: ContainerHeader, first_problem: str) -> Inspection:
    file.seek(header.num_bytes)
    payload_bytes = 0
    salvage = Salvage(file, header.num_bytes, decode=lambda chunk: len(chunk.payload))
    for chunk in salvage:
        payload_bytes += chunk.content
    report = salvage.report()
    return _account(file, header, (report.num_chunks, report.num_items, payload_bytes))._replace(
        intact=False, missing=report.missing, problems=(first_problem, *report.problems)
    )


def _account(file: BufferedReader, header: ContainerHeader, counts: tuple[int, int, int]) -> Inspection:
    num_chunks, items, payload_bytes = counts
    return Inspection(
        kind=header.kind,
        version=header.version,
        header=header.fields,
        num_chunks=num_chunks,
        items=items,
        header_bytes=header.num_bytes,
        payload_bytes=payload_bytes,
        file_bytes=os.fstat(file.fileno()).st_size,
        bits_per_item=8 * payload_bytes / items if items else 0.0,
        intact=True,
        missing=(),
        problems=(),
    )
