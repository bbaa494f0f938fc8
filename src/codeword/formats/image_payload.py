"""What is inside the chunks of an image file: a description of the picture, and rows of its codes <-> payload bytes.

To ``codeword.formats.frame_payload`` a row of latents is a frame, and columns are its channels.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer

from codeword.entropy.frames import FrameTables
from codeword.entropy.grids import GridCoder
from codeword.formats.container import MAX_CHUNK_ITEMS
from codeword.formats.fields import MAX_INTEGER, check_codes, header_of, is_count, size_runs
from codeword.formats.frame_packing import FramePacking
from codeword.formats.frame_payload import FramePayload, check_frames, check_tables

MAX_CHUNK_CODES = 2**20
_WHAT = "an image file"
_NUMBERS = ("width", "height", "channels", "step", "depth")
_MORE: Mapping[str, tuple[str, object]] = {"t": ("tables", None)}


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """The description of an image file.

    Attributes:
        model: Fingerprint of the model that made the codes, its first 16 hexadecimal digits.
        width: Pixels across.
        height: Pixels down.
        channels: 1 if the image was grey, 3 if it had colours.
        step: Pixels from latent to latent, down and across.
        sizes: Codebook size of every level.
        depth: The number of levels everywhere; ``None`` if every place has its own.
        tables: Fingerprint of the tables of a range-coded file, 16 digits; the writer fills it in.
    """

    model: str
    width: int
    height: int
    channels: int
    step: int
    sizes: tuple[int, ...]
    depth: int | None = None
    tables: str | None = None

    def __post_init__(self) -> None:
        _check_fields(asdict(self))

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.sizes)

    @property
    def rows(self) -> int:
        """Rows of latents."""
        return -(-self.height // self.step)

    @property
    def columns(self) -> int:
        """Latents of a row."""
        return -(-self.width // self.step)

    @property
    def max_rows(self) -> int:
        """Rows that one chunk may hold."""
        return min(MAX_CHUNK_ITEMS, MAX_CHUNK_CODES // (self.columns * self.levels))

    def to_fields(self) -> dict[str, object]:
        """The header fields of the container."""
        shape = [self.width, self.height, self.channels, self.step, self.depth]
        fields: dict[str, object] = {"a": [*shape, *size_runs(self.sizes)], "m": self.model}
        return fields if self.tables is None else {**fields, "t": self.tables}

    @classmethod
    def from_fields(cls, found: Mapping[str, object]) -> "ImageHeader":
        """Undo :meth:`to_fields`.

        Raises:
            FormatError: If a field is missing, unknown or wrong.
        """
        return header_of(found, cls, _check_fields, _WHAT, _NUMBERS, _MORE)


def _check_fields(values: Mapping[str, Any]) -> None:
    """Refuse values that no file may have; they may come from a file and be of any type."""
    sizes, step = values["sizes"], values["step"]
    sides = is_count(values["width"], 1, MAX_INTEGER) and is_count(values["height"], 1, MAX_INTEGER)
    stepped = is_count(step, 1, MAX_INTEGER)
    rules = {
        "a width and a height from 1 to 2**31 - 1": sides,
        "1 or 3 channels": is_count(values["channels"], 1, 3) and values["channels"] != 2,
        "a step from 1 to 2**31 - 1": stepped,
        f"at most {MAX_CHUNK_CODES} codes in a row": sides
        and stepped
        and -(-values["width"] // step) * len(sizes) <= MAX_CHUNK_CODES,
        "a depth from 1 to the number of levels, or null": values["depth"] is None
        or is_count(values["depth"], 1, len(sizes)),
    }
    check_codes(_WHAT, values, rules)


class ImagePayload:
    """Rows of codes of one chunk <-> bytes. Codes given to it have been checked by :func:`check_rows`.

    Args:
        header: What the file says about itself.
        tables: The model's tables, for a range-coded file.
    """

    def __init__(self, header: ImageHeader, tables: FrameTables | None) -> None:
        self._levels = header.levels
        coder = None
        if header.tables is not None:
            coder = GridCoder(check_tables(header.tables, header.sizes, tables), header.columns, header.depth)
        self._frames = FramePayload(FramePacking(header.sizes, header.columns, header.depth), coder)

    def encode(self, codes: Int64[np.ndarray, "rows columns levels"]) -> bytes:
        """Rows to bytes."""
        return self._frames.encode(codes.transpose(1, 0, 2))

    def decode(self, data: bytes, count: int) -> Int64[np.ndarray, "{count} columns levels"]:
        """Bytes to rows; ``ValueError`` on bytes that :meth:`encode` never makes."""
        return self._frames.decode(data, count, self._levels).transpose(1, 0, 2)


def check_rows(
    codes: Integer[np.ndarray, "rows columns levels"], header: ImageHeader
) -> Int64[np.ndarray, "rows columns levels"]:
    """A copy of ``codes`` as int64, if a file with this header can hold them.

    Raises:
        ValueError: Naming the first code that it cannot hold.
    """
    if codes.shape[1:] != (header.columns, header.levels):
        raise ValueError(
            f"codes have {codes.shape[1]} columns and {codes.shape[2]} levels, "
            f"the file has {header.columns} and {header.levels}"
        )
    return check_frames(codes, header.sizes, header.depth)
