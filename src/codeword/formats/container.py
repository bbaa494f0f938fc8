"""The ``.cw`` container: a header, chunks that decode alone, and a footer. It knows nothing of what the chunks hold.

    [magic version kind fields CRC] [length count first CRC payload CRC] ... [chunk table, totals CRC length end mark]
     header                          chunk 0                              ... footer

All integers are little-endian. Writing and reading never seek, so both ends may be pipes; ``seekable`` uses the footer
for access to any item, ``salvage`` reads what is left of a damaged file. docs/formats.md describes every byte.
"""

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import NamedTuple, Protocol, runtime_checkable

from codeword.formats.errors import FormatError

MAGIC = b"\x89.cw\r\n\x1a\n"
END_MAGIC = b"\x89.cwend\n"
VERSION = 1
CHUNK_TAG = b"CHNK"
FOOTER_TAG = b"FOOT"
MAX_HEADER_BYTES = 2**16
MAX_PAYLOAD_BYTES = 2**26
MAX_CHUNK_ITEMS = 2**20
MAX_CHUNKS = 2**22
MAX_ITEMS = MAX_CHUNKS * MAX_CHUNK_ITEMS

PRELUDE = struct.Struct("<8sII8s")  # magic, version, bytes of JSON, kind
CHUNK_HEAD = struct.Struct("<4sIIQ")  # tag, bytes of payload, items, first item
FOOTER_HEAD = struct.Struct("<4sQ")  # tag, number of chunks
ENTRY = struct.Struct("<QII")  # offset, bytes of payload, items
TOTALS = struct.Struct("<QQ")  # items, bytes of payload
CRC = struct.Struct("<I")
FOOTER_TAIL = struct.Struct("<IQ8s")  # CRC, bytes of the whole footer, end magic
CHUNK_OVERHEAD = CHUNK_HEAD.size + 2 * CRC.size
FOOTER_OVERHEAD = FOOTER_HEAD.size + TOTALS.size + FOOTER_TAIL.size

_BLOCK = 2**20
_FOREIGN = {
    b"\x93NUMPY": "a NumPy array",
    b"PK\x03\x04": "a zip archive (.npz?)",
    b"PAR1": "Parquet",
    b"\x1f\x8b": "gzip",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"RIFF": "RIFF (WAV, WebP, AVI)",
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"Ix": "a FAISS index",
    b"\x89.cw\n\x1a\n": "a .cw file whose line endings were converted by a transfer in text mode",
}


@runtime_checkable
class BinaryReader(Protocol):
    """Anything with ``read``: a file, a pipe, a socket file."""

    def read(self, size: int, /) -> bytes: ...


@runtime_checkable
class SeekableReader(BinaryReader, Protocol):
    """A file that may be read in any order, if its ``seekable()`` says so."""

    def seekable(self) -> bool: ...
    def seek(self, offset: int, _whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...


@runtime_checkable
class BinaryWriter(Protocol):
    """Anything with ``write``."""

    def write(self, data: bytes, /) -> int | None: ...


class ContainerHeader(NamedTuple):
    """What a file says about itself.

    Attributes:
        version: Format version.
        kind: What the chunks hold: ``vectors``, ...
        fields: The kind's own description.
        num_bytes: Length of the header in the file; the first chunk starts there.
    """

    version: int
    kind: str
    fields: dict[str, object]
    num_bytes: int


class Chunk(NamedTuple):
    """One intact chunk: ``count`` items from item ``first`` on, still encoded."""

    first: int
    count: int
    payload: bytes

    @property
    def place(self) -> str:
        """For messages."""
        return f"chunk of items {self.first} to {self.first + self.count - 1}"


class ChunkHead(NamedTuple):
    """What stands before a payload."""

    payload_bytes: int
    count: int
    first: int
    crc: int


class ChunkTable:
    """The footer, growing as chunks go by; the writer ends a file with it and the reader compares it."""

    def __init__(self, header_bytes: int) -> None:
        self.end = header_bytes
        self.items = 0
        self.payload_bytes = 0
        self.num_chunks = 0
        self._entries = bytearray()

    def add(self, payload_bytes: int, count: int) -> None:
        """Note the next chunk."""
        self._entries += ENTRY.pack(self.end, payload_bytes, count)
        self.end += CHUNK_OVERHEAD + payload_bytes
        self.items += count
        self.payload_bytes += payload_bytes
        self.num_chunks += 1

    def footer(self) -> bytes:
        """The bytes that end a file with these chunks."""
        body = FOOTER_HEAD.pack(FOOTER_TAG, self.num_chunks) + self._entries
        body += TOTALS.pack(self.items, self.payload_bytes)
        return body + FOOTER_TAIL.pack(zlib.crc32(body), len(body) + FOOTER_TAIL.size, END_MAGIC)


class ContainerWriter:
    """Writes a container to anything with ``write``, never seeking.

    As a context manager it writes the footer only when the block ends well, so that an interrupted file is recognised.

    Args:
        file: Where the bytes go; the caller closes it.
        kind: What the chunks hold: up to 8 lower-case ASCII letters, digits or underscores.
        fields: Description for the reader; text, integers, booleans, null, lists and mappings of these.
    """

    def __init__(self, file: BinaryWriter, kind: str, fields: Mapping[str, object]) -> None:
        self._file = file
        header = _encode_header(kind, fields)
        self._table = ChunkTable(len(header))
        self._closed = False
        self._put(header)

    def write(self, payload: bytes, count: int) -> None:
        """Append a chunk of ``count`` items."""
        if self._closed:
            raise ValueError("this file has its footer already: write before close()")
        if not 1 <= count <= MAX_CHUNK_ITEMS or len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(
                f"a chunk holds 1 to {MAX_CHUNK_ITEMS} items in at most {MAX_PAYLOAD_BYTES} bytes, "
                f"got {count} items in {len(payload)} bytes"
            )
        if self._table.num_chunks == MAX_CHUNKS:
            raise ValueError(f"a file holds at most {MAX_CHUNKS} chunks; write more items in each")
        head = CHUNK_HEAD.pack(CHUNK_TAG, len(payload), count, self._table.items)
        head_crc = zlib.crc32(head)
        self._put(head + CRC.pack(head_crc))
        self._put(payload)
        self._put(CRC.pack(zlib.crc32(payload, head_crc)))
        self._table.add(len(payload), count)

    def close(self) -> None:
        """Write the footer; the file is complete then. Closing again does nothing."""
        if not self._closed:
            self._put(self._table.footer())
            self._closed = True

    def __enter__(self) -> "ContainerWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _put(self, data: bytes) -> None:
        # Unbuffered files may take a part only; objects that answer None take everything.
        while data and (taken := self._file.write(data)) is not None:
            data = data[taken:]


def read_header(file: BinaryReader) -> ContainerHeader:
    """Read and check the header of a container.

    Raises:
        FormatError: If this is another kind of file, of an unknown version, or damaged.
    """
    prelude = read_exactly(file, PRELUDE.size, "header", start=MAGIC)
    _, version, json_bytes, raw_kind = PRELUDE.unpack(prelude)
    if version != VERSION:
        raise FormatError("header", f"format version {version} is unknown, this program reads version {VERSION}")
    if json_bytes > MAX_HEADER_BYTES:
        raise FormatError("header", f"{json_bytes} bytes of description, at most {MAX_HEADER_BYTES} are allowed")
    text = read_exactly(file, json_bytes, "header")
    (crc,) = CRC.unpack(read_exactly(file, CRC.size, "header"))
    if crc != zlib.crc32(text, zlib.crc32(prelude)):
        raise FormatError("header", "damaged: the checksum does not match")
    kind = raw_kind.rstrip(b"\0").decode("latin-1")
    if not _is_kind(kind):
        raise FormatError("header", f"{raw_kind!r} is not the name of a kind")
    return ContainerHeader(version, kind, _parse_fields(text), PRELUDE.size + json_bytes + CRC.size)


def read_chunks(file: BinaryReader, header_bytes: int) -> Iterator[Chunk]:
    """Read all chunks, then compare the footer with what went by.

    Args:
        file: Positioned after the header.
        header_bytes: Length of the header.

    Raises:
        FormatError: Naming the chunk, if anything is damaged, missing or superfluous.
    """
    table = ChunkTable(header_bytes)
    while True:
        where = f"chunk {table.num_chunks}"
        tag = read_exactly(file, len(CHUNK_TAG), where)
        if tag == FOOTER_TAG:
            break
        if table.num_chunks == MAX_CHUNKS:
            raise FormatError(where, f"more than {MAX_CHUNKS} chunks, which no file may have")
        chunk = read_chunk(file, table.items, where, tag=tag)
        table.add(len(chunk.payload), chunk.count)
        yield chunk
    expected = table.footer()
    if FOOTER_TAG + read_exactly(file, len(expected) - len(FOOTER_TAG), "footer") != expected:
        raise FormatError("footer", "damaged: it does not agree with the chunks before it")
    if file.read(1):
        raise FormatError("footer", "bytes follow the end of the file")


def read_chunk(file: BinaryReader, first: int, where: str, *, tag: bytes = b"") -> Chunk:
    """Read the chunk that starts here (``tag`` has been read already) and has to begin with item ``first``."""
    head = parse_chunk_head(tag + read_exactly(file, CHUNK_HEAD.size + CRC.size - len(tag), where), where)
    if head.first != first:
        raise FormatError(where, f"starts with item {head.first}, expected {first}: chunks are missing or out of order")
    payload = read_exactly(file, head.payload_bytes, where)
    (crc,) = CRC.unpack(read_exactly(file, CRC.size, where))
    if crc != zlib.crc32(payload, head.crc):
        raise FormatError(where, "damaged: the checksum of its payload does not match")
    return Chunk(head.first, head.count, payload)


def parse_chunk_head(data: bytes, where: str) -> ChunkHead:
    """Check the bytes before a payload; the lengths may be trusted afterwards."""
    tag, payload_bytes, count, first = CHUNK_HEAD.unpack_from(data)
    (crc,) = CRC.unpack_from(data, CHUNK_HEAD.size)
    if tag != CHUNK_TAG or crc != zlib.crc32(data[: CHUNK_HEAD.size]):
        raise FormatError(where, "damaged: no chunk starts here, or its checksum does not match")
    if payload_bytes > MAX_PAYLOAD_BYTES or not 1 <= count <= MAX_CHUNK_ITEMS or first > MAX_ITEMS:
        raise FormatError(
            where, f"{count} items in {payload_bytes} bytes from item {first} on exceed the format's limits"
        )
    return ChunkHead(payload_bytes, count, first, crc)


def read_exactly(file: BinaryReader, size: int, where: str, *, start: bytes = b"") -> bytes:
    """Read ``size`` bytes, in blocks: a length that lies costs no more memory than the bytes that really follow.

    Args:
        file: Where to read.
        size: Number of bytes.
        where: The part that is being read.
        start: What these bytes have to start with.
    """
    data = bytearray()
    while len(data) < size and (block := file.read(min(size - len(data), _BLOCK))):
        data += block
    if not start.startswith(data[: len(start)]) or (start and not data):
        raise FormatError(where, _describe_foreign(bytes(data[:12])))
    if len(data) < size:
        raise FormatError(where, f"the file ends too early: {size} bytes expected, {len(data)} found")
    return bytes(data)


def _describe_foreign(data: bytes) -> str:
    if not data:
        return "the file is empty"
    known = next((name for magic, name in _FOREIGN.items() if data.startswith(magic)), "unknown")
    return f"not a .cw file: it starts with {data[:8].hex(' ')} {data[:8]!r} ({known})"


def _is_kind(kind: str) -> bool:
    return re.fullmatch(r"[a-z][a-z0-9_]{0,7}", kind) is not None


def _encode_header(kind: str, fields: Mapping[str, object]) -> bytes:
    if not _is_kind(kind):
        raise ValueError(f"a kind is up to 8 lower-case letters, digits or underscores, got {kind!r}")
    text = _canonical(dict(fields))
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"the description takes {len(text)} bytes, at most {MAX_HEADER_BYTES} are allowed")
    _parse_fields(text)  # what no reader would accept (floats) is refused here
    header = PRELUDE.pack(MAGIC, VERSION, len(text), kind.encode()) + text
    return header + CRC.pack(zlib.crc32(header))


def _canonical(fields: object) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _parse_fields(text: bytes) -> dict[str, object]:
    try:
        fields = json.loads(text, parse_float=_refuse_float, parse_constant=_refuse_float)
        canonical = _canonical(fields)
    except (ValueError, RecursionError) as error:
        raise FormatError("header", f"the description cannot be read: {error}") from error
    if not isinstance(fields, dict) or canonical != text:
        raise FormatError("header", "the description is not a JSON object in canonical form")
    return fields


def _refuse_float(text: str) -> object:
    raise ValueError(f"{text} is not an integer")
