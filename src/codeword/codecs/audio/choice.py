"""What a file may spend, and what it did."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from codeword.codecs.rates import Levels, Scale


@dataclass(frozen=True)
class Kbps:
    """The scale, or for a model of constant depth the depth, that brings the file to this rate.

    Of a stream the rate is kept on the average: any stretch of it takes at most four seconds' worth more.

    Attributes:
        value: Kilobits a second.
        cap: Of a stream, the most that any single frame may take, as kilobits a second.
    """

    value: float
    cap: float | None = None


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
        return 8e-3 * self.num_bytes / self.seconds if self.seconds else 0.0
