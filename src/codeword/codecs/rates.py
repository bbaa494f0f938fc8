"""What a file may spend: so much a second, so much for its importance, or the same everywhere."""

from collections.abc import Callable
from dataclasses import dataclass

_MOST = 1_000_000  # kbps, more than any signal has
_PROMISED = 0.01  # a rate that is met worse than this is noted


@dataclass(frozen=True)
class Scale:
    """As many levels as the importance of a frame or a place buys at this scale."""

    value: float


@dataclass(frozen=True)
class Levels:
    """The same number of levels everywhere."""

    count: int


@dataclass(frozen=True)
class Kbps:
    """Whatever scale, depth or step brings the file to this rate.

    Of a stream the rate is kept on the average: any stretch of it takes at most four seconds' worth more.

    Attributes:
        value: Kilobits a second.
        cap: Of a stream of a neural codec, the most that any single frame may take, as kilobits a second.

    Raises:
        ValueError: If the rate is not positive, or beyond a gigabit a second.
    """

    value: float
    cap: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.value <= _MOST:
            raise ValueError(f"a rate in kbps is positive and at most {_MOST}, got {self.value}")


@dataclass(frozen=True)
class Step:
    """The same step everywhere, of spectral lines."""

    exponent: int


def check_depth(rate: Scale | Levels, levels: int, check_scale: Callable[[float], object] | None) -> None:
    """Refuse what a model of so many levels cannot spend.

    Args:
        rate: What is asked for.
        levels: Of the model.
        check_scale: Refuses scales; ``None`` for a model of constant depth.

    Raises:
        ValueError: Naming what it can.
    """
    if isinstance(rate, Levels):
        if not 1 <= rate.count <= levels:
            raise ValueError(f"this model has {levels} levels: choose 1 to {levels}, got {rate.count}")
    elif check_scale is None:
        raise ValueError(f"this model has a constant depth: choose 1 to {levels} levels instead of a scale")
    else:
        check_scale(rate.value)


def unmet(wanted: float, unit: str, of_byte: float, num_bytes: int, reach: tuple[int, int] | None = None) -> str:
    """Empty, or that a file has another rate.

    Args:
        wanted: Its rate.
        unit: Of rates.
        of_byte: Rate of one byte.
        num_bytes: Of the file.
        reach: Bytes of the largest and of the smallest one, if they are known.
    """
    if abs(num_bytes * of_byte - wanted) <= _PROMISED * wanted:
        return ""
    told = f"{wanted:g} {unit} was asked for, {num_bytes * of_byte:.3f} is nearest"
    if reach is None:
        return told
    return f"{told}; the model reaches {min(reach) * of_byte:.3f} to {max(reach) * of_byte:.3f} here"
