"""The lines of spectra, each under the table that the envelope around it says.

::

    codes of the envelope ──► message ──► energies of lines ──► cell of every line
                                                                    │ table of its band and cell
    lines, as integers  ───────────────────────────────────────────►└──► the same message

A table has symbols for -n, ..., n and one for all that lies beyond, which is followed, after all tables, by the rest in
Elias' gamma code.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Integer

from codeword.entropy.frames import FrameTables
from codeword.entropy.levels import LevelCoder
from codeword.entropy.range_coder import MessageReader, MessageWriter, Model, exact_model
from codeword.entropy.tables import TOTAL, check_counts
from codeword.functional.bands import NUM_CELLS, Bands, cells, line_energies, step_exponents

MOST_BITS = 24  # of a line's magnitude
_LINES, _LENGTHS, _BOOK, _EDGES = "lines.counts", "lines.lengths", "book.", "edges"


class SpeechTables(NamedTuple):
    """All that a decoder needs to know which table a line has.

    Attributes:
        codes: Tables of the codes of envelopes.
        books: Of every level, what a code adds to the envelope, in 64ths of an octave.
        bands: How lines are joined.
        lines: For every band and cell the counts of -n, ..., n, and of all that lies beyond.
    """

    codes: FrameTables
    books: tuple[Int64[np.ndarray, "_ bands"], ...]
    bands: Bands
    lines: tuple[tuple[Int64[np.ndarray, " symbols"], ...], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codebook sizes."""
        return self.codes.sizes

    def arrays(self) -> dict[str, np.ndarray]:
        """The tables under their names, for a safetensors file."""
        flat = [counts for row in self.lines for counts in row]
        return {
            **self.codes.arrays(),
            **{f"{_BOOK}{level}": book.astype(np.int32) for level, book in enumerate(self.books)},
            _EDGES: np.array(self.bands.edges, dtype=np.int32),
            _LINES: np.concatenate(flat).astype(np.int32),
            _LENGTHS: np.array([[len(counts) for counts in row] for row in self.lines], dtype=np.int32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Integer[np.ndarray, "..."]]) -> "SpeechTables":
        """Undo :meth:`arrays`.

        Raises:
            ValueError: If something is missing, superfluous, or no table.
        """
        given = {name: array.astype(np.int64) for name, array in arrays.items()}
        try:
            edges, counts, lengths = (given.pop(name) for name in (_EDGES, _LINES, _LENGTHS))
        except KeyError as error:
            raise ValueError(f"tables of speech have {_EDGES}, {_LINES} and {_LENGTHS}: {error} is missing") from error
        books = [given.pop(f"{_BOOK}{level}") for level in range(sum(name.startswith(_BOOK) for name in given))]
        return check_speech_tables(
            FrameTables.from_arrays(given), books, Bands(edges=tuple(edges.tolist())), counts, lengths
        )

    def fingerprint(self) -> str:
        """SHA-256 of all arrays, sorted by name: name, number of axes, lengths and values as 32-bit integers."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays().items()):
            digest.update(name.encode() + np.array([array.ndim, *array.shape], dtype="<i4").tobytes())
            digest.update(array.astype("<i4").tobytes())
        return digest.hexdigest()


def check_speech_tables(
    codes: FrameTables,
    books: Sequence[Int64[np.ndarray, "_ bands"]],
    bands: Bands,
    counts: Int64[np.ndarray, " total"],
    lengths: Int64[np.ndarray, "bands cells"],
) -> SpeechTables:
    """Tables that belong together.

    Raises:
        ValueError: If one is no table, or they contradict one another.
    """
    if lengths.shape != (bands.count, NUM_CELLS) or lengths.min() < 2 or lengths.sum() != len(counts):
        raise ValueError(
            f"{bands.count} bands have {NUM_CELLS} tables of lines each, of 2 counts at least: these are "
            f"{'x'.join(map(str, lengths.shape))} of {len(counts)} counts"
        )
    if tuple(book.shape for book in books) != tuple((size, bands.count) for size in codes.sizes):
        raise ValueError(
            f"codebooks of {codes.sizes} codes and {bands.count} bands are needed, got {[book.shape for book in books]}"
        )
    parts = iter(np.split(counts, np.cumsum(lengths.reshape(-1))[:-1]))
    lines = tuple(tuple(check_counts(next(parts)) for _ in range(NUM_CELLS)) for _ in range(bands.count))
    return SpeechTables(codes, tuple(books), bands, lines)


class LineCoder:
    """Envelopes and lines of frames to a message and back.

    Args:
        tables: The tables of the model.
    """

    def __init__(self, tables: SpeechTables) -> None:
        self.tables = tables
        self._codes = LevelCoder(tables.codes.levels, 1)
        self._made: dict[tuple[int, int], Model] = {}
        flat = [counts for row in tables.lines for counts in row]
        lengths = np.array([len(counts) for counts in flat])
        self._most, self._starts = lengths // 2 - 1, np.cumsum(lengths) - lengths
        self._costs = np.log2(TOTAL / np.concatenate(flat))
        self._bit, self._length = exact_model(np.full(2, TOTAL // 2)), exact_model(np.full(32, TOTAL // 32))

    def energies(self, codes: Int64[np.ndarray, "frames levels"]) -> Int64[np.ndarray, "frames lines"]:
        """Energies of lines under the envelope that codes stand for, in 64ths of an octave."""
        envelope = sum(book[codes[:, level]] for level, book in enumerate(self.tables.books))
        return line_energies(np.asarray(envelope), self.tables.bands)

    def encode(
        self,
        codes: Int64[np.ndarray, "frames levels"],
        values: Int64[np.ndarray, "frames lines"],
        steps: Int64[np.ndarray, " frames"],
    ) -> bytes:
        """Frames to a message.

        Args:
            codes: Of envelopes.
            values: Of lines, in steps.
            steps: Exponents of the steps of all frames, in 64ths.

        Raises:
            ValueError: If a line is too large.
        """
        _check_values(values)
        message = MessageWriter()
        self._codes.write(message, codes)
        flat, beyond = values.reshape(-1), list[np.ndarray]()

        def one(own: np.ndarray, most: int, model: Model) -> None:
            found = flat[own]
            inside = np.abs(found) <= most
            message.write(np.where(inside, found + most, 2 * most + 1), model)
            beyond.append(np.where(found > 0, found - most, found + most)[~inside])

        self._walk(self._cells(codes, steps), one)
        for rest in np.concatenate([np.zeros(0, dtype=np.int64), *beyond]).tolist():
            self._write_rest(message, rest)
        return message.data()

    def decode(
        self, data: bytes, steps: Int64[np.ndarray, " frames"]
    ) -> tuple[Int64[np.ndarray, "frames levels"], Int64[np.ndarray, "frames lines"]]:
        """Undo :meth:`encode`: codes and values.

        Raises:
            ValueError: If the bytes are not what :meth:`encode` makes.
        """
        message, levels = MessageReader(data), len(self.tables.sizes)
        codes = self._codes.read(message, np.full(len(steps), levels), levels)
        values = np.zeros(len(steps) * self.tables.bands.lines, dtype=np.int64)
        beyond: list[tuple[int, int]] = []

        def one(own: np.ndarray, most: int, model: Model) -> None:
            found = message.read(len(own), model)
            values[own] = found - most
            beyond.extend((place, most) for place in own[found == 2 * most + 1].tolist())

        self._walk(self._cells(codes, steps), one)
        for place, most in beyond:
            rest = self._read_rest(message)
            values[place] = rest + most if rest > 0 else rest - most
        message.finish()
        _check_values(values)
        return codes, values.reshape(len(steps), self.tables.bands.lines)

    def bits(
        self,
        codes: Int64[np.ndarray, "frames levels"],
        values: Int64[np.ndarray, "frames lines"],
        steps: Int64[np.ndarray, " frames"],
    ) -> Float64[np.ndarray, " frames"]:
        """Bits that the lines of every frame take, nearly; those of its codes are not among them."""
        table = self.tables.bands.of_lines * NUM_CELLS + self._cells(codes, steps)
        most, size = self._most[table], np.abs(values)
        inside = size <= most
        found = self._costs[self._starts[table] + np.where(inside, values + most, 2 * most + 1)]
        # Five bits for the length of what lies beyond, that length, and a sign.
        found[~inside] += 6 + np.floor(np.log2((size - most)[~inside]))
        return found.sum(1)

    def _cells(
        self, codes: Int64[np.ndarray, "frames levels"], steps: Int64[np.ndarray, " frames"]
    ) -> Int64[np.ndarray, "frames lines"]:
        energies = self.energies(codes)
        return cells(energies, step_exponents(energies, steps[:, None]))

    def _walk(self, of_lines: Int64[np.ndarray, "frames lines"], one: Callable[[np.ndarray, int, Model], None]) -> None:
        """All lines that have a table, frame by frame, for one table after another: band by band, cell by cell."""
        keys = (self.tables.bands.of_lines * NUM_CELLS + of_lines).reshape(-1)
        order = np.argsort(keys, kind="stable")
        found, starts = np.unique(keys[order], return_index=True)
        for key, start, stop in zip(found.tolist(), starts, [*starts[1:], len(order)], strict=False):
            own = order[start:stop]
            band, cell = divmod(key, NUM_CELLS)
            if (band, cell) not in self._made:
                self._made[band, cell] = exact_model(self.tables.lines[band][cell])
            one(own, len(self.tables.lines[band][cell]) // 2 - 1, self._made[band, cell])

    def _write_rest(self, message: MessageWriter, rest: int) -> None:
        """What lies beyond a table: bits of its magnitude, the bits below the first, its sign."""
        size = abs(rest)
        length = size.bit_length() - 1
        bits = [size >> place & 1 for place in range(length)]
        message.write(np.array([length]), self._length)
        message.write(np.array([*bits, int(rest < 0)]), self._bit)

    def _read_rest(self, message: MessageReader) -> int:
        length = int(message.read(1, self._length)[0])
        *bits, negative = message.read(length + 1, self._bit).tolist()
        size = (1 << length) + sum(bit << place for place, bit in enumerate(bits))
        return -size if negative else size


def _check_values(values: Int64[np.ndarray, "*frames lines"]) -> None:
    if values.size and (most := int(np.abs(values).max())) >= 2**MOST_BITS:
        raise ValueError(f"lines lie below 2**{MOST_BITS} steps, got {most}")
