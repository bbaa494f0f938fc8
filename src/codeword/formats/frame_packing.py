"""Codes of frames as bits, without tables: depths and codes in mixed radix."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from codeword.entropy.frames import frame_rows, rows_frames
from codeword.functional.radix import pack_radix, radix_bits, unpack_radix


class FramePacking:
    """Frames <-> bytes: the depths of all, then the codes of all, the channels of a frame one after another.

    Args:
        sizes: Codebook sizes, one a level.
        channels: Channels of a frame.
        depth: The number of levels of all frames; ``None`` if every frame of every channel has its own.
    """

    def __init__(self, sizes: Sequence[int], channels: int, depth: int | None) -> None:
        self.sizes, self.channels, self.depth = tuple(sizes), channels, depth

    def pack(self, codes: Int64[np.ndarray, "channels frames levels"]) -> bytes:
        """Frames to bytes; -1 beyond the depth of a frame."""
        rows = frame_rows(codes)
        if self.depth is not None:
            return pack_radix(rows[:, : self.depth], self.sizes[: self.depth])
        depths = np.count_nonzero(rows >= 0, axis=1)
        return pack_radix(depths[:, None], (len(self.sizes) + 1,)) + pack_radix(rows, self.sizes)

    def unpack(self, data: bytes, frames: int) -> Int64[np.ndarray, "channels {frames} levels"]:
        """Bytes to frames.

        Raises:
            ValueError: On bytes that :meth:`pack` never makes.
        """
        count, levels = frames * self.channels, len(self.sizes)
        if self.depth is None:
            depth_bytes = (radix_bits((count,), (levels + 1,)) + 7) // 8
            depths = unpack_radix(data[:depth_bytes], count, (levels + 1,))[:, 0]
            rows = unpack_radix(data[depth_bytes:], count, self.sizes, depths)
        else:
            present = unpack_radix(data, count, self.sizes[: self.depth])
            rows = np.full((count, levels), -1, dtype=np.int64)
            rows[:, : self.depth] = present
        return rows_frames(rows, self.channels)
