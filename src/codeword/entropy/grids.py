"""The codes of a picture, each in the light of its neighbours: row by row, from left to right.

::

    level 0           a          context: the class of the code above and that of the code to the left
                    l[c0]        (of code 0 where there is none)
                       │
    level 1, 2, ...    └─► [cm]  context: level 0 of the same place

    depths            a          context: the depth above and the depth to the left
                    l[n]

To a coder of frames columns are channels, and rows are frames. Tables are ``FrameTables`` whose level 0 has a table for
every pair of classes: of n classes, number n a + l serves a code whose neighbours above and to the left are of the
classes a and l.
"""

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Int64, Integer

from codeword.entropy.frames import FrameCoder, FrameTables
from codeword.entropy.levels import LevelCoder
from codeword.entropy.range_coder import Model


class GridLevelCoder(LevelCoder):
    """The codes of all levels of a picture to a message and back.

    Args:
        tables: The tables of the model, level by level; those of level 0 for pairs of classes.
        channels: Columns of the picture.
    """

    def _first_tables(self, codes: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
        above, left = neighbours(codes, self.channels)
        classes = self.tables[0].classes
        return (int(classes.max()) + 1) * classes[above] + classes[left]

    def _walk(self, step: Callable[[Model], int], models: Sequence[Model], present: Sequence[bool]) -> list[int]:
        classes, number = self.tables[0].classes.tolist(), math.isqrt(len(models))
        above, left = [classes[0]] * self.channels, classes[0]
        found: list[int] = []
        for place, here in enumerate(present):
            column = place % self.channels
            left = left if column else classes[0]
            code = step(models[number * above[column] + left]) if here else 0
            above[column] = left = classes[code]
            found.append(code)
        return found


class GridCoder(FrameCoder):
    """The codes of a picture, (columns, rows, levels), to a message and back.

    Args:
        tables: The tables of the model.
        channels: Columns of the picture.
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
    codes: Integer[np.ndarray, " rows"], columns: int
) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    """Of every code, row by row, those above and to the left; 0 where there is none."""
    grid = np.zeros((len(codes) // columns + 1, columns + 1), dtype=np.int64)
    grid[1:, 1:] = np.maximum(codes, 0).reshape(-1, columns)
    return grid[:-1, 1:].reshape(-1), grid[1:, :-1].reshape(-1)
