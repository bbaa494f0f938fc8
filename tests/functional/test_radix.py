"""Mixed radix against a walk over one code at a time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.functional.bits import code_width, pack_bits
from codeword.functional.radix import grouping, pack_radix, radix_bits, unpack_radix
from reference import bitstream

SIZES = st.lists(
    st.one_of(st.integers(1, 20), st.integers(1, 2000), st.sampled_from([2**31 + 1, 2**62 + 1, 2**63])),
    min_size=1,
    max_size=5,
)


def draw_codes(seed, count, sizes):
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, size, count, dtype=np.uint64).astype(np.int64) for size in sizes], axis=1)
    depths = rng.integers(0, len(sizes) + 1, count)
    return codes, depths


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 90), SIZES)
def test_stream_equals_the_walk_and_comes_back(seed, count, sizes):
    codes, _ = draw_codes(seed, count, sizes)
    data = pack_radix(codes, sizes)
    assert data == bitstream.pack_radix(codes.tolist(), sizes)
    assert bitstream.unpack_radix(data, [len(sizes)] * count, sizes) == codes.tolist()
    assert np.array_equal(unpack_radix(data, count, sizes), codes)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 90), SIZES)
def test_absent_levels_cost_nothing_and_come_back(seed, count, sizes):
    codes, depths = draw_codes(seed, count, sizes)
    codes = np.where(np.arange(len(sizes)) < depths[:, None], codes, -1)
    data = pack_radix(codes, sizes)
    assert data == bitstream.pack_radix(codes.tolist(), sizes)
    assert bitstream.unpack_radix(data, depths.tolist(), sizes) == codes.tolist()
    assert np.array_equal(unpack_radix(data, count, sizes, depths), codes)
    assert len(data) == math.ceil(radix_bits([int((depths > m).sum()) for m in range(len(sizes))], sizes) / 8)


@settings(deadline=None)
@given(st.integers(1, 2**63), st.integers(0, 200))
def test_never_worse_than_whole_bits(size, count):
    assert radix_bits([count], [size]) <= count * code_width(size)
    assert radix_bits([count], [size]) >= count * math.log2(size) - 1e-6


@pytest.mark.parametrize("size", [*range(1, 70), 100, 255, 257, 1000, 2**21, 2**21 + 1, 2**31 + 1, 2**63 - 1, 2**63])
def test_the_group_is_the_best_of_all(size):
    group = grouping(size)
    assert group.codes == bitstream.group_of(size)
    assert group.bits == bitstream.width_of(size**group.codes)


@pytest.mark.parametrize(("size", "excess"), [(3, 0.005), (5, 0.012), (10, 0.012), (200, 0.025), (100000, 0.06)])
def test_a_code_costs_about_its_logarithm(size, excess):
    assert radix_bits([65536], [size]) / 65536 <= math.log2(size) + excess


def test_powers_of_two_are_plain_bits():
    sizes = (256, 16, 1, 1024)
    codes, _ = draw_codes(0, 100, sizes)
    assert pack_radix(codes, sizes) == pack_bits(codes, [8, 4, 0, 10])


def test_a_code_outside_its_codebook_is_named():
    with pytest.raises(ValueError, match=r"codes\[1, 0\] = 5 is outside a codebook of size 5"):
        pack_radix(np.array([[0], [5]]), (5,))
    with pytest.raises(ValueError, match="2 levels, but there are 1 sizes"):
        pack_radix(np.zeros((1, 2), dtype=np.int64), (5,))
    with pytest.raises(ValueError, match="at most"):
        grouping(2**63 + 1)


def test_numbers_that_no_codes_make_are_refused():
    assert grouping(5).codes == 3
    with pytest.raises(ValueError, match="outside a codebook of size 5"):
        unpack_radix(bytes([125]), 3, (5,))
    with pytest.raises(ValueError, match="not a number of 2 codes out of 5"):
        unpack_radix(bytes([25]), 2, (5,))
    with pytest.raises(ValueError, match="outside a codebook of size 1000"):
        unpack_radix((1000).to_bytes(2, "little"), 1, (1000,))
    with pytest.raises(ValueError, match="14 bits need 2 bytes"):
        unpack_radix(b"\0\0\0", 6, (5,))
    with pytest.raises(ValueError, match="depths are 0 to 1"):
        unpack_radix(b"", 1, (5,), np.array([2]))


def test_a_length_that_lies_allocates_nothing():
    with pytest.raises(ValueError, match="need"):
        unpack_radix(b"", 2**60, (5, 7, 256))
