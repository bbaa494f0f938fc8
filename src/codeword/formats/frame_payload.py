"""Codes of frames <-> the bytes of a chunk: packed, or range-coded with the tables of the model where that is shorter.

set of tables     a byte, only in files with tables; 0: the body is packed all the same
body, packed      [depths, mixed radix] [codes, mixed radix]
body, ranged      [range coder: depths | level 0 | level 1 | ...]
"""

import numpy as np
from jaxtyping import Int64, Integer

from codeword.entropy.frames import FrameCoder, FrameTables
from codeword.formats.fields import short_fingerprint
from codeword.formats.frame_packing import FramePacking


class FramePayload:
    """Frames to bytes and back. Codes given to it have been checked by :func:`check_frames`.

    Args:
        packing: Of files without tables, and of chunks that are shorter without them.
        coder: Of files with tables.
    """

    def __init__(self, packing: FramePacking, coder: FrameCoder | None) -> None:
        self._packing, self._coder = packing, coder

    def encode(self, codes: Int64[np.ndarray, "channels frames levels"]) -> bytes:
        """Frames to bytes."""
        packed = self._packing.pack(codes)
        if self._coder is None:
            return packed
        index, message = self._coder.encode(codes)
        return bytes([1 + index]) + message if len(message) < len(packed) else b"\0" + packed

    def decode(self, data: bytes, frames: int, levels: int) -> Int64[np.ndarray, "channels {frames} {levels}"]:
        """Bytes to frames with the first ``levels`` levels.

        Raises:
            ValueError: On bytes that :meth:`encode` never makes.
        """
        if self._coder is None:
            return self._packing.unpack(data, frames)[:, :, :levels]
        if not data:
            raise ValueError("the number of the set of tables is missing")
        index, data = data[0], data[1:]
        if index > self._coder.num_sets:
            raise ValueError(f"the model has {self._coder.num_sets} sets of tables, not a set {index}")
        if not index:
            return self._packing.unpack(data, frames)[:, :, :levels]
        return self._coder.decode(data, index - 1, frames, levels)


def check_tables(fingerprint: str, sizes: tuple[int, ...], tables: FrameTables | None) -> FrameTables:
    """The tables of a range-coded file.

    Args:
        fingerprint: That of the file, 16 digits.
        sizes: Codebook sizes of the file.
        tables: Those that are there.

    Raises:
        ValueError: If they are missing, or belong to another model.
    """
    if tables is None:
        raise ValueError("range-coded files need the tables that are stored with their model: pass tables=")
    if (found := short_fingerprint(tables.fingerprint())) != fingerprint:
        raise ValueError(f"the file was written with tables {fingerprint}, another model has {found}")
    if tables.sizes != sizes:
        raise ValueError(f"the tables are for sizes {tables.sizes}, the codes have sizes {sizes}")
    return tables


def check_frames(
    codes: Integer[np.ndarray, "*places levels"], sizes: tuple[int, ...], depth: int | None
) -> Int64[np.ndarray, "*places levels"]:
    """A copy of ``codes`` as int64, if a file can hold them.

    Args:
        codes: -1 where absent.
        sizes: Codebook sizes of the file.
        depth: Levels everywhere; ``None`` if they vary.

    Raises:
        ValueError: Naming the first code that it cannot hold.
    """
    codes = codes.astype(np.int64)
    absent = codes < 0
    tops = np.array([size - 1 for size in sizes], dtype=np.int64)
    problems = {
        f"is outside the codebook sizes {sizes}": (codes > tops) | (codes < -1),
        "is absent, but the level after it is present": absent[..., :-1] & ~absent[..., 1:],
    }
    if depth is not None:
        problems[f"contradicts the constant depth {depth}"] = absent != (np.arange(len(sizes)) >= depth)
    for problem, wrong in problems.items():
        if wrong.any():
            place = tuple(int(axis[0]) for axis in np.nonzero(wrong))
            raise ValueError(f"codes{list(place)} = {codes[place]} {problem}")
    return codes
