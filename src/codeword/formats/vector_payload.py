"""What is inside the chunks of a file of vector codes: a description of the codes, and codes <-> payload bytes.

packed    [depths, mixed radix] [codes, mixed radix]                 depths: only where the depth varies
ranged    [range coder: depths, level 0, level 1, ...]               codes: only those that are present
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int64, Integer

from codeword.entropy.range_coder import RangeCoder, RangeReader
from codeword.entropy.tables import CodeTables
from codeword.formats.container import MAX_CHUNK_ITEMS, MAX_ITEMS
from codeword.formats.errors import FormatError
from codeword.formats.fields import LONG, is_count, is_fingerprint
from codeword.functional.bits import MAX_WIDTH
from codeword.functional.radix import pack_radix, radix_bits, unpack_radix

MAX_LEVELS = 4096
MAX_CHUNK_CODES = 2**22


@dataclass(frozen=True, kw_only=True)
class VectorHeader:
    """The description of a file of vector codes.

    Attributes:
        dim: Features of a decoded vector.
        sizes: Codebook size of every level.
        model: Fingerprint of the model that made the codes: SHA-256 in 64 hexadecimal digits.
        num_vectors: Number of vectors; ``None`` where it was not known when the file was begun.
        payload: ``packed`` at about log2(size) bits a code, or ``ranged``: range-coded with the model's tables.
        variable_depth: Whether vectors may have fewer levels than ``sizes`` (codes -1 beyond their depth).
        tables: Fingerprint of the tables of a ranged file; the writer fills it in.
    """

    dim: int
    sizes: tuple[int, ...]
    model: str
    num_vectors: int | None = None
    payload: Literal["packed", "ranged"] = "packed"
    variable_depth: bool = False
    tables: str | None = None

    def __post_init__(self) -> None:
        _check_fields(asdict(self))

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.sizes)

    @property
    def max_rows(self) -> int:
        """Vectors that one chunk may hold."""
        return min(MAX_CHUNK_ITEMS, MAX_CHUNK_CODES // self.levels)

    def to_fields(self) -> dict[str, object]:
        """The header fields of the container."""
        return asdict(self) | {"sizes": list(self.sizes)}

    @classmethod
    def from_fields(cls, found: Mapping[str, object]) -> "VectorHeader":
        """Undo :meth:`to_fields`.

        Raises:
            FormatError: If a field is missing, unknown or wrong.
        """
        names = sorted(field.name for field in fields(cls))
        if sorted(found) != names:
            raise FormatError("header", f"a file of vector codes has the fields {names}, this one has {sorted(found)}")
        values: dict[str, Any] = dict(found)
        try:
            _check_fields(values)
        except ValueError as error:
            raise FormatError("header", str(error)) from error
        return cls(**values | {"sizes": tuple(values["sizes"])})


def _check_fields(values: Mapping[str, object]) -> None:
    """Refuse values that no file may have; they may come from a file and be of any type."""
    sizes, num_vectors, tables = values["sizes"], values["num_vectors"], values["tables"]
    rules = {
        "a dim from 1 to 2**31 - 1": is_count(values["dim"], 1, 2**31 - 1),
        f"1 to {MAX_LEVELS} sizes, each from 1 to 2**{MAX_WIDTH}": isinstance(sizes, (list, tuple))
        and 1 <= len(sizes) <= MAX_LEVELS
        and all(is_count(size, 1, 2**MAX_WIDTH) for size in sizes),
        "the fingerprint of a model, 64 hexadecimal digits": is_fingerprint(values["model"], LONG),
        "a num_vectors that is a count or null": num_vectors is None or is_count(num_vectors, 0, MAX_ITEMS),
        "a payload that is packed or ranged": values["payload"] in ("packed", "ranged"),
        "a variable_depth that is true or false": isinstance(values["variable_depth"], bool),
        "the fingerprint of tables for a ranged payload only": tables is None
        or (is_fingerprint(tables, LONG) and values["payload"] == "ranged"),
    }
    for rule, holds in rules.items():
        if not holds:
            raise ValueError(f"a file of vector codes needs {rule}, got {dict(values)}")


class Payload(ABC):
    """Codes of one chunk <-> bytes. Codes given to it have been checked by :func:`check_codes`."""

    @abstractmethod
    def encode(self, codes: Int64[np.ndarray, "count levels"]) -> bytes:
        """Codes to bytes."""

    @abstractmethod
    def decode(self, data: bytes, count: int) -> Int64[np.ndarray, "{count} levels"]:
        """Bytes to codes; raises ``ValueError`` on bytes that :meth:`encode` never makes."""


class PackedPayload(Payload):
    """Codes at about log2(size) bits each."""

    def __init__(self, header: VectorHeader) -> None:
        self.sizes = header.sizes
        self.depth_sizes = (header.levels + 1,) if header.variable_depth else ()

    def encode(self, codes: Int64[np.ndarray, "count levels"]) -> bytes:
        if not self.depth_sizes:
            return pack_radix(codes, self.sizes)
        depths = np.count_nonzero(codes >= 0, axis=1)
        return pack_radix(depths[:, None], self.depth_sizes) + pack_radix(codes, self.sizes)

    def decode(self, data: bytes, count: int) -> Int64[np.ndarray, "{count} levels"]:
        if not self.depth_sizes:
            return unpack_radix(data, count, self.sizes)
        depth_bytes = (radix_bits((count,), self.depth_sizes) + 7) // 8
        depths = unpack_radix(data[:depth_bytes], count, self.depth_sizes)[:, 0]
        return unpack_radix(data[depth_bytes:], count, self.sizes, depths)


class RangedPayload(Payload):
    """Codes through the range coder, with the tables of the model."""

    def __init__(self, header: VectorHeader, tables: CodeTables) -> None:
        found = tuple(len(counts) for counts in tables.levels)
        if found != header.sizes:
            raise ValueError(f"the tables are for sizes {found}, the codes have sizes {header.sizes}")
        if header.variable_depth and (tables.depth is None or len(tables.depth) != header.levels + 1):
            raise ValueError(f"codes of variable depth need a table of {header.levels + 1} depths beside their tables")
        if header.tables not in (None, tables.fingerprint()):
            raise ValueError(f"the codes were written with tables {header.tables}, got tables {tables.fingerprint()}")
        self.levels = header.levels
        self.depth = tables.depth if header.variable_depth else None
        self.coder = RangeCoder(tables.levels if self.depth is None else (self.depth, *tables.levels))

    def encode(self, codes: Int64[np.ndarray, "count levels"]) -> bytes:
        if self.depth is None:
            return self.coder.encode(list(np.ascontiguousarray(codes.T)))
        present = codes >= 0
        streams = [codes[present[:, level], level] for level in range(self.levels)]
        return self.coder.encode([np.count_nonzero(present, axis=1), *streams])

    def decode(self, data: bytes, count: int) -> Int64[np.ndarray, "{count} levels"]:
        reader = RangeReader(self.coder, data)
        codes = np.full((count, self.levels), -1, dtype=np.int64)
        depths = None if self.depth is None else reader.read(count)
        for level in range(self.levels):
            if depths is None:
                codes[:, level] = reader.read(count)
            else:
                present = np.flatnonzero(depths > level)
                codes[present, level] = reader.read(len(present))
        reader.finish()
        return codes


def make_payload(header: VectorHeader, tables: CodeTables | None) -> Payload:
    """The payload that a header speaks of."""
    if header.payload == "packed":
        return PackedPayload(header)
    if tables is None:
        raise ValueError("range-coded codes need the tables that are stored with their model: pass tables=")
    return RangedPayload(header, tables)


def check_codes(codes: Integer[np.ndarray, "count levels"], header: VectorHeader) -> Int64[np.ndarray, "count levels"]:
    """A copy of ``codes`` as int64, if a file with this header can hold them.

    Raises:
        ValueError: Naming the first code that it cannot hold.
    """
    if codes.shape[1] != header.levels:
        raise ValueError(f"codes have {codes.shape[1]} levels, the file has {header.levels}")
    codes = codes.astype(np.int64)
    top = np.array([size - 1 for size in header.sizes], dtype=np.int64)
    absent = codes < 0
    _refuse((codes > top) | (codes < -1), codes, f"is outside the codebook sizes {header.sizes}")
    if not header.variable_depth:
        _refuse(absent, codes, "means an absent level: give the header variable_depth=True")
    else:
        _refuse(absent[:, :-1] & ~absent[:, 1:], codes, "is absent, but the level after it is present")
    return codes


def _refuse(wrong: Bool[np.ndarray, "count _"], codes: Int64[np.ndarray, "count levels"], problem: str) -> None:
    if wrong.any():
        row, level = (int(axis[0]) for axis in np.nonzero(wrong))
        raise ValueError(f"codes[{row}, {level}] = {codes[row, level]} {problem}")
