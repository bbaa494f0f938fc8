"""Bit packing against big Python integers and against FAISS."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.functional.bits import code_width, pack_bits, pack_rows, unpack_bits, unpack_rows
from reference import bitstream

WIDTHS = st.lists(st.integers(0, 63), min_size=1, max_size=6)


def draw_codes(seed, count, widths):
    """Random codes with the extreme ones among them."""
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, 2**width, count, dtype=np.uint64).astype(np.int64) for width in widths], axis=1)
    top = np.array([2**width - 1 for width in widths], dtype=np.int64)
    return np.where(rng.random(codes.shape) < 0.2, top, codes)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 40), WIDTHS)
def test_stream_equals_big_integers_and_comes_back(seed, count, widths):
    codes = draw_codes(seed, count, widths)
    data = pack_bits(codes, widths)
    assert data == bitstream.pack(
        [(int(code), width) for row in codes for code, width in zip(row, widths, strict=True)]
    )
    assert np.array_equal(unpack_bits(data, count, widths), codes)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 40), WIDTHS)
def test_rows_start_on_bytes_and_come_back(seed, count, widths):
    codes = draw_codes(seed, count, widths)
    rows = pack_rows(codes, widths)
    expected = [bitstream.pack([(int(code), width) for code, width in zip(row, widths, strict=True)]) for row in codes]
    assert [row.tobytes() for row in rows] == expected
    assert np.array_equal(unpack_rows(rows, widths), codes)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.lists(st.integers(1, 31), min_size=1, max_size=9))
def test_rows_are_those_of_faiss(seed, count, widths):
    codes = draw_codes(seed, count, widths)
    theirs = faiss.pack_bitstrings(codes.astype(np.int32), widths)
    assert np.array_equal(pack_rows(codes, widths), theirs)
    assert np.array_equal(faiss.unpack_bitstrings(pack_rows(codes, widths), widths), codes)


@pytest.mark.parametrize("width", [1, 4, 5, 8, 10, 16])
def test_rows_of_equal_width_are_those_of_faiss(width):
    codes = draw_codes(width, 1000, [width] * 7)
    assert np.array_equal(pack_rows(codes, [width] * 7), faiss.pack_bitstrings(codes.astype(np.int32), width))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint64])
def test_every_integer_type_makes_the_same_bytes(dtype):
    codes = draw_codes(0, 33, [7, 3])
    assert pack_bits(codes.astype(dtype), [7, 3]) == pack_bits(codes, [7, 3])


def test_no_rows_and_no_bits_are_no_bytes():
    assert pack_bits(np.zeros((0, 3), dtype=np.int64), [3, 9, 63]) == b""
    assert pack_bits(np.zeros((5, 2), dtype=np.int64), [0, 0]) == b""
    assert unpack_bits(b"", 5, [0, 0]).tolist() == [[0, 0]] * 5
    assert unpack_bits(b"", 0, [8, 8]).shape == (0, 2)


def test_code_width_is_the_rounded_up_logarithm():
    assert [code_width(size) for size in (1, 2, 3, 4, 5, 256, 257, 2**63)] == [0, 1, 2, 2, 3, 8, 9, 63]
    with pytest.raises(ValueError, match="at least 1"):
        code_width(0)


@pytest.mark.parametrize(("code", "width"), [(4, 2), (-1, 2), (-1, 63), (1, 0), (256, 8), (-1, 8)])
def test_a_code_that_does_not_fit_is_named(code, width):
    codes = np.array([[0, 0], [0, code]])
    with pytest.raises(ValueError, match=rf"codes\[1, 1\] = {code} does not fit into {width} bits"):
        pack_bits(codes, [width, width])


def test_wrong_lengths_paddings_and_widths_are_refused():
    with pytest.raises(ValueError, match="15 bits need 2 bytes, got 3"):
        unpack_bits(b"\0\0\0", 3, [5])
    with pytest.raises(ValueError, match="padding bits"):
        unpack_bits(b"\0\x80", 3, [5])
    with pytest.raises(ValueError, match="0 to 63 bits"):
        pack_bits(np.zeros((1, 1), dtype=np.int64), [64])
    with pytest.raises(ValueError, match="2 levels, but there are 1 widths"):
        pack_bits(np.zeros((1, 2), dtype=np.int64), [8])
    with pytest.raises(ValueError, match="rows of 2 bytes, got rows of 3"):
        unpack_rows(np.zeros((1, 3), dtype=np.uint8), [9])
