"""Depths that meet a rate: exactly, at once, and never beyond what was promised."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.codecs.audio.rate import (
    FileSize,
    bits_for,
    codes_at,
    critical_scales,
    depth_for_bits,
    depths_at,
    scale_for_bits,
)
from codeword.entropy.counting import FrameCounter
from codeword.formats.audio_payload import AudioHeader
from codeword.functional.allocation import depth

PROMISED = 0.01  # relative error of a rate, in bytes of the file
LEVELS = 12


def wandering(frames, seed=0, channels=1):
    """An importance map like that of speech: loud and quiet, smooth but for steps."""
    rng = np.random.default_rng(seed)
    slow = np.repeat(rng.standard_normal((channels, frames // 25 + 1)), 25, axis=1)[:, :frames]
    logits = 1.5 * slow - 1 + 0.3 * rng.standard_normal((channels, frames))
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def a_minute(channels=1, frames=3000, ranged=False, size=1024):
    codes = np.random.default_rng(1).integers(0, size, (channels, frames, LEVELS))
    header = AudioHeader(
        model="0" * 16,
        sample_rate=16000,
        hop=320,
        sizes=(size,) * LEVELS,
        num_samples=320 * frames,
        channels=channels,
    )
    tables = None
    if ranged:
        counter = FrameCounter(header.sizes)
        for scale in (4.0, 12.0, 30.0, 60.0):
            counter.add(codes_at(codes, depths_at(wandering(frames, 7, channels), scale, LEVELS)))
        tables = counter.tables()
    return FileSize(codes, header, tables=tables)


@pytest.mark.parametrize("kbps", [0.8, 1.5, 3.0, 4.4])
@pytest.mark.parametrize("ranged", [False, True])
def test_a_minute_meets_its_rate(kbps, ranged):
    size = a_minute(ranged=ranged, size=64 if ranged else 1024)
    kbps = kbps * 0.6 if ranged else kbps
    importance = wandering(3000)
    found = scale_for_bits(importance, LEVELS, bits_for(kbps, 960_000, 16000), size)
    assert 8 * found.num_bytes / 60_000 == pytest.approx(kbps, rel=PROMISED)
    assert found.num_bytes == size(found.depths)
    assert size.num_calls < 15
    difference = depths_at(importance, found.scale, LEVELS) - found.depths
    assert difference.sum() == found.held
    assert set(np.unique(difference)) <= {0, 1}


@pytest.mark.parametrize("value", [0.5, 0.3])
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_that_change_all_at_once_are_divided_evenly_over_time(value, channels):
    size = a_minute(channels)
    importance = np.full((channels, 3000), value, dtype=np.float32)
    found = scale_for_bits(importance, LEVELS, channels * bits_for(2.3, 960_000, 16000), size)
    assert 8 * found.num_bytes / 60_000 == pytest.approx(2.3 * channels, rel=PROMISED)
    assert 0 < found.held < importance.size
    # Every second of 50 frames gets its share, give or take two frames.
    seconds = (found.depths.reshape(channels, 60, 50) == found.depths.max()).sum(axis=2)
    assert seconds.max() - seconds.min() <= 4
    assert depths_at(importance, found.scale, LEVELS).sum() - found.depths.sum() == found.held


def test_two_values_leave_no_gap_either():
    importance = np.where(np.arange(3000) % 2, np.float32(0.25), np.float32(0.5))[None]
    size = a_minute()
    for kbps in np.linspace(0.9, 5.5, 12):
        found = scale_for_bits(importance, LEVELS, bits_for(float(kbps), 960_000, 16000), size)
        assert 8 * found.num_bytes / 60_000 == pytest.approx(kbps, rel=PROMISED)


@pytest.mark.parametrize(("kbps", "end"), [(0.1, 1.0), (20.0, 72.0)])
def test_out_of_reach_gives_the_nearest_rate(kbps, end):
    importance, size = wandering(3000), a_minute()
    found = scale_for_bits(importance, LEVELS, bits_for(kbps, 960_000, 16000), size)
    assert found.scale == end
    assert np.array_equal(found.depths, depths_at(importance, end, LEVELS))
    assert found.num_bytes in found.reach
    assert found.reach == tuple(size(depths_at(importance, scale, LEVELS)) for scale in (1.0, 72.0))
    narrow = scale_for_bits(importance, LEVELS, bits_for(kbps, 960_000, 16000), size, scales=(5.0, 6.0))
    assert 5.0 <= narrow.scale <= 6.0
    assert narrow.num_bytes in narrow.reach


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
    importance = wandering(400_000)
    calls = []

    def size(depths):
        calls.append(1)
        return int(depths.sum()) * 10 // 8

    found = scale_for_bits(importance, LEVELS, 16_000_000, size, tolerance=1e-7)
    assert abs(8 * found.num_bytes - 16_000_000) <= 16
    assert len(calls) < 40


def test_codes_are_cut_to_their_depths():
    codes = np.arange(6).reshape(1, 2, 3)
    assert codes_at(codes, np.array([[1, 3]])).tolist() == [[[0, -1, -1], [3, 4, 5]]]
    assert codes_at(codes, 2).tolist() == [[[0, 1, -1], [3, 4, -1]]]


def test_the_nearest_constant_depth():
    assert [depth_for_bits([1, 2, 3, 4], bits) for bits in (0, 11, 12, 13, 99)] == [1, 1, 1, 2, 4]


@pytest.mark.parametrize(
    ("importance", "scales", "message"),
    [
        (np.zeros((1, 0), dtype=np.float32), None, "at least one frame"),
        (np.full((1, 3), np.nan, dtype=np.float32), None, "finite"),
        (np.ones((1, 3), dtype=np.float32), (0.0, 1.0), "from one above 0 up"),
        (np.ones((1, 3), dtype=np.float32), (3.0, 1.0), "from one above 0 up"),
    ],
)
def test_what_cannot_be_searched_is_refused(importance, scales, message):
    with pytest.raises(ValueError, match=message):
        scale_for_bits(importance, 4, 100, lambda depths: int(depths.sum()), scales=scales)
