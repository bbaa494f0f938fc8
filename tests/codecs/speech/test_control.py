"""No stretch of a stream takes more than was promised, whatever comes."""

from collections.abc import Callable

import numpy as np
import pytest

from codeword.codecs.speech.control import HOLD, StepControl

INCOME, SIZE = 200.0, 40_000.0  # bits


def costs(loud: float) -> Callable[[int], float]:
    """Frames whose bits are those above a step, in parts of 256."""
    return lambda step: 320 * max(0.0, loud - step) / 256


def streamed(louds: list[float]) -> tuple[list[float], list[int]]:
    """Bits and steps of frames so loud, one after another."""
    control = StepControl(INCOME, SIZE, first=0, finest=-4096, coarsest=4096)
    bits: list[float] = []
    steps: list[int] = []
    span: list[float] = []

    def settle() -> None:
        own = [costs(loud) for loud in span]
        control.spend(round(sum(bits[len(bits) - len(span) :])), lambda step: sum(cost(step) for cost in own))
        span.clear()

    for loud in louds:
        taken = costs(loud)(control.step)
        if not control.pay(taken):
            if span:
                settle()
            control.choose(costs(loud))
            taken = costs(loud)(control.step)
            assert control.pay(taken)
        bits.append(taken)
        steps.append(control.step)
        span.append(loud)
        if len(span) == HOLD:
            settle()
            control.choose()
    return bits, steps


@pytest.mark.parametrize("quiet", [-3000.0, -600.0, 100.0])
@pytest.mark.parametrize("spans", [3, 20, 60])
@pytest.mark.parametrize("odd", [0, 17, 99])
def test_no_stretch_takes_more_than_promised_when_it_gets_louder(quiet, spans, odd):
    bits, steps = streamed([quiet] * (spans * HOLD + odd) + [500.0] * 1000)
    run = np.cumsum([0.0, *(np.array(bits) - INCOME)])
    assert (run - np.minimum.accumulate(run)).max() <= SIZE
    onset = spans * HOLD + odd
    assert steps[onset + 120] > 0
    assert np.mean(bits[-300:]) == pytest.approx(INCOME, rel=0.1)


@pytest.mark.parametrize("loud", [800.0, 0.0, -900.0, -2500.0])
def test_whatever_is_said_how_loud_the_rate_is_kept(loud):
    bits, _ = streamed([loud] * 6000)
    assert np.mean(bits[-1000:]) == pytest.approx(INCOME, rel=0.05)


def test_in_a_pause_nothing_is_forgotten():
    _, steps = streamed([500.0] * 1000 + [-4000.0] * 1000 + [500.0] * 200)
    before, after = steps[900], steps[-100]
    assert abs(after - before) < 256
