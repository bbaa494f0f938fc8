"""Depths that meet a rate: exactly, at once, and never beyond what was promised."""

import numpy as np
import pytest

from codeword.codecs.audio.rate import FileSize, bits_for
from codeword.entropy.counting import FrameCounter
from codeword.formats.audio_payload import AudioHeader
from codeword.functional.rate import codes_at, depths_at, scale_for_bits

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
