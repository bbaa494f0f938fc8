"""What codecs of sound have in common, whatever a frame of theirs is."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from jaxtyping import Float
from torch import Tensor

from codeword.formats.salvage import SalvageReport

LATE = 4.0  # seconds of the average rate that a stream may run ahead or behind
Progress: TypeAlias = Callable[[float, float | None], object]
"""Called with the seconds done and, where they are known, all seconds."""


class SalvagedSound(NamedTuple):
    """What is left of a damaged file.

    Attributes:
        blocks: Its waveform, block by block; silence where frames were lost.
        report: What was lost, in frames.
    """

    blocks: Iterator[Float[Tensor, "channels _"]]
    report: SalvageReport


def kilobits(num_bytes: int, seconds: float) -> float:
    """Rate of a file, in kbps; 0 for no signal."""
    return 8e-3 * num_bytes / seconds if seconds else 0.0


def missed(wanted: float, seconds: float, num_bytes: int) -> str:
    """Empty, or that a stream did not keep to its rate in kbps: it may be off by what a reservoir holds."""
    if not seconds or abs(8e-3 * num_bytes - wanted * seconds) <= wanted * LATE:
        return ""
    return f"{wanted:g} kbps was asked for, {kilobits(num_bytes, seconds):.3f} came out"


def check_stretch(start: float, stop: float | None, num_samples: int | None, rate: int) -> tuple[int, int]:
    """First and last sample of a stretch that is given in seconds, ``None`` for the end.

    Raises:
        ValueError: If the signal is shorter, or its length is not known.
    """
    if num_samples is None:
        raise ValueError("a stretch of a pipe cannot be sought: save the file first")

    def sample(seconds: float) -> int:
        return round(max(-1, min(seconds * rate, num_samples + 1)))  # what lies far beyond has no integer

    first, last = sample(start), num_samples if stop is None else sample(stop)
    if not 0 <= first <= last <= num_samples:
        raise ValueError(f"the signal is {num_samples / rate:g} seconds long: start and stop lie within, in this order")
    return first, last
