"""The codes of a frame's levels, each coded in the light of a code of level 0.

Neighbouring frames resemble one another, and what the first level says bears upon the next ones::

    level 0       ... c0 ──► [c0]      context: the code of the frame before (0 where it has none)
                              │
    level 1, 2, ...           └──► [cm]      context: level 0 of the same frame

A table for every code of level 0 could not be learned. Each level sorts these codes into a few *classes* and has one
table a class; a level that gains nothing by them has a single class.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer

from codeword.entropy.range_coder import MessageReader, MessageWriter, Model, exact_model
from codeword.entropy.tables import check_rows


class LevelTables(NamedTuple):
    """Tables of counts for the codes of one level.

    Attributes:
        counts: One table a class.
        classes: The class of every code of level 0.
    """

    counts: Int64[np.ndarray, "classes size"]
    classes: Int64[np.ndarray, " contexts"]


def check_level_tables(tables: LevelTables) -> LevelTables:
    """``tables`` as int64, if they are some.

    Raises:
        ValueError: If a class is not there or a row is no table.
    """
    number, classes = len(tables.counts), tables.classes
    if not number or not len(classes) or not 0 <= classes.min() <= classes.max() < number:
        raise ValueError(f"there are {number} tables, so every code of level 0 has a class from 0 to {number - 1}")
    return LevelTables(check_rows(tables.counts), tables.classes.astype(np.int64))


class LevelCoder:
    """The codes of all levels to a message and back.

    Codes come as rows, all channels of the first frame, then those of the second; -1 is absent.

    Args:
        tables: The tables of the model, level by level.
        channels: Rows of one frame.
    """

    def __init__(self, tables: Sequence[LevelTables], channels: int) -> None:
        self.tables = [check_level_tables(level) for level in tables]
        self.channels = channels
        self._made: dict[int, list[Model]] = {}

    def write(self, message: MessageWriter, rows: Int64[np.ndarray, "rows levels"]) -> None:
        """Encode level 0, row by row; then every other level, one class of rows after another."""
        present = rows >= 0
        self._write_first(message, rows[:, 0], present[:, 0])
        for level in range(1, rows.shape[1]):
            classes, codes = self._sorted(rows, present[:, level], level), rows[present[:, level], level]
            for index, model in enumerate(self._models(level)):
                message.write(codes[classes == index], model)

    def read(
        self, message: MessageReader, depths: Int64[np.ndarray, " rows"], levels: int
    ) -> Int64[np.ndarray, "rows {levels}"]:
        """Undo :meth:`write`, as far as the first ``levels`` levels.

        Args:
            message: Where the codes are.
            depths: How many levels of every row are there.
            levels: How many of them to decode; the others are absent in what is returned.
        """
        codes = np.full((len(depths), levels), -1, dtype=np.int64)
        if levels:
            codes[:, 0] = self._read_first(message, depths > 0)
        for level in range(1, levels):
            present = depths > level
            classes = self._sorted(codes, present, level)
            found = np.zeros(len(classes), dtype=np.int64)
            for index, model in enumerate(self._models(level)):
                own = np.flatnonzero(classes == index)
                found[own] = message.read(len(own), model)
            codes[present, level] = found
        return codes

    def _models(self, level: int) -> list[Model]:
        if level not in self._made:
            self._made[level] = [exact_model(counts) for counts in self.tables[level].counts]
        return self._made[level]

    def _sorted(
        self, rows: Int64[np.ndarray, "rows _"], present: Bool[np.ndarray, " rows"], level: int
    ) -> Int64[np.ndarray, " count"]:
        return self.tables[level].classes[rows[present, 0]]

    def _write_first(
        self, message: MessageWriter, codes: Int64[np.ndarray, " rows"], present: Bool[np.ndarray, " rows"]
    ) -> None:
        models = self._models(0)
        if len(models) == 1 or models[0] is None:
            message.write(codes[present], models[0])
            return
        chosen = self._first_tables(codes)[present]
        message.write_each(codes[present].tolist(), (models[index] for index in chosen.tolist()))

    def _read_first(self, message: MessageReader, present: Bool[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
        models = self._models(0)
        codes = np.full(len(present), -1, dtype=np.int64)
        if len(models) == 1 or models[0] is None:
            codes[present] = message.read(int(np.count_nonzero(present)), models[0])
            return codes
        read: Any = message.read_each(lambda step: self._walk(step, models, present.tolist()))
        codes[present] = np.array(read, dtype=np.int64)[present]
        return codes

    def _first_tables(self, codes: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
        """Which table of level 0 every code has."""
        return self.tables[0].classes[first_contexts(codes, self.channels)]

    def _walk(self, step: Callable[[Model], int], models: Sequence[Model], present: Sequence[bool]) -> list[int]:
        """Decode level 0, code by code, each under the table that ``_first_tables`` says; 0 where absent."""
        chosen = [models[index] for index in self.tables[0].classes.tolist()]
        last = [0] * self.channels
        found: list[int] = []
        for row, here in enumerate(present):
            channel = row % self.channels
            code = step(chosen[last[channel]]) if here else 0
            last[channel] = code
            found.append(code)
        return found


def first_contexts(codes: Integer[np.ndarray, " rows"], channels: int) -> Int64[np.ndarray, " rows"]:
    """Of every code of level 0, the code of the same channel in the frame before; 0 where there is none."""
    past = np.zeros(len(codes), dtype=np.int64)
    past[channels:] = np.maximum(codes[: len(codes) - channels], 0) if len(codes) > channels else 0
    return past
