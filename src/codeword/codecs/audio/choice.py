"""What a file may spend, and what it did."""

from typing import NamedTuple, TypeAlias

from codeword.codecs.rates import Kbps, Levels, Scale
from codeword.codecs.sound import kilobits

RateChoice: TypeAlias = Scale | Levels | Kbps


class Compressed(NamedTuple):
    """What was written.

    Attributes:
        seconds: Length of the signal.
        num_bytes: Length of the file.
        levels: Levels per frame, on the average.
        note: Empty, or why a rate was not met.
    """

    seconds: float
    num_bytes: int
    levels: float
    note: str

    @property
    def kbps(self) -> float:
        """Of the file, headers included; 0 for no signal."""
        return kilobits(self.num_bytes, self.seconds)
