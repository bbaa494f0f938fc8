"""The codes of a picture, each in the light of its neighbours.

Rows of the picture take the place of channels, columns that of frames, and go column by column, from top to bottom::

    level 0           a          context: the class of the code above and that of the code to the left
                    l[c0]        (0 where there is none)
                       │
    level 1, 2, ...    └─► [cm]  context: level 0 of the same place

    depths            a          context: the depth above and the depth to the left
                    l[n]

Tables are ``FrameTables`` whose level 0 has a table for every pair of classes: of n classes, number n l + a serves a
code whose neighbours to the left and above are of the classes l and a.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int64, Integer

from codeword.entropy.frames import FrameCoder, FrameTables
from codeword.entropy.levels import LevelCoder
from codeword.entropy.range_coder import MessageReader, MessageWriter, Model


class GridLevelCoder(LevelCoder):
    """The codes of all levels of a picture to a message and back.

    Args:
        tables: The tables of the model, level by level; those of level 0 for pairs of classes.
        channels: Rows of the picture.
    """

    def _write_first(
        self, message: MessageWriter, codes: Int64[np.ndarray, " rows"], present: Bool[np.ndarray, " rows"]
    ) -> None:
        models = self._models(0)
        if len(models) == 1 or models[0] is None:
            message.write(codes[present], models[0])
            return
        left, above = neighbours(codes, self.channels)
        classes = self.tables[0].classes
        chosen = _width(models) * classes[left] + classes[above]
        message.write_each(codes[present].tolist(), (models[index] for index in chosen[present].tolist()))

    def _read_first(self, message: MessageReader, present: Bool[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
        models = self._models(0)
        if len(models) == 1 or models[0] is None:
            return super()._read_first(message, present)
        classes, width = self.tables[0].classes.tolist(), _width(models)

        def loop(step: Callable[[Model], int]) -> list[int]:
            left, above = [classes[0]] * self.channels, classes[0]
            found: list[int] = []
            for place, here in enumerate(present.tolist()):
                row = place % self.channels
                above = above if row else classes[0]
                code = step(models[width * left[row] + above]) if here else 0
                left[row] = above = classes[code]
                found.append(code)
            return found

        read: Any = message.read_each(loop)
        return np.where(present, np.array(read, dtype=np.int64), -1)


class GridCoder(FrameCoder):
    """The codes of a picture, (rows, columns, levels), to a message and back.

    Args:
        tables: The tables of the model.
        channels: Rows of the picture.
        depth: The depth everywhere; ``None`` if it varies and has to be coded.

    Raises:
        ValueError: If level 0 has no table for every pair of classes.
    """

    level_coder: ClassVar[type[LevelCoder]] = GridLevelCoder

    def __init__(self, tables: FrameTables, channels: int, depth: int | None) -> None:
        number, classes = len(tables.levels[0].counts), int(tables.levels[0].classes.max()) + 1
        if number != classes**2:
            raise ValueError(
                f"codes of pictures have tables for pairs of classes, {classes**2} of {classes} classes: these are "
                f"{number}, learn them with GridCounter"
            )
        super().__init__(tables, channels, depth)


def neighbours(
    codes: Integer[np.ndarray, " rows"], channels: int
) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    """Of every code, those to the left and above; 0 where there is none."""
    grid = np.zeros((len(codes) // channels + 1, channels + 1), dtype=np.int64)
    grid[1:, 1:] = np.maximum(codes, 0).reshape(-1, channels)
    return grid[:-1, 1:].reshape(-1), grid[1:, :-1].reshape(-1)


def _width(models: list[Model]) -> int:
    return math.isqrt(len(models))
