r"""The envelope of a spectrum: log energies of bands, and from them the energy, the step and the table of every line.

::

    lines X ──► energies of bands ──► quantizer ──► integers, a 64th of an octave each
                                                        │ interpolated between the middles of bands
                                                        ▼
                                          energy of every line e ──► step     2 ** ((s + g e) / 128)
                                                                 └─► table    of (e - g e - s), and of the band

A decoder knows all of this from the codes of the envelope before it reads a line. Whatever chooses a table is computed
with integers, so that encoder and decoder choose alike on every machine. An octave of energy is 3.01 dB.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

UNIT = 64  # integers of an octave of energy
SHARE = 256  # into which the way between two bands is cut
GAMMA = 4  # eighths of the energy that the step follows
DEAD = 0.1  # of a step by which a line must exceed half a step to be more than the next number towards zero
SHRINK = 0.05  # of a step by which a line is decoded nearer to zero than its number: most are
FILL, FILL_MOST = 0.25, 0.1  # size of the noise in the place of zeros: share of the deviation of a line, most in steps
FLOOR = 2.0**-30  # energy that is added to every band's: silence has an envelope, too
CELL = 32  # integers of an envelope to a table
LEAST, MOST = -8 * UNIT, 12 * UNIT  # of e - g e - s: beyond, the outermost tables serve
NUM_CELLS = (MOST - LEAST) // CELL + 1
_WORD = np.uint64(2**32 - 1)


# Sixteen bands of 320 lines up to 8 kHz, equally wide on the mel scale (O'Shaughnessy's): numbers, and not a formula,
# because files depend on them.
MEL_16 = (0, 5, 10, 17, 25, 34, 44, 56, 71, 88, 107, 130, 157, 189, 226, 269, 320)


@dataclass(frozen=True, kw_only=True)
class Bands:
    """How lines are joined to bands.

    Attributes:
        edges: First line of every band, and the number of lines.
    """

    edges: tuple[int, ...] = MEL_16

    def __post_init__(self) -> None:
        if len(self.edges) < 3 or self.edges[0] or any(np.diff(self.edges) < 1):
            raise ValueError(f"edges of two bands or more rise from 0 to the number of lines, got {self.edges}")

    @property
    def count(self) -> int:
        """Bands."""
        return len(self.edges) - 1

    @property
    def lines(self) -> int:
        """Lines of a frame."""
        return self.edges[-1]

    @property
    def of_lines(self) -> Int64[np.ndarray, " lines"]:
        """The band that every line is in."""
        return np.repeat(np.arange(self.count), np.diff(self.edges))

    @property
    def below(self) -> Int64[np.ndarray, " lines"]:
        """For every line the band whose middle lies below it, or the first one; never the last."""
        return (np.searchsorted(self._middles, self._places, side="right") - 1).clip(0, self.count - 2)

    @property
    def shares(self) -> Int64[np.ndarray, " lines"]:
        """The way of every line from that middle to the next, in 256ths: 0 before the first one, 256 past the last."""
        start, stop = self._middles[self.below], self._middles[self.below + 1]
        return ((SHARE * (self._places - start) + (stop - start) // 2) // (stop - start)).clip(0, SHARE)

    @property
    def _middles(self) -> Int64[np.ndarray, " bands"]:
        """In half lines."""
        return np.array(self.edges[:-1]) + np.array(self.edges[1:])

    @property
    def _places(self) -> Int64[np.ndarray, " lines"]:
        return 2 * np.arange(self.lines) + 1


def line_energies(envelope: Int64[np.ndarray, "*frames bands"], bands: Bands) -> Int64[np.ndarray, "*frames lines"]:
    """Energies of lines between those of bands, in 64ths of an octave, rounded down."""
    below, shares = bands.below, bands.shares
    return (envelope[..., below] * (SHARE - shares) + envelope[..., below + 1] * shares) >> 8


def step_exponents(
    energies: Int64[np.ndarray, "*frames lines"], step: Int64[np.ndarray, "*#frames 1"] | int
) -> Int64[np.ndarray, "*frames lines"]:
    """Twice the logarithm of every line's step, in 64ths: the step is 2 ** (this / 128)."""
    return step + (GAMMA * energies >> 3)


def cells(
    energies: Int64[np.ndarray, "*frames lines"], exponents: Int64[np.ndarray, "*frames lines"]
) -> Int64[np.ndarray, "*frames lines"]:
    """Which table every line is read with, of those of its band: by its energy over its step."""
    return ((energies - exponents).clip(LEAST, MOST) - LEAST) // CELL


def rounded(lines: Float[np.ndarray, "*frames lines"]) -> Float[np.ndarray, "*frames lines"]:
    """Lines in steps to integers, with a dead zone around zero: fewer bits for little more noise."""
    return np.sign(lines) * np.floor(np.abs(lines) + (0.5 - DEAD))


def restored(
    values: Int64[np.ndarray, "frames lines"], ratio: Int64[np.ndarray, "frames lines"], first: int
) -> Float[np.ndarray, "frames lines"]:
    """Lines in steps from integers; noise in the place of zeros, without which bands sound as if switched on and off.

    Args:
        values: Integers.
        ratio: Energies over the squares of steps, in 64ths of an octave.
        first: Number of the first frame in the file, which decides the signs of the noise.
    """
    size = np.minimum(FILL * np.exp2(ratio / (2 * UNIT)), FILL_MOST)
    return np.where(values == 0, size * noise_signs(first, *values.shape), values - SHRINK * np.sign(values))


def noise_signs(first: int, frames: int, lines: int) -> Int64[np.ndarray, "{frames} {lines}"]:
    """Minus and plus one, from the numbers of frame and line alone."""
    numbers = np.arange(first, first + frames, dtype=np.uint64)[:, None]
    mixed = (numbers * np.uint64(0x9E3779B1) + np.arange(lines, dtype=np.uint64) * np.uint64(0x85EBCA77)) & _WORD
    mixed = ((mixed ^ mixed >> np.uint64(15)) * np.uint64(0x2C1B3C6D)) & _WORD
    mixed ^= mixed >> np.uint64(12)
    return 2 * (mixed & np.uint64(1)).astype(np.int64) - 1


def middle_of(cell: int) -> float:
    """Energy over step in the middle of a cell, in octaves."""
    return (LEAST + CELL * cell + CELL / 2) / UNIT
