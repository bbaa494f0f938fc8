"""The range coder: round trips, an independent decoder with integers alone, pinned bytes."""

import constriction
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.entropy.range_coder import RangeCoder
from codeword.entropy.tables import TOTAL, ideal_bits, quantize_histogram
from reference.range_decoder import decode_streams


def draw_streams(seed, shapes):
    """Skewed tables and symbols drawn from them: shapes are (size, length)."""
    rng = np.random.default_rng(seed)
    tables = [quantize_histogram(rng.integers(0, 2 ** rng.integers(1, 30, size), size)) for size, _ in shapes]
    streams = [
        rng.choice(len(table), length, p=table / TOTAL) for table, (_, length) in zip(tables, shapes, strict=True)
    ]
    return tables, streams


@settings(deadline=None)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=5))
def test_streams_come_back_also_through_plain_integers(seed, shapes):
    tables, streams = draw_streams(seed, shapes)
    coder = RangeCoder(tables)
    data = coder.encode(streams)
    lengths = [length for _, length in shapes]
    expected = [stream.tolist() for stream in streams]
    assert [stream.tolist() for stream in coder.decode(data, lengths)] == expected
    assert decode_streams(data, lengths, [table.tolist() for table in tables]) == expected


@pytest.mark.parametrize("size", [2, 3, 256, 1000, 4096])
def test_the_model_is_exactly_the_counts(size):
    tables, (symbols,) = draw_streams(size, [(size, 5000)])
    # Two other ways to the same integers: counts / 2**16 with the exact search, and the slow decoder.
    model = constriction.stream.model.Categorical(tables[0] / TOTAL, perfect=True)
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode(symbols.astype(np.int32), model)
    data = RangeCoder(tables).encode([symbols])
    assert data == encoder.get_compressed().astype("<u4").tobytes()
    assert decode_streams(data, [500], [tables[0].tolist()]) == [symbols[:500].tolist()]


def test_extreme_tables_are_exact():
    rarest = np.array([1, TOTAL - 2, 1])
    symbols = np.array([0, 1, 1, 2, 1, 0, 0, 2, 2, 1])
    flat = np.ones(TOTAL, dtype=np.int64)
    corners = np.array([0, TOTAL - 1, 1, TOTAL // 2])
    data = RangeCoder([rarest, flat]).encode([symbols, corners])
    assert decode_streams(data, [10, 4], [rarest.tolist(), flat.tolist()]) == [symbols.tolist(), corners.tolist()]
    assert [stream.tolist() for stream in RangeCoder([rarest, flat]).decode(data, [10, 4])] == [
        symbols.tolist(),
        corners.tolist(),
    ]


def test_the_bytes_are_pinned():
    table = quantize_histogram(np.array([8, 4, 2, 1, 1]))
    symbols = np.array([0, 1, 0, 2, 0, 3, 1, 4, 0, 0, 1, 2, 0, 0, 4, 3, 1, 0, 2, 0])
    assert RangeCoder([table]).encode([symbols]).hex() == "1fcbeb4c008056cc"


def test_the_length_is_the_information_content():
    tables, (symbols,) = draw_streams(3, [(256, 100_000)])
    bits = ideal_bits(np.bincount(symbols, minlength=256), tables[0])
    assert bits <= 8 * len(RangeCoder(tables).encode([symbols])) <= bits * 1.0005 + 64


def test_nothing_takes_no_bytes():
    one = quantize_histogram(np.array([7]))
    two = quantize_histogram(np.array([1, 1]))
    coder = RangeCoder([one, two, one])
    empty = np.zeros(0, dtype=np.int64)
    assert coder.encode([empty, empty, empty]) == b""
    assert coder.encode([np.zeros(9, dtype=np.int64), empty, np.zeros(3, dtype=np.int64)]) == b""
    assert [len(stream) for stream in coder.decode(b"", [9, 0, 3])] == [9, 0, 3]


@pytest.mark.parametrize("symbol", [-1, 2, 2**40])
def test_symbols_outside_the_table_are_refused(symbol):
    coder = RangeCoder([quantize_histogram(np.array([1, 1]))] * 2)
    with pytest.raises(ValueError, match="stream 1 has symbols"):
        coder.encode([np.array([0, 1]), np.array([symbol])])


def test_data_of_another_length_is_refused():
    tables, streams = draw_streams(1, [(9, 100)])
    coder = RangeCoder(tables)
    data = coder.encode(streams)
    with pytest.raises(ValueError, match="4-byte words"):
        coder.decode(data[:-1], [100])
    with pytest.raises(ValueError, match="left over"):
        coder.decode(data + data, [100])
    with pytest.raises(ValueError, match="left over"):
        coder.decode(data, [1])


@settings(deadline=None)
@given(st.binary(max_size=64), st.integers(0, 200))
def test_random_bytes_give_symbols_of_the_table_or_an_error(data, length):
    coder = RangeCoder([np.array([1, 40000, TOTAL - 40001])])
    try:
        (symbols,) = coder.decode(data, [length])
    except ValueError:
        return
    assert len(symbols) == length
    assert set(symbols.tolist()) <= {0, 1, 2}
