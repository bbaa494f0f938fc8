"""The number of levels that every frame spends, coded in the light of its neighbours.

The table of a depth is chosen by depths that are known already, by integer arithmetic alone::

    channel 0      ...  b  a  [n]        the two frames before:          context 3 a + sign(a - b) + 1
    channel 1      ...     c  [m]        its frame before, and channel 0 of the same frame:   context c (levels + 1) + n

Depths before the start are 0. There are several *sets* of tables, for quiet and for lavish stretches; whoever encodes
names one. Every further channel looks at the one before it; if a model has learned nothing about pairs of channels,
all channels are coded like channel 0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Integer

from codeword.entropy.range_coder import MessageReader, MessageWriter, Model, exact_model
from codeword.entropy.tables import PRECISION, check_rows

MAX_SETS = 255


class DepthTables(NamedTuple):
    """Tables of counts for depths.

    Attributes:
        alone: For channel 0: set, context of the two frames before, depth.
        beside: For further channels: set, context of the frame before and the channel before, depth; or ``None``.
    """

    alone: Int64[np.ndarray, "sets contexts depths"]
    beside: Int64[np.ndarray, "sets pairs depths"] | None = None

    @property
    def levels(self) -> int:
        """The greatest depth."""
        return self.alone.shape[2] - 1


def check_depth_tables(tables: DepthTables) -> DepthTables:
    """``tables`` as int64, if they are some.

    Raises:
        ValueError: If a shape is impossible or a row is no table.
    """
    sets, depths = tables.alone.shape[0], tables.alone.shape[2]
    shapes = [(sets, 3 * depths, depths), (sets, depths**2, depths)]
    arrays = [tables.alone] if tables.beside is None else [tables.alone, tables.beside]
    if not 1 <= sets <= MAX_SETS or depths < 2 or [array.shape for array in arrays] != shapes[: len(arrays)]:
        raise ValueError(
            f"tables of depths have the shapes (sets, 3 d, d) and (sets, d^2, d), got {[a.shape for a in arrays]}"
        )
    return DepthTables(*(check_rows(array) for array in arrays))


def contexts_alone(depths: Integer[np.ndarray, "channels frames"]) -> Int64[np.ndarray, "channels frames"]:
    """Of every depth, the context that the two frames before it make."""
    past = np.zeros((len(depths), depths.shape[1] + 2), dtype=np.int64)
    past[:, 2:] = depths
    a, b = past[:, 1:-1], past[:, :-2]
    return 3 * a + np.sign(a - b) + 1


def contexts_beside(depths: Integer[np.ndarray, "channels frames"], levels: int) -> Int64[np.ndarray, "others frames"]:
    """Of every depth beyond channel 0, the context that the frame before it and the channel before it make."""
    past = np.zeros(depths.shape, dtype=np.int64)
    past[:, 1:] = depths[:, :-1]
    return past[1:] * (levels + 1) + depths[:-1]


class DepthCoder:
    """Depths to a message and back.

    Args:
        tables: The tables of the model.
    """

    def __init__(self, tables: DepthTables) -> None:
        self.tables = check_depth_tables(tables)
        self._models: dict[int, tuple[list[Model], list[Model]]] = {}

    def cheapest_set(self, depths: Int64[np.ndarray, "channels frames"]) -> int:
        """The set of tables under which these depths take the fewest bits, the first one on a tie."""
        totals = np.zeros(len(self.tables.alone), dtype=np.int64)
        for counts, contexts, symbols in zip(self.tables, *self._contexts(depths), strict=True):
            if counts is not None:
                # In steps of 2**-12 bits, so that integers are compared.
                costs = np.rint(4096 * (PRECISION - np.log2(counts))).astype(np.int64)
                totals += costs[:, contexts, symbols].sum(axis=(1, 2))
        return int(totals.argmin())

    def write(self, message: MessageWriter, depths: Int64[np.ndarray, "channels frames"], index: int) -> None:
        """Encode depths under set ``index``: frame by frame, in it channel by channel."""
        models = self._models_of(index)
        (alone, beside), _ = self._contexts(depths)
        chosen = [[models[0][context] for context in row] for row in alone.tolist()]
        chosen += [[models[1][context] for context in row] for row in beside.tolist()]
        in_order = (model for frame in zip(*chosen, strict=True) for model in frame)
        message.write_each(depths.T.reshape(-1).tolist(), in_order)

    def read(
        self, message: MessageReader, channels: int, frames: int, index: int
    ) -> Int64[np.ndarray, "{channels} {frames}"]:
        """Undo :meth:`write`."""
        if not 0 <= index < len(self.tables.alone):
            raise ValueError(f"there are {len(self.tables.alone)} sets of tables, not a set {index}")
        alone, beside = self._models_of(index)
        size = self.tables.levels + 1
        # One look-up a symbol: the model by the depths of the two frames before.
        by_past = [[alone[3 * a + (a > b) - (a < b) + 1] for b in range(size)] for a in range(size)]
        by_pair = [beside[size * a : size * (a + 1)] for a in range(size)] if beside else None

        def loop(step: Callable[[Model], int]) -> list[int]:
            depths: list[int] = []
            last, before = [0] * channels, [0] * channels
            depth = 0
            for _ in range(frames):
                for channel in range(channels):
                    a = last[channel]
                    depth = step(by_pair[a][depth] if by_pair and channel else by_past[a][before[channel]])
                    before[channel], last[channel] = a, depth
                    depths.append(depth)
            return depths

        found: Any = message.read_each(loop)
        return np.array(found, dtype=np.int64).reshape(frames, channels).T

    def _contexts(self, depths: Int64[np.ndarray, "channels frames"]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Contexts and symbols under the tables ``alone``, then those under ``beside``."""
        split = len(depths) if self.tables.beside is None else 1
        levels = self.tables.levels
        beside = contexts_beside(depths, levels)[split - 1 :]
        return [contexts_alone(depths[:split]), beside], [depths[:split], depths[split:]]

    def _models_of(self, index: int) -> tuple[list[Model], list[Model]]:
        if index not in self._models:
            alone, beside = self.tables
            self._models[index] = (
                [exact_model(counts) for counts in alone[index]],
                [] if beside is None else [exact_model(counts) for counts in beside[index]],
            )
        return self._models[index]
