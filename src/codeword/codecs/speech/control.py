"""Which step the next frames have so that the rate is kept on the average, before they are seen."""

from collections import deque
from collections.abc import Callable

_FINER = 64  # by which a step may be finer than the last one, but for the first few
_CLOSE = 4  # steps need not be chosen better than that
_QUIET = 20.0  # bits of a frame at the first step, below which nobody speaks
_BEFORE = 384  # by which a step may be finer than the first one as long as nobody has spoken
_REMEMBERED = 30  # spans with sound of which the costliest must not overdraw the reservoir


class StepControl:
    """A reservoir into which every frame pays, and from which it takes what it costs.

    The next step is the one at which the frames behind would have cost what the next ones may: their income, and a
    share of what the reservoir holds beyond its half. What it cannot hold is lost. In a pause steps become finer, but
    never so fine that what was loudest before could not come back; only frames louder than those may overdraw it.

    Args:
        income: Bits of a frame on the average.
        size: Bits that the reservoir holds.
        first: Step to begin with.
        range_: Least and greatest step.
        memory: Spans of frames that are looked back upon.
    """

    def __init__(self, income: float, size: float, *, first: int, range_: tuple[int, int], memory: int = 5):
        self._income, self._size, self._range = income, size, range_
        self._fill, self._first = size / 2, first
        self._spans = deque[tuple[int, Callable[[int], float]]](maxlen=memory)
        self._sounds = deque[tuple[float, Callable[[int], float]]](maxlen=_REMEMBERED)
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
        if (loud := cost(self._first)) > _QUIET * frames:
            self._sounds.append((loud, self._spans[-1][1]))
        total = sum(count for count, _ in self._spans)
        extra = (self._fill - self._size / 2) * self._income / self._size
        wanted = total * min(max(self._income + extra, self._income / 4), 2 * self._income)
        (low, high), held = self._range, max(self._fill, 0.0) + frames * self._income
        if len(self._spans) > 2:
            low = max(low, self.step - _FINER)
        if not self._sounds:
            low = max(low, self._first - _BEFORE)
        loudest = max(self._sounds, key=lambda sound: sound[0])[1] if self._sounds else lambda _: 0.0
        while high - low > _CLOSE:
            middle = (low + high) // 2
            enough = sum(cost(middle) for _, cost in self._spans) < wanted and loudest(middle) < held
            low, high = (low, middle) if enough else (middle, high)
        self.step = (low + high) // 2
