"""Which step the next frames have so that the rate is kept on the average, before they are seen."""

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

Cost: TypeAlias = Callable[[int], float]
"""Bits at a step, nearly; less at a greater one."""

HOLD = 100  # frames that share a step, unless something louder comes
_FINER = 64  # by which a step may be finer than the last one, but for the first few
_CLOSE = 4  # steps need not be chosen better than that
_APART = 32  # steps at which bits are counted
_QUIET = 20.0  # bits of a frame below which nobody speaks
_BEHIND = 5  # spans whose average counts
_REMEMBERED = 30  # spans with sound of which the costliest must not overdraw the reservoir
_BEYOND = 0.125  # share of what a stretch may take too much that is kept for what is louder than all before


class _Span:
    """Frames that are looked back upon, whose bits are counted at few steps: in between they are on a line.

    Args:
        frames: How many.
        cost: What they take.
        beside: Bits that they take at any step.
    """

    def __init__(self, frames: int, cost: Cost, beside: float = 0.0):
        self.frames, self._cost, self._beside = frames, cost, beside
        self._counted: dict[int, float] = {}

    def cost(self, step: int) -> float:
        """Bits at a step."""
        below, share = divmod(step, _APART)
        low = self._at(below)
        return low if not share else low + share / _APART * (self._at(below + 1) - low)

    def all_alike(self, step: int) -> float:
        """Bits of as many such frames as share a step."""
        return HOLD / self.frames * self.cost(step)

    def _at(self, place: int) -> float:
        if place not in self._counted:
            self._counted[place] = self._cost(place * _APART) + self._beside
        return self._counted[place]


class StepControl:
    """A reservoir into which every frame pays, and from which it takes what it costs.

    The next step is the one at which the frames behind would have cost what the next ones may: their income, and a
    share of what the reservoir holds beyond its half. What it cannot hold is lost. In a pause steps become finer, but
    never so fine that what was loudest before could not come back. What is louder has a coarser step at once.

    Args:
        income: Bits of a frame on the average.
        size: Bits that any stretch of frames may take beyond its income, nearly.
        first: Step to begin with.
        finest: The least step.
        coarsest: The greatest.
    """

    def __init__(self, income: float, size: float, *, first: int, finest: int, coarsest: int):
        self._income, self._finest, self._coarsest = income, finest, coarsest
        self._size, self._beyond = (1 - _BEYOND) * size, _BEYOND * size
        self._fill, self.step = self._size / 2, first
        self._spans = deque[_Span](maxlen=_BEHIND)
        self._sounds = deque[_Span](maxlen=_REMEMBERED)
        self._begin(known=False)

    def _begin(self, *, known: bool) -> None:
        """A span, of which no frame has been paid; its step may be made for the first one."""
        self._held = max(self._fill, 0.0) + HOLD * self._income
        self._left, self._frames, self._paid, self._known = self._beyond, 0, 0.0, known

    def pay(self, bits: float) -> bool:
        """Take a frame out of the reservoir, unless another step must be chosen for it.

        Args:
            bits: That it takes at this step, nearly.
        """
        fill = min(self._fill + self._income, self._size) - bits
        left = min(self._left + self._held / HOLD, self._beyond) - bits
        if (fill < -self._beyond or left < 0) and (self._frames or not self._known):
            return False
        self._fill, self._left, self._frames, self._paid = fill, left, self._frames + 1, self._paid + bits
        return True

    def spend(self, bits: int, cost: Cost | None) -> None:
        """End a span.

        Args:
            bits: That its frames took.
            cost: What they would have taken at another step, nearly; ``None`` of silence, of which nobody learns.
        """
        self._fill = min(self._fill + self._paid - bits, self._size)
        if cost is None:
            return
        self._spans.append(_Span(self._frames, cost, bits - cost(self.step)))
        if self._frames == HOLD and bits > _QUIET * HOLD:
            self._sounds.append(self._spans[-1])

    def choose(self, ahead: Cost | None = None) -> None:
        """Choose the step for the next frames.

        Args:
            ahead: What the frame that comes next takes at a step, nearly, if it is known.
        """
        self._begin(known=ahead is not None)
        if not self._spans and ahead is None:
            return
        loud = [max(self._sounds, key=lambda span: span.cost(self.step))] if self._sounds else []
        if ahead is not None:
            loud.append(_Span(1, ahead))
        extra = (self._fill - self._size / 2) * self._income / self._size
        wanted = sum(span.frames for span in self._spans) * max(self._income + extra, self._income / 4)
        low, high = self._finest, self._coarsest
        if len(self._spans) > 2:
            low = max(low, self.step - _FINER)
        while high - low > _CLOSE:
            middle = (low + high) // 2
            enough = not self._spans or sum(span.cost(middle) for span in self._spans) < wanted
            enough = enough and all(span.all_alike(middle) < self._held for span in loud)
            low, high = (low, middle) if enough else (middle, high)
        self.step = (low + high) // 2
