"""What a file may spend, whatever it holds: so much for its importance, or the same everywhere."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """As many levels as the importance of a frame or a place buys at this scale."""

    value: float


@dataclass(frozen=True)
class Levels:
    """The same number of levels everywhere."""

    count: int
