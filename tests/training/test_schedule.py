import math
from itertools import pairwise

import pytest

from codeword.training.schedule import Constant, Cosine, Exponential, Milestones, Trapezoid

EXACT = 1e-12


def test_cosine_rises_and_falls():
    schedule = Cosine(steps=100, warmup=20, floor=0.1)
    values = [schedule(step) for step in range(130)]
    assert values[:20] == pytest.approx([(step + 1) / 20 for step in range(20)], abs=EXACT)
    assert values[20] == pytest.approx(1.0, abs=EXACT)
    assert values[60] == pytest.approx(0.55, abs=EXACT)  # half way down
    assert values[40] == pytest.approx(0.1 + 0.9 * math.cos(math.pi / 8) ** 2, abs=EXACT)
    assert values[100:] == pytest.approx([0.1] * 30, abs=EXACT)
    assert all(later <= earlier for earlier, later in pairwise(values[20:]))


def test_a_trapezoid_rises_stays_and_falls():
    schedule = Trapezoid(steps=100, warmup=10, decay=20, floor=0.1)
    values = [schedule(step) for step in range(120)]
    assert values[:10] == pytest.approx([(step + 1) / 10 for step in range(10)], abs=EXACT)
    assert values[10:81] == [1.0] * 71
    assert values[81:98] == pytest.approx([(100 - step) / 20 for step in range(81, 98)], abs=EXACT)
    assert values[99:] == [0.1] * 21
    longer = Trapezoid(steps=200, warmup=10, decay=20)
    assert [longer(step) for step in range(81)] == values[:81], "the plateau does not know how long it lasts"


def test_the_others():
    assert [Milestones(steps=(2, 4))(step) for step in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert Exponential(rate=0.5)(3) == 0.125
    assert Constant()(10**9) == 1.0


def test_warmup_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match="got warmup=5 of steps=5"):
        Cosine(steps=5, warmup=5)


def test_a_trapezoid_has_room_for_both_sides():
    with pytest.raises(ValueError, match="warmup=30, decay=80"):
        Trapezoid(steps=100, warmup=30, decay=80)
