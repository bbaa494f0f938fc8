"""Codes of pictures come back, and cost less for who knows their neighbours."""

import numpy as np
import pytest

from codeword.entropy.counting import FrameCounter, GridCounter
from codeword.entropy.frames import FrameCoder, FrameTables
from codeword.entropy.grids import GridCoder, neighbours

SIZES = (16, 8, 8)


def picture(rows=24, columns=30, seed=0, depths=True):
    """Codes of level 0 that resemble those above and to the left, others that follow level 0."""
    rng = np.random.default_rng(seed)
    field = np.zeros((rows, columns), dtype=np.int64)
    for row in range(rows):
        for column in range(columns):
            left = field[row, column - 1] if column else 0
            above = field[row - 1, column] if row else 0
            alike = (left + above + 1) // 2 + rng.integers(-1, 2)
            field[row, column] = alike if rng.random() < 0.8 else rng.integers(16)
    field = field.clip(0, 15)
    others = (field[..., None] // 2 + rng.integers(0, 3, (rows, columns, 2))) % 8
    codes = np.concatenate([field[..., None], others], axis=2)
    depth = (1 + field // 6)[..., None] if depths else np.full((rows, columns, 1), 3)
    return np.where(np.arange(3) < depth, codes, -1)


def learned(depths=True, counter=GridCounter):
    made = counter(SIZES, variable_depth=depths)
    for seed in range(1, 13):
        made.add(picture(seed=seed, depths=depths))
    return made.tables()


def test_neighbours_are_those_in_the_picture():
    codes = np.arange(12).reshape(3, 4)  # three rows, four columns
    above, left = (part.reshape(3, 4) for part in neighbours(codes.reshape(-1), 4))
    assert left.tolist() == [[0, 0, 1, 2], [0, 4, 5, 6], [0, 8, 9, 10]]
    assert above.tolist() == [[0, 0, 0, 0], [0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize("depths", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (24, 30)])
def test_codes_come_back(depths, shape):
    tables = learned(depths)
    codes = picture(*shape, seed=99, depths=depths)
    coder = GridCoder(tables, shape[1], None if depths else 3)
    index, message = coder.encode(codes.transpose(1, 0, 2))
    assert np.array_equal(coder.decode(message, index, shape[0], 3).transpose(1, 0, 2), codes)
    assert np.array_equal(coder.decode(message, index, shape[0], 2).transpose(1, 0, 2), codes[..., :2])


def test_knowing_both_neighbours_is_cheaper_than_knowing_one():
    codes = picture(60, 60, seed=50)
    grid = GridCoder(learned(), 60, None).encode(codes.transpose(1, 0, 2))[1]
    frame = FrameCoder(learned(counter=FrameCounter), 60, None).encode(codes)[1]
    assert len(grid) < 0.93 * len(frame)


def test_tables_are_stored_and_tell_of_what_they_are():
    tables = learned()
    again = FrameTables.from_arrays(tables.arrays())
    assert again.fingerprint() == tables.fingerprint()
    assert len(tables.levels[0].counts) == (tables.levels[0].classes.max() + 1) ** 2 > 1
    with pytest.raises(ValueError, match=r"pairs of classes, .* learn them with GridCounter"):
        GridCoder(learned(counter=FrameCounter), 3, None)


def test_independent_codes_get_a_single_class():
    rng = np.random.default_rng(0)
    counter = GridCounter((8,), variable_depth=False)
    for _ in range(6):
        counter.add(rng.integers(0, 8, (30, 30, 1)))
    assert len(counter.tables().levels[0].counts) == 1


def test_an_alphabet_of_one_symbol_leaves_no_trace():
    counter = GridCounter((1, 4), variable_depth=False)
    codes = np.stack([np.zeros((5, 6), dtype=np.int64), np.arange(30).reshape(5, 6) % 4], axis=2)
    counter.add(codes)
    coder = GridCoder(counter.tables(), 6, 2)
    index, message = coder.encode(codes.transpose(1, 0, 2))
    assert np.array_equal(coder.decode(message, index, 5, 2).transpose(1, 0, 2), codes)


def test_bytes_that_no_encoder_makes_are_refused():
    coder = GridCoder(learned(), 30, None)
    index, message = coder.encode(picture(seed=99).transpose(1, 0, 2))
    with pytest.raises(ValueError, match=r"left over|range-coded"):
        coder.decode(message + bytes(8), index, 24, 3)
