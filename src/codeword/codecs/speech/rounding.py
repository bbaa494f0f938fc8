"""Lines to integers and back, under the envelopes that codes stand for."""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from codeword.codecs.speech.model import SpeechModel
from codeword.entropy.lines import MOST_BITS, LineCoder, SpeechTables
from codeword.functional.bands import UNIT, restored, rounded, step_exponents
from codeword.functional.threads import one_thread

COARSEST, FINEST = 24 * UNIT, -40 * UNIT  # exponents of steps
PART = 1000  # frames that are rounded at once, so that those of hours are never there together
Lines: TypeAlias = Float32[np.ndarray, "frames lines"]
Codes: TypeAlias = Int64[np.ndarray, "frames levels"]
Frames: TypeAlias = Int64[np.ndarray, "frames numbers"]
"""Of every frame its step, the codes of its envelope, its lines in steps."""


class Rounding:
    """What a file has in place of lines.

    Args:
        model: Whose envelopes.
        tables: What was exported of it.
    """

    def __init__(self, model: SpeechModel, tables: SpeechTables):
        self.model, self.coder = model, LineCoder(tables)

    @torch.inference_mode()
    @one_thread()
    def encode(self, lines: Tensor) -> Codes:
        """Codes of the envelopes of lines."""
        return self.model.encode_envelope(lines.unsqueeze(0))[0].numpy()

    def round(self, lines: Lines, codes: Codes, step: int) -> Frames:
        """Lines in steps."""
        exponents = step_exponents(self.coder.energies(codes), step)
        # Beyond what can be written nothing is heard that a step so fine would be chosen for.
        most = 2**MOST_BITS - 1
        values = rounded(lines / np.exp2(exponents / (2 * UNIT))).clip(-most, most).astype(np.int64)
        return np.concatenate([np.full((len(values), 1), step), codes, values], axis=1)

    def silent(self, lines: Lines, codes: Codes, step: int) -> bool:
        """Whether nothing would be left of lines at a step, nor at any that is greater."""
        return not self._split(self.round(lines, codes, step))[2].any()

    def restore(self, frames: Frames, first: int) -> Tensor:
        """Undo :meth:`round`: lines, nearly. Frames with -1 for codes were lost and have none.

        Args:
            frames: What was read.
            first: Number of the first one in its file.
        """
        steps, codes, values = self._split(frames)
        energies = self.coder.energies(codes.clip(0))
        exponents = step_exponents(energies, steps)
        found = restored(values, energies - exponents, first) * np.exp2(exponents / (2 * UNIT))
        found[codes[:, 0] < 0] = 0.0
        return torch.from_numpy(found).float()

    def bits(self, frames: Frames) -> Float64[np.ndarray, " frames"]:
        """Bits that the lines of every frame take, nearly; those of its codes are not among them."""
        steps, codes, values = self._split(frames)
        return self.coder.bits(codes, values, steps[:, 0])

    def message_bits(self, frames: Frames) -> int:
        """Bits of frames of one step as one message."""
        steps, codes, values = self._split(frames)
        return 8 * len(self.coder.encode(codes, values, steps[:, 0]))

    def _split(self, frames: Frames) -> tuple[Int64[np.ndarray, "frames 1"], Codes, Int64[np.ndarray, "frames lines"]]:
        steps, codes, values = np.split(frames, [1, 1 + len(self.coder.tables.sizes)], axis=1)
        return steps, codes, values


class Analysed(NamedTuple):
    """A signal before its step is chosen.

    Attributes:
        lines: Of all frames.
        codes: Of their envelopes.
        num_samples: Length of the signal.
    """

    lines: Lines
    codes: Codes
    num_samples: int

    def parts(self) -> Iterator[tuple[Lines, Codes]]:
        """Frames, some at a time."""
        for start in range(0, len(self.lines), PART):
            yield self.lines[start : start + PART], self.codes[start : start + PART]

    def rounded(self, rounding: Rounding, step: int) -> Iterator[Frames]:
        """What a file has in their place at a step."""
        for part in self.parts():
            yield rounding.round(*part, step)
