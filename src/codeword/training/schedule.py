"""Learning rates as functions of the step, so that a resumed run needs nothing but its step."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass


class Schedule(ABC):
    """The contract of a schedule."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """What the learning rates are multiplied with at an optimizer step, counted from 0."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The learning rate of the optimizer throughout, as in both papers' scripts."""

    def __call__(self, step: int) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    r"""Linear warm-up, then half a cosine down to a floor (Loshchilov and Hutter 2017, equation 5, without restarts).

    .. math:: f + (1 - f) \, \tfrac12 (1 + \cos \pi t), \qquad t = (s - w) / (S - w)

    Attributes:
        steps: The S after which the floor holds.
        warmup: The w steps of the linear rise.
        floor: The f at the end.
    """

    steps: int
    warmup: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"Cosine warms up within its steps: got warmup={self.warmup} of steps={self.steps}")

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / (self.steps - self.warmup))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True)
class Trapezoid(Schedule):
    """Linear warm-up, a plateau, then a line down to zero (Zhai et al. 2022; Hägele et al. 2024).

    What is learned on the plateau does not depend on how long it will last, so that a run may be extended.

    Attributes:
        steps: Where the line would reach zero, were it not for the floor.
        warmup: Steps of the rise.
        decay: Steps of the fall.
        floor: Below which it does not fall.
    """

    steps: int
    warmup: int = 0
    decay: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not (self.warmup >= 0 and self.decay >= 0 and self.warmup + self.decay <= self.steps):
            raise ValueError(f"a Trapezoid rises and falls within its steps, got {self}")

    def __call__(self, step: int) -> float:
        rise = (step + 1) / self.warmup if step < self.warmup else 1.0
        fall = (self.steps - step) / self.decay if step > self.steps - self.decay else 1.0
        return max(self.floor, min(rise, fall))


@dataclass(frozen=True, kw_only=True)
class Milestones(Schedule):
    """Multiplied by a factor at each of some steps: halving at 40 % and 70 % is what DiVeQ's image runs do.

    Attributes:
        steps: Where the learning rate falls.
        factor: By how much.
    """

    steps: tuple[int, ...]
    factor: float = 0.5

    def __call__(self, step: int) -> float:
        return self.factor ** sum(step >= at for at in self.steps)


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """Multiplied by the same number at every step, as audio codecs do.

    Attributes:
        rate: The factor of one step.
    """

    rate: float = 0.999996

    def __call__(self, step: int) -> float:
        return self.rate**step
