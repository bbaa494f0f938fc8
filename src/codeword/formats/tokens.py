"""Files of the tokens of named samples: the kind ``tokens`` of the ``.cw`` container.

names, codes (samples, patches, levels) -> chunks of samples: [length of names] [names] [codes, packed]
"""

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from codeword.formats.container import MAX_ITEMS, BinaryReader, BinaryWriter, Chunk, ContainerWriter
from codeword.formats.errors import FormatError
from codeword.formats.fields import MAX_INTEGER, is_count
from codeword.formats.source import SourceReader
from codeword.formats.vector_payload import VectorHeader, check_codes, make_payload

KIND = "tokens"
CHUNK_PATCHES = 16384
MAX_AXES = 3
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, kw_only=True)
class TokenHeader:
    """The description of a file of tokens.

    Attributes:
        tokenizer: Fingerprint of what made the codes: SHA-256 in 64 hexadecimal digits.
        front_end: Fingerprint of what made the inputs, likewise; ``None`` where nobody said.
        dim: Features of a decoded vector.
        sizes: Codebook size of every level.
        grid: Patches of a sample along every axis, 1 to 3 of them.
        padding: Whether patches may be padding, which has no codes.
        first: Number of the first sample in the whole data set.
        samples: How many the file holds.
    """

    tokenizer: str
    front_end: str | None
    dim: int
    sizes: tuple[int, ...]
    grid: tuple[int, ...]
    padding: bool
    first: int
    samples: int

    def __post_init__(self) -> None:
        _check_fields(asdict(self))

    @property
    def patches(self) -> int:
        """Patches of a sample."""
        return math.prod(self.grid)

    @property
    def codes(self) -> VectorHeader:
        """The codes of all patches one after another, as vectors."""
        return VectorHeader(dim=self.dim, sizes=self.sizes, model=self.tokenizer, variable_depth=self.padding)

    def to_fields(self) -> dict[str, object]:
        """The header fields of the container."""
        return asdict(self) | {"sizes": list(self.sizes), "grid": list(self.grid)}

    @classmethod
    def from_fields(cls, found: Mapping[str, object]) -> "TokenHeader":
        """Undo :meth:`to_fields`.

        Raises:
            FormatError: If a field is missing, unknown or wrong.
        """
        names = sorted(field.name for field in fields(cls))
        if sorted(found) != names:
            raise FormatError("header", f"a file of tokens has the fields {names}, this one has {sorted(found)}")
        values: dict[str, Any] = dict(found)
        try:
            _check_fields(values)
        except ValueError as error:
            raise FormatError("header", str(error)) from error
        return cls(**values | {"sizes": tuple(values["sizes"]), "grid": tuple(values["grid"])})


def _check_fields(values: Mapping[str, Any]) -> None:
    """Refuse values that no file may have; they may come from a file and be of any type."""
    grid, front_end = values["grid"], values["front_end"]
    if not isinstance(values["sizes"], (list, tuple)):
        raise ValueError(f"a file of tokens needs a list of sizes, got {values['sizes']!r}")
    codes = {"dim": values["dim"], "sizes": tuple(values["sizes"]), "variable_depth": values["padding"]}
    described = VectorHeader(model=values["tokenizer"], **codes)
    if front_end is not None:
        VectorHeader(model=front_end, **codes)
    counts = (
        isinstance(grid, (list, tuple))
        and 1 <= len(grid) <= MAX_AXES
        and all(is_count(side, 1, MAX_INTEGER) for side in grid)
    )
    if not counts or math.prod(grid) > described.max_rows:
        raise ValueError(
            f"a file of tokens needs 1 to {MAX_AXES} axes with at most {described.max_rows} patches, got {grid}"
        )
    for name in ("first", "samples"):
        if not is_count(values[name], 0, MAX_ITEMS):
            raise ValueError(f"a file of tokens needs a count as {name}, got {values[name]!r}")


class NamedTokens(NamedTuple):
    """Some samples of a file.

    Attributes:
        names: Of the samples.
        codes: Their tokens; -1 in padding.
    """

    names: tuple[str, ...]
    codes: Int64[np.ndarray, "count patches levels"]


def write_tokens(
    file: BinaryWriter, header: TokenHeader, names: Sequence[str], codes: Integer[np.ndarray, "count patches levels"]
) -> None:
    """Write a whole file; on a disk inside :func:`codeword.formats.atomic.atomic_write`.

    Args:
        file: Where the bytes go, a pipe or a file; the caller closes it.
        header: What the file says about itself.
        names: Of all samples, no two alike.
        codes: Their tokens; -1 at all levels of padding, where the header allows it.

    Raises:
        ValueError: If names or codes do not fit the header.
    """
    if not len(names) == len(set(names)) == len(codes) == header.samples:
        raise ValueError(
            f"{header.samples} samples were promised, got {len(codes)} with {len(set(names))} different names"
        )
    if codes.shape[1] != header.patches:
        raise ValueError(f"a grid of {header.grid} has {header.patches} patches, got {codes.shape[1]}")
    payload = make_payload(header.codes, None)
    step = max(CHUNK_PATCHES // header.patches, 1)
    with ContainerWriter(file, KIND, header.to_fields()) as writer:
        for start in range(0, len(names), step):
            named = _names_text(list(names[start : start + step]))
            rows = check_codes(codes[start : start + step].reshape(-1, codes.shape[2]), header.codes)
            count = len(rows) // header.patches
            writer.write(_LENGTH.pack(len(named)) + named + payload.encode(rows), count)


class TokenReader(SourceReader):
    """Reads a file of tokens; as a context manager it closes the file in the end.

    Args:
        source: A path, or an open binary file or pipe.

    Attributes:
        header: What the file says about itself.

    Raises:
        FormatError: If the header is damaged, or this is another kind of file.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryReader) -> None:
        super().__init__(source, KIND)
        try:
            self.header = TokenHeader.from_fields(self._source.header.fields)
        except BaseException:
            self.close()
            raise
        self._payload = make_payload(self.header.codes, None)

    def __iter__(self) -> Iterator[NamedTokens]:
        """Samples in order, some at a time; the footer is checked at the end."""
        count = 0
        for chunk in self._source.chunks():
            yield self._decode(chunk)
            count += chunk.count
        self._check_total(count)

    def names(self) -> tuple[str, ...]:
        """Of all samples; no code is decoded."""
        self._check_total(self._source.index().num_items)
        chunks = self._source.index().chunks(0, self.header.samples)
        return tuple(name for chunk in chunks for name in self._split(chunk)[0])

    def read(self, start: int, stop: int) -> NamedTokens:
        """Samples ``start`` to ``stop - 1``; touches only the footer and the chunks that hold them."""
        self._check_total(self._source.index().num_items)
        if not 0 <= start <= stop <= self.header.samples:
            raise ValueError(f"the file has {self.header.samples} samples, asked for {start} to {stop}")
        names: list[str] = []
        parts = [np.zeros((0, self.header.patches, len(self.header.sizes)), dtype=np.int64)]
        for chunk in self._source.index().chunks(start, stop):
            some = slice(max(start - chunk.first, 0), stop - chunk.first)
            found = self._decode(chunk)
            names += found.names[some]
            parts.append(found.codes[some])
        return NamedTokens(tuple(names), np.concatenate(parts))

    def _decode(self, chunk: Chunk) -> NamedTokens:
        names, packed = self._split(chunk)
        rows = chunk.count * self.header.patches
        if rows > self.header.codes.max_rows:
            raise FormatError(chunk.place, f"at most {self.header.codes.max_rows} patches are allowed in a chunk")
        try:
            codes = self._payload.decode(packed, rows)
        except ValueError as error:
            raise FormatError(chunk.place, str(error)) from error
        return NamedTokens(names, codes.reshape(chunk.count, self.header.patches, -1))

    def _split(self, chunk: Chunk) -> tuple[tuple[str, ...], bytes]:
        """Names of a chunk, and its packed codes."""
        data = chunk.payload
        end = _LENGTH.size + (_LENGTH.unpack_from(data)[0] if len(data) >= _LENGTH.size else len(data))
        text = data[_LENGTH.size : end]
        try:
            names = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FormatError(chunk.place, "the names of its samples cannot be read") from error
        proper = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not proper or len(names) != chunk.count or _names_text(names) != text:
            raise FormatError(chunk.place, f"it does not begin with the names of {chunk.count} samples")
        return tuple(names), data[end:]

    def _check_total(self, found: int) -> None:
        if found != self.header.samples:
            raise FormatError("footer", f"the header promises {self.header.samples} samples, the file has {found}")


def _names_text(names: list[str]) -> bytes:
    return json.dumps(names, separators=(",", ":"), ensure_ascii=True).encode()
