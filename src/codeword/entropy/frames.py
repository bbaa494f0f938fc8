"""Tables of a model whose codes come in frames, of one or several channels and with any number of levels each.

They are learned from codes, stored with the model, and used by whoever encodes frames into one message::

    codes (channels, frames, levels) ──► depths, levels ──► message      [depths | level 0 | level 1 | ...]
"""

import hashlib
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from codeword.entropy.depths import DepthCoder, DepthTables, check_depth_tables
from codeword.entropy.levels import LevelCoder, LevelTables, check_level_tables
from codeword.entropy.range_coder import MessageReader, MessageWriter

_DEPTH_NAMES = ("depth.alone", "depth.beside")


class FrameTables(NamedTuple):
    """All tables of a model.

    Attributes:
        levels: Those of the codes.
        depth: Those of depths; ``None`` for a model of constant depth.
    """

    levels: tuple[LevelTables, ...]
    depth: DepthTables | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codebook sizes."""
        return tuple(level.counts.shape[1] for level in self.levels)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Integer[np.ndarray, "..."]]) -> "FrameTables":
        """Undo :meth:`arrays`.

        Raises:
            ValueError: If an array is missing, superfluous, or no table.
        """
        levels = sum(name.startswith("level.") for name in arrays)
        pairs = [(f"level.{level}", f"classes.{level}") for level in range(levels)]
        depth = [name for name in _DEPTH_NAMES if name in arrays]
        expected = {name for pair in pairs for name in pair} | set(_DEPTH_NAMES[: len(depth)])
        if not pairs or set(arrays) != expected:
            raise ValueError(
                "tables are named level.0, classes.0, level.1, ... and depth.alone, depth.beside; "
                f"these are {sorted(arrays)}"
            )
        tables = cls(
            tuple(LevelTables(arrays[counts], arrays[classes]) for counts, classes in pairs),
            DepthTables(*(arrays[name] for name in depth)) if depth else None,
        )
        return check_frame_tables(tables)

    def arrays(self) -> dict[str, np.ndarray]:
        """The tables under their names, for a safetensors file."""
        named = {f"level.{index}": level.counts for index, level in enumerate(self.levels)}
        named |= {f"classes.{index}": level.classes for index, level in enumerate(self.levels)}
        depth = zip(_DEPTH_NAMES, self.depth or (), strict=False)
        named |= {name: counts for name, counts in depth if counts is not None}
        return {name: array.astype(np.int32) for name, array in named.items()}

    def fingerprint(self) -> str:
        """SHA-256 of the tables, in hexadecimal digits.

        It is taken over the number of levels; then, for every level its counts and its classes, and for the two tables
        of depths their counts: number of axes (0 without a table), their lengths and all values. All are little-endian
        32-bit integers.
        """
        digest = hashlib.sha256(np.array([len(self.levels)], dtype="<u4").tobytes())
        parts = [array for level in self.levels for array in level]
        for array in (*parts, *(self.depth or (None, None))):
            shape = () if array is None else array.shape
            values = [] if array is None else array.reshape(-1)
            digest.update(np.concatenate([[len(shape)], shape, values]).astype("<u4").tobytes())
        return digest.hexdigest()


def check_frame_tables(tables: FrameTables) -> FrameTables:
    """``tables`` as int64, if they belong together.

    Raises:
        ValueError: If one is no table, or they contradict one another.
    """
    levels = tuple(check_level_tables(level) for level in tables.levels)
    depth = None if tables.depth is None else check_depth_tables(tables.depth)
    if any(len(level.classes) != levels[0].counts.shape[1] for level in levels):
        raise ValueError("every level sorts all codes of level 0 into classes, these tables sort another number")
    if depth is not None and depth.levels != len(levels):
        raise ValueError(f"depths of {len(levels)} levels lie between 0 and {len(levels)}, not {depth.levels}")
    return FrameTables(levels, depth)


def frame_rows(codes: Int64[np.ndarray, "channels frames levels"]) -> Int64[np.ndarray, "rows levels"]:
    """Codes as rows: all channels of the first frame, then those of the second."""
    return codes.transpose(1, 0, 2).reshape(-1, codes.shape[2])


def rows_frames(rows: Int64[np.ndarray, "rows levels"], channels: int) -> Int64[np.ndarray, "channels frames levels"]:
    """Undo :func:`frame_rows`."""
    return rows.reshape(-1, channels, rows.shape[1]).transpose(1, 0, 2)


class FrameCoder:
    """Frames to a message and back.

    Args:
        tables: The tables of the model.
        channels: Channels of a frame.
        depth: The depth of all frames; ``None`` if it varies and has to be coded.
    """

    level_coder: ClassVar[type[LevelCoder]] = LevelCoder

    def __init__(self, tables: FrameTables, channels: int, depth: int | None) -> None:
        if depth is None and tables.depth is None:
            raise ValueError("these tables are for constant depth: learn some with variable_depth=True")
        self.depth = depth
        self._channels = channels
        self._levels = self.level_coder(tables.levels, channels)
        self._depths = DepthCoder(tables.depth) if depth is None and tables.depth is not None else None

    @property
    def num_sets(self) -> int:
        """Sets of tables among which the encoder chooses."""
        return 1 if self._depths is None else len(self._depths.tables.alone)

    def encode(self, codes: Int64[np.ndarray, "channels frames levels"]) -> tuple[int, bytes]:
        """The set of tables that was chosen, and the message."""
        message, index = MessageWriter(), 0
        if self._depths is not None:
            depths = np.count_nonzero(codes >= 0, axis=2)
            index = self._depths.cheapest_set(depths)
            self._depths.write(message, depths, index)
        self._levels.write(message, frame_rows(codes)[:, : self.depth])
        return index, message.data()

    def decode(
        self, data: bytes, index: int, frames: int, levels: int
    ) -> Int64[np.ndarray, "channels {frames} {levels}"]:
        """Codes of the first ``levels`` levels; those above are not decoded.

        Raises:
            ValueError: If the bytes are not what :meth:`encode` makes.
        """
        message = MessageReader(data)
        if self._depths is None:
            depths = np.full((self._channels, frames), self.depth)
        else:
            depths = self._depths.read(message, self._channels, frames, index)
        deepest = len(self._levels.tables) if self.depth is None else self.depth
        rows = self._levels.read(message, depths.T.reshape(-1), min(levels, deepest))
        if levels >= deepest:
            message.finish()
        absent = np.full((len(rows), levels - rows.shape[1]), -1, dtype=np.int64)
        return rows_frames(np.concatenate([rows, absent], axis=1), self._channels)
