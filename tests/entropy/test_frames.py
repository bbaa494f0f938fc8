"""Tables of framewise codes: what they learn, what they save, what they refuse."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.entropy.counting import DepthCounter, FrameCounter, LevelCounter
from codeword.entropy.depths import DepthCoder, DepthTables, contexts_alone, contexts_beside
from codeword.entropy.frames import FrameCoder, FrameTables, frame_rows, rows_frames
from codeword.entropy.levels import LevelTables, first_contexts
from codeword.entropy.range_coder import MessageReader, MessageWriter
from codeword.entropy.tables import TOTAL, ideal_bits, quantize_histogram


def walk(seed, frames, levels, channels=1):
    """Depths that wander."""
    steps = np.random.default_rng(seed).integers(-1, 2, (channels, frames)).cumsum(axis=1) % (2 * levels)
    return np.minimum(steps, 2 * levels - steps)


def cut(codes, depths):
    return np.where(np.arange(codes.shape[2]) < depths[..., None], codes, -1)


def learned(codes, sizes, *, variable_depth=True):
    counter = FrameCounter(sizes, variable_depth=variable_depth)
    for start in range(0, codes.shape[1], 64):
        counter.add(codes[:, start : start + 64])
    return counter.tables()


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_frames_come_back_whole_and_with_fewer_levels(data):
    sizes = tuple(data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=4), label="sizes"))
    channels = data.draw(st.integers(1, 3), label="channels")
    frames = data.draw(st.integers(0, 60), label="frames")
    depth = data.draw(st.sampled_from([None, *range(1, len(sizes) + 1)]), label="depth")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    codes = rng.integers(0, sizes, (channels, frames, len(sizes)))
    random = rng.integers(0, len(sizes) + 1, (channels, frames))
    codes = cut(codes, random if depth is None else np.full((channels, frames), depth))
    tables = learned(codes, sizes)
    coder = FrameCoder(tables, channels, depth)
    index, message = coder.encode(codes)
    assert 0 <= index < coder.num_sets
    for levels in range(1, len(sizes) + 1):
        assert np.array_equal(coder.decode(message, index, frames, levels), codes[:, :, :levels])


def test_contexts_are_those_of_the_neighbours():
    depths = np.array([[1, 3, 2, 2], [0, 4, 4, 1]])
    assert contexts_alone(depths).tolist() == [[1, 5, 11, 6], [1, 1, 14, 13]]
    assert contexts_beside(depths, 4).tolist() == [[0 * 5 + 1, 0 * 5 + 3, 4 * 5 + 2, 4 * 5 + 2]]
    assert first_contexts(np.array([5, 7, -1, 2, 3, 4]), 2).tolist() == [0, 0, 5, 7, 0, 2]


def bits_of(depths, tables):
    message = MessageWriter()
    coder = DepthCoder(tables)
    coder.write(message, depths, coder.cheapest_set(depths))
    return 8 * len(message.data())


def test_neighbours_save_what_they_tell():
    counter = DepthCounter(12)
    for seed in range(20):
        counter.add(walk(seed, 2000, 12))
    fresh = walk(99, 2000, 12)
    # A walk of three equal steps carries log2(3) bits, a static table would spend nearly log2(12).
    assert bits_of(fresh, counter.tables()) < 2000 * np.log2(3) * 1.03
    static = quantize_histogram(np.bincount(fresh[0], minlength=13))
    assert ideal_bits(np.bincount(fresh[0], minlength=13), static) > 2000 * 3.4


def test_a_second_channel_is_learned_from_the_first():
    counter, first = DepthCounter(6), walk(1, 4000, 6)
    counter.add(np.concatenate([first, first]))
    tables = counter.tables()
    fresh = walk(2, 1000, 6)
    both = bits_of(np.concatenate([fresh, fresh]), tables)
    assert both < bits_of(fresh, tables) + 100
    # Without pairs in the data every channel is coded like channel 0.
    alone = DepthCounter(6)
    alone.add(first)
    assert alone.tables().beside is None
    assert bits_of(np.concatenate([fresh, fresh]), alone.tables()) == pytest.approx(2 * both, rel=0.1)


def test_quiet_and_lavish_stretches_have_sets_of_their_own():
    counter = DepthCounter(8)
    rng = np.random.default_rng(0)
    quiet, lavish = rng.integers(0, 2, (1, 3000)), rng.integers(7, 9, (1, 3000))
    for depths in (quiet, lavish):
        counter.add(depths)
    tables = counter.tables()
    assert DepthCoder(tables).cheapest_set(quiet) != DepthCoder(tables).cheapest_set(lavish)
    assert bits_of(quiet, tables) < 3100
    assert bits_of(lavish, tables) < 3100


def test_neighbouring_codes_save_where_they_tell_something():
    rng = np.random.default_rng(0)
    frames = 6000
    # Level 0 stays for a while in one of four groups, level 1 follows it, level 2 knows nothing.
    group = np.repeat(rng.integers(0, 4, frames // 50), 50)
    level0 = group * 16 + rng.integers(0, 16, frames)
    second = group * 8 + rng.integers(0, 8, frames)
    codes = np.stack([level0, second, rng.integers(0, 32, frames)], axis=-1)[None]
    tables = learned(codes, (64, 32, 32), variable_depth=False)
    assert [len(level.counts) > 1 for level in tables.levels] == [True, True, False]
    _, message = FrameCoder(tables, 1, 3).encode(codes)
    static = FrameTables(
        tuple(LevelTables(quantize_histogram(level.counts.sum(0))[None], level.classes * 0) for level in tables.levels)
    )
    _, plain = FrameCoder(static, 1, 3).encode(codes)
    assert len(plain) * 8 == pytest.approx(frames * (6 + 5 + 5), rel=0.02)
    assert len(message) * 8 == pytest.approx(frames * (4 + 3 + 5), rel=0.03)


def test_large_codebooks_have_one_class():
    counter = LevelCounter(2**13, 2**12)
    counter.add(np.array([1, 2, 8191]), np.array([3, 3, 4095]), 0)
    tables = counter.tables()
    assert tables.counts.shape == (1, 2**12)
    assert (tables.classes == 0).all()
    assert len(tables.classes) == 2**13


def test_the_set_with_the_fewest_bits_is_chosen():
    counter = DepthCounter(5)
    for seed in range(8):
        counter.add(np.clip(walk(seed, 500, 5) - seed // 2, 0, 5))
    tables, fresh = counter.tables(), walk(50, 400, 5)
    coder, lengths = DepthCoder(tables), []
    for index in range(len(tables.alone)):
        message = MessageWriter()
        coder.write(message, fresh, index)
        lengths.append(len(message.data()))
        assert np.array_equal(coder.read(MessageReader(message.data()), 1, 400, index), fresh)
    assert lengths[coder.cheapest_set(fresh)] <= min(lengths) + 4


def test_arrays_hold_the_tables():
    for channels in (1, 2):
        codes = cut(np.arange(channels * 40 * 3).reshape(channels, 40, 3) % 5, walk(0, 40, 3, channels))
        for variable_depth in (False, True):
            tables = learned(codes, (5, 6, 7), variable_depth=variable_depth)
            arrays = tables.arrays()
            assert ("depth.alone" in arrays, "depth.beside" in arrays) == (
                variable_depth,
                variable_depth and channels == 2,
            )
            again = FrameTables.from_arrays(arrays)
            assert again.fingerprint() == tables.fingerprint()
            assert again.sizes == (5, 6, 7)


def test_fingerprints_tell_tables_apart():
    codes = cut(np.arange(120).reshape(1, 40, 3) % 5, walk(0, 40, 3))
    tables = learned(codes, (5, 6, 7))
    moved = tables.levels[0]._replace(classes=1 - tables.levels[0].classes.clip(0, 1))
    others = [
        tables,
        tables._replace(depth=None),
        tables._replace(levels=(moved, *tables.levels[1:])),
        tables._replace(levels=(*tables.levels[:2], LevelTables(np.full((1, 7), TOTAL // 7), np.zeros(5, int)))),
    ]
    assert len({other.fingerprint() for other in others}) == 4
    small = FrameTables((LevelTables(np.array([[TOTAL // 2] * 2]), np.array([0, 0])),))
    # SHA-256 of 1; 2, 1, 2, 32768, 32768; 1, 2, 0, 0; 0; 0 in four little-endian bytes each
    stated = struct.pack("<12I", 1, 2, 1, 2, 32768, 32768, 1, 2, 0, 0, 0, 0)
    assert small.fingerprint() == hashlib.sha256(stated).hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level.1": None}, "these are"),
        ({"classes.1": None}, "these are"),
        ({"level.x": np.ones((1, 4))}, "these are"),
        ({"depth.alone": None}, "these are"),
        ({"level.0": np.full((1, 4), 5)}, "sum to 65536"),
        ({"classes.0": np.array([0, 0, 0, 9])}, "every code of level 0 has a class from 0 to"),
        ({"classes.0": np.array([0, 0, 0])}, "these tables sort another number"),
        ({"depth.alone": np.full((1, 3, 1), TOTAL), "depth.beside": None}, "tables of depths have the shapes"),
        ({"depth.alone": np.full((1, 6, 2), TOTAL // 2), "depth.beside": None}, "depths of 2 levels lie between"),
    ],
)
def test_arrays_that_are_no_tables_are_refused(change, message):
    codes = cut(np.arange(160).reshape(2, 40, 2) % 4, walk(0, 40, 2, 2))
    arrays = learned(codes, (4, 4)).arrays() | change
    with pytest.raises(ValueError, match=message):
        FrameTables.from_arrays({name: array for name, array in arrays.items() if array is not None})


def test_what_does_not_fit_is_refused():
    codes = np.zeros((1, 20, 2), dtype=int)
    tables = learned(codes, (4, 4), variable_depth=False)
    with pytest.raises(ValueError, match="tables are for constant depth"):
        FrameCoder(tables, 1, None)
    with pytest.raises(ValueError, match="1 to 255 sets"):
        DepthCounter(4, 0)
    coder = FrameCoder(learned(codes, (4, 4)), 1, None)
    index, message = coder.encode(codes)
    with pytest.raises(ValueError, match="left over"):
        coder.decode(message + bytes([1, 2, 3, 4] * 3), index, 20, 2)
    with pytest.raises(ValueError, match="8 sets of tables, not a set 8"):
        coder.decode(message, 8, 20, 2)


def test_rows_are_frames_in_the_order_of_time():
    codes = np.arange(2 * 3 * 2).reshape(2, 3, 2)
    assert frame_rows(codes).tolist() == [[0, 1], [6, 7], [2, 3], [8, 9], [4, 5], [10, 11]]
    assert np.array_equal(rows_frames(frame_rows(codes), 2), codes)


def test_an_alphabet_of_one_takes_nothing():
    codes = np.zeros((1, 50, 2), dtype=int)
    tables = learned(codes, (1, 1), variable_depth=False)
    index, message = FrameCoder(tables, 1, 2).encode(codes)
    assert message == b""
    assert np.array_equal(FrameCoder(tables, 1, 2).decode(message, index, 50, 2), codes)


def test_depth_tables_may_be_given_as_any_integers():
    tables = DepthTables(np.full((1, 6, 2), TOTAL // 2, dtype=np.int32))
    depths = np.array([[0, 1, 1, 0]])
    message = MessageWriter()
    DepthCoder(tables).write(message, depths, 0)
    assert np.array_equal(DepthCoder(tables).read(MessageReader(message.data()), 1, 4, 0), depths)
