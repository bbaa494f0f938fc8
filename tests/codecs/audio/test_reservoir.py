"""The causal controller keeps both of its promises: the bound of every stretch, and the average."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.codecs.audio.reservoir import Reservoir, frame_costs

LEVELS = 12
COSTS = frame_costs((1024,) * LEVELS)
AVERAGE_ERROR = 0.01  # relative, after a minute with a reservoir of two seconds
ROUNDING = 1e-6  # bits


def speech(frames, seed=0, channels=1):
    rng = np.random.default_rng(seed)
    slow = np.repeat(rng.standard_normal((channels, frames // 20 + 1)), 20, axis=1)[:, :frames]
    return 1 / (1 + np.exp(1 - 1.5 * slow - 0.2 * rng.standard_normal((channels, frames))))


def costs_of(depths):
    return np.array(COSTS)[depths].sum(axis=0)


def greatest_excess(costs, per_frame):
    """The most that any stretch costs beyond its income."""
    balance = np.concatenate([[0.0], np.cumsum(costs - per_frame)])
    return (balance - np.minimum.accumulate(balance)).max()


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_stretch_costs_more_than_its_income_and_the_reservoir(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    channels = data.draw(st.integers(1, 3))
    income = channels * COSTS[1] * data.draw(st.floats(1.0, 9.0))
    size = income * data.draw(st.floats(1.0, 100.0))
    cap = income * data.draw(st.floats(1.0, 4.0))
    # Anything may come, also what was made to deceive: silence for long, then everything at once.
    importance = np.repeat(rng.choice([0.0, 1e-6, 0.3, 0.999999], (channels, 30)), 20, axis=1)
    costs = costs_of(Reservoir(COSTS, income, size, cap=cap, channels=channels).spend(importance))
    assert greatest_excess(costs, income) <= size + ROUNDING
    assert costs.max() <= cap + ROUNDING


@pytest.mark.parametrize("kbps", [0.9, 1.5, 3.0, 4.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_average_is_met_on_importance_that_stays_alike(kbps, channels):
    income = 20 * kbps * channels
    reservoir = Reservoir(COSTS, income, 100 * income, channels=channels)
    costs = costs_of(reservoir.spend(speech(30_000, channels=channels)))
    assert costs[:3000].mean() == pytest.approx(income, rel=AVERAGE_ERROR)
    assert costs.mean() == pytest.approx(income, rel=AVERAGE_ERROR / 5)
    assert costs[20_000:].mean() == pytest.approx(income, rel=AVERAGE_ERROR)
    # What came in and was not spent is in the reservoir, but for a little that ran over.
    lost = 50 * income + 30_000 * income - costs.sum() - reservoir.fill
    assert -1e-3 < lost < AVERAGE_ERROR / 5 * costs.sum()


def test_depths_follow_the_importance():
    depths = Reservoir(COSTS, 60.0, 6000.0).spend(speech(5000))[0]
    importance = speech(5000)[0]
    assert np.corrcoef(depths, importance)[0, 1] > 0.8
    assert depths.max() - depths.min() >= 6


def test_a_rate_beyond_reach_spends_all_that_the_scales_allow():
    importance = np.full((1, 2000), 0.1)
    reservoir = Reservoir(COSTS, 110.0, 1100.0)
    assert (reservoir.spend(importance)[0, 500:] == 8).all()  # 72 * 0.1 is 7.2
    assert reservoir.fill == pytest.approx(1100 - COSTS[8])
    capped = Reservoir(COSTS, 110.0, 1100.0, scales=(1.0, 20.0))
    assert (capped.spend(importance)[0, 500:] == 3).all()


def test_blocks_make_no_difference():
    importance = speech(500, channels=2)
    whole = Reservoir(COSTS, 90.0, 900.0, channels=2).spend(importance)
    parts = Reservoir(COSTS, 90.0, 900.0, channels=2)
    blocks = [parts.spend(block) for block in np.split(importance, [0, 1, 2, 77, 300, 300], axis=1)]
    assert np.array_equal(np.concatenate(blocks, axis=1), whole)


@pytest.mark.parametrize("kept", [0.7, 0.9, 1.02])
def test_what_chunks_really_take_is_what_is_held(kept):
    income, size, chunk = 60.0, 6000.0, 500
    reservoir = Reservoir(COSTS, income, size)
    real = []
    for block in np.split(speech(50_000), 100, axis=1):
        first, second = np.split(block, 2, axis=1)
        real.append(costs_of(reservoir.spend(first)).sum())
        reservoir.settle(0.0)  # nothing has been written yet
        real[-1] = kept * (real[-1] + costs_of(reservoir.spend(second)).sum())
        reservoir.settle(real[-1])
    assert np.mean(real[10:]) == pytest.approx(chunk * income, rel=AVERAGE_ERROR)
    # Only the first chunk is misjudged.
    assert greatest_excess(np.array(real[1:]), chunk * income) <= size + ROUNDING


def test_costs_are_those_of_packed_frames():
    assert COSTS[0] == math.log2(13)
    assert np.allclose(np.diff(COSTS), 10)
    assert frame_costs((5, 8), varies=False) == (0.0, math.log2(5), math.log2(5) + 3)


@pytest.mark.parametrize(
    ("income", "size", "options", "message"),
    [
        (10.0, 1000.0, {}, "a frame of depth 1 takes 13.7"),
        (60.0, 1000.0, {"cap": 12.0}, "more than the 12 that it may"),
        (20.0, 1000.0, {"channels": 2}, "takes 27.4"),
        (60.0, 59.0, {}, "at least one frame of 60 bits"),
    ],
)
def test_impossible_reservoirs_are_refused(income, size, options, message):
    with pytest.raises(ValueError, match=message):
        Reservoir(COSTS, income, size, **options)
    with pytest.raises(ValueError, match="for 1 channels, got 2"):
        Reservoir(COSTS, 60.0, 1000.0).spend(np.zeros((2, 1)))


def test_no_frames_change_nothing():
    reservoir = Reservoir(COSTS, 60.0, 1000.0)
    assert reservoir.spend(np.zeros((1, 0))).shape == (1, 0)
    assert reservoir.fill == 500
