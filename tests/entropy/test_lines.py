"""Envelopes and lines come back, at about the bits that their distributions say."""

import numpy as np
import pytest

from codeword.entropy.counting import FrameCounter
from codeword.entropy.lines import MOST_BITS, LineCoder, SpeechTables, check_speech_tables
from codeword.entropy.tables import TOTAL, quantize_histogram
from codeword.functional.bands import CELL, LEAST, NUM_CELLS, UNIT, Bands, cells, line_energies, step_exponents

BANDS = Bands(edges=(0, 2, 6, 14))
SIZES = (8, 5)


def laplacian(cell):
    """Counts of -n ... n and of what lies beyond, of lines with this energy over their step."""
    width = 2.0 ** ((LEAST + CELL * cell + CELL / 2) / UNIT / 2) / 2**0.5
    most = int(4 * width) + 1
    numbers = np.arange(-most, most + 1)
    mass = np.exp(-np.abs(numbers) / width)
    beyond = 2 * np.exp(-(most + 1) / width) / (1 - np.exp(-1 / width))
    shares = np.append(mass, beyond) / (mass.sum() + beyond)
    return quantize_histogram((shares * 2**40).astype(np.int64) + 1)


def tables(seed=0):
    rng = np.random.default_rng(seed)
    counter = FrameCounter(SIZES, variable_depth=False)
    for number in range(4):
        counter.add(codes(60, number)[None])
    books = tuple(rng.integers(-6 * UNIT, 2 * UNIT, (size, 3)) for size in SIZES)
    row = tuple(laplacian(cell) for cell in range(NUM_CELLS))
    return SpeechTables(counter.tables(), books, BANDS, (row,) * 3)


def codes(frames, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, frames) for size in SIZES], axis=1)


TABLES = tables()


def frames(count=50, seed=1, step=-400):
    """Codes, lines that follow their envelopes, and steps."""
    rng = np.random.default_rng(seed)
    of_envelope = codes(count, seed)
    energies = LineCoder(TABLES).energies(of_envelope)
    steps = step + rng.integers(-100, 100, count)
    exponents = step_exponents(energies, steps[:, None])
    values = np.rint(rng.laplace(size=energies.shape) * 2.0 ** ((energies - exponents) / UNIT / 2) / 2**0.5)
    return of_envelope, values.astype(np.int64), steps


def test_frames_come_back():
    of_envelope, values, steps = frames()
    coder = LineCoder(TABLES)
    data = coder.encode(of_envelope, values, steps)
    found = LineCoder(TABLES).decode(data, steps)
    assert np.array_equal(found[0], of_envelope)
    assert np.array_equal(found[1], values)


@pytest.mark.parametrize("count", [0, 1])
def test_few_frames_come_back(count):
    of_envelope, values, steps = frames(count)
    coder = LineCoder(TABLES)
    found = coder.decode(coder.encode(of_envelope, values, steps), steps)
    assert np.array_equal(found[0], of_envelope) and np.array_equal(found[1], values)


def test_values_beyond_every_table_come_back():
    of_envelope, values, steps = frames()
    rng = np.random.default_rng(5)
    places = rng.integers(0, values.size, 40)
    values.reshape(-1)[places] = rng.integers(-(2**MOST_BITS) + 1, 2**MOST_BITS, 40)
    values[0, 0], values[3, 2] = 2**MOST_BITS - 1, -(2**MOST_BITS) + 1
    coder = LineCoder(TABLES)
    assert np.array_equal(coder.decode(coder.encode(of_envelope, values, steps), steps)[1], values)
    values[0, 0] = 2**MOST_BITS
    with pytest.raises(ValueError, match=r"lines lie below 2\*\*24 steps, got 16777216"):
        coder.encode(of_envelope, values, steps)


def test_bits_are_those_of_the_tables():
    of_envelope, values, steps = frames(200)
    data = LineCoder(TABLES).encode(of_envelope, values, steps)
    energies = line_energies(sum(book[of_envelope[:, level]] for level, book in enumerate(TABLES.books)), BANDS)
    which = cells(energies, step_exponents(energies, steps[:, None]))
    bits = 200 * np.log2(8 * 5)
    for value, cell in zip(values.reshape(-1).tolist(), which.reshape(-1).tolist(), strict=True):
        counts = TABLES.lines[0][cell]
        most = len(counts) // 2 - 1
        bits -= np.log2(counts[value + most if abs(value) <= most else -1] / TOTAL)
    assert 8 * len(data) == pytest.approx(bits, rel=0.03)


def test_finer_steps_take_more_bytes():
    sizes = [len(LineCoder(TABLES).encode(*frames(step=step))) for step in (-200, -400, -600)]
    assert sizes == sorted(set(sizes))


def test_tables_are_stored_and_told_apart():
    arrays = TABLES.arrays()
    again = SpeechTables.from_arrays(arrays)
    assert again.fingerprint() == TABLES.fingerprint()
    assert again.bands == BANDS
    assert all(np.array_equal(a, b) for a, b in zip(again.books, TABLES.books, strict=True))
    moved = TABLES._replace(books=(TABLES.books[0] + 1, TABLES.books[1]))
    assert moved.fingerprint() != TABLES.fingerprint()
    for name in ("edges", "lines.counts", "book.1", "level.0"):
        with pytest.raises(ValueError, match=r"."):
            SpeechTables.from_arrays({key: value for key, value in arrays.items() if key != name})
    counts, lengths = (arrays[name].astype(np.int64) for name in ("lines.counts", "lines.lengths"))
    with pytest.raises(ValueError, match="3 bands have 41 tables of lines each"):
        check_speech_tables(TABLES.codes, TABLES.books, BANDS, counts[:-1], lengths)


def test_bytes_that_no_encoder_makes_are_refused():
    of_envelope, values, steps = frames()
    data = LineCoder(TABLES).encode(of_envelope, values, steps)
    with pytest.raises(ValueError, match=r"left over|range-coded"):
        LineCoder(TABLES).decode(data + bytes(8), steps)
    with pytest.raises(ValueError, match="4-byte words"):
        LineCoder(TABLES).decode(data[:-1], steps)
