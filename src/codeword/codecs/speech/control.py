"""Which step the next frames have so that the rate is kept on the average, before they are seen."""

from collections import deque
from collections.abc import Callable

_MOST = 64  # by which a step may differ from the last one, but for the first few
_CLOSE = 4  # steps need not be chosen better than that


class StepControl:
    """A reservoir into which every frame pays, and from which it takes what it costs.

    The next step is the one at which the frames behind would have cost what the next ones may: their income, and a
    share of what the reservoir holds beyond its half. What it cannot hold is lost; frames unlike those before them may
    overdraw it.

    Args:
        income: Bits of a frame on the average.
        size: Bits that the reservoir holds.
        first: Step to begin with.
        range_: Least and greatest step.
        memory: Spans of frames that are looked back upon.
    """

    def __init__(self, income: float, size: float, *, first: int, range_: tuple[int, int], memory: int = 5):
        self._income, self._size, self._range = income, size, range_
        self._fill = size / 2
        self._spans = deque[tuple[int, Callable[[int], float]]](maxlen=memory)
        self.step = first

    def spend(self, bits: int, frames: int, cost: Callable[[int], float]) -> None:
        """Choose the step for the next frames.

        Args:
            bits: That so many frames took.
            frames: See there.
            cost: What they would have taken at another step, nearly; less at a greater one.
        """
        self._fill = min(self._fill + frames * self._income - bits, self._size)
        beside = bits - cost(self.step)
        self._spans.append((frames, lambda step: cost(step) + beside))
        total = sum(count for count, _ in self._spans)
        extra = (self._fill - self._size / 2) * self._income / self._size
        wanted = total * min(max(self._income + extra, self._income / 4), 2 * self._income)
        reach = _MOST if len(self._spans) > 2 else 10**4
        low, high = max(self._range[0], self.step - reach), min(self._range[1], self.step + reach)
        while high - low > _CLOSE:
            middle = (low + high) // 2
            low, high = (low, middle) if sum(cost(middle) for _, cost in self._spans) < wanted else (middle, high)
        self.step = (low + high) // 2
