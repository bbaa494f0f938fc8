"""Depths of any vectors that meet a number of bytes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.functional.allocation import depth
from codeword.functional.rate import codes_at, critical_scales, depth_for_bits, depths_at, scale_for_bits

LEVELS = 12


def drawn(count):
    return np.random.default_rng(0).random((1, count)).astype(np.float32) ** 2


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_single_step_comes_nearer(data):
    """With a file of one byte a level every number of bytes can be met, so it is."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    channels, frames = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 40))
    levels = data.draw(st.integers(1, 9))
    importance = rng.choice([0.0, 1e-7, 0.2, 0.5, 0.9, 0.9999999, *rng.random(5)], (channels, frames)).astype(
        np.float32
    )
    least, most = (int(depths_at(importance, scale, levels).sum()) for scale in (1.0, 6.0 * levels))
    target = data.draw(st.integers(least, most))
    found = scale_for_bits(importance, levels, 8 * target, lambda depths: int(depths.sum()), tolerance=0.0)
    assert found.num_bytes == target == found.depths.sum()
    difference = depths_at(importance, found.scale, levels) - found.depths
    assert difference.min() >= 0
    assert difference.sum() == found.held


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 63))
def test_critical_scales_are_where_the_step_is_taken(seed, multiple):
    importance = np.random.default_rng(seed).random(200).astype(np.float32) + np.float32(1e-6)
    scales = critical_scales(importance, np.full(200, multiple))
    below = np.nextafter(scales, np.float32(0))
    for p, at, before in zip(importance.tolist(), scales.tolist(), below.tolist(), strict=True):
        assert depth(torch.tensor(p), at, 100).item() == multiple + 1
        assert depth(torch.tensor(p), before, 100).item() == multiple


def test_long_maps_are_searched_without_sorting_them_whole():
    importance = drawn(400_000)
    calls = []

    def size(depths):
        calls.append(1)
        return int(depths.sum()) * 10 // 8

    found = scale_for_bits(importance, LEVELS, 16_000_000, size, tolerance=1e-7)
    assert abs(8 * found.num_bytes - 16_000_000) <= 16
    assert len(calls) < 40


def test_places_may_lie_in_any_number_of_axes():
    importance = drawn(60).reshape(3, 4, 5)
    found = scale_for_bits(importance, 6, 1600, lambda depths: int(depths.sum()))
    flat = scale_for_bits(importance.reshape(1, 60), 6, 1600, lambda depths: int(depths.sum()))
    assert found.num_bytes == 200 and np.array_equal(found.depths.reshape(1, 60), flat.depths)
    assert codes_at(np.zeros((3, 4, 5, 6), dtype=np.int64), found.depths).sum() == found.depths.sum() - 60 * 6


def test_codes_are_cut_to_their_depths():
    codes = np.arange(6).reshape(1, 2, 3)
    assert codes_at(codes, np.array([[1, 3]])).tolist() == [[[0, -1, -1], [3, 4, 5]]]
    assert codes_at(codes, 2).tolist() == [[[0, 1, -1], [3, 4, -1]]]


def test_the_nearest_constant_depth():
    assert [depth_for_bits([1, 2, 3, 4], bits) for bits in (0, 11, 12, 13, 99)] == [1, 1, 1, 2, 4]


@pytest.mark.parametrize(
    ("importance", "scales", "message"),
    [
        (np.zeros((1, 0), dtype=np.float32), None, "at least one vector"),
        (np.full((1, 3), np.nan, dtype=np.float32), None, "finite"),
        (np.ones((1, 3), dtype=np.float32), (0.0, 1.0), "from one above 0 up"),
        (np.ones((1, 3), dtype=np.float32), (3.0, 1.0), "from one above 0 up"),
    ],
)
def test_what_cannot_be_searched_is_refused(importance, scales, message):
    with pytest.raises(ValueError, match=message):
        scale_for_bits(importance, 4, 100, lambda depths: int(depths.sum()), scales=scales)
