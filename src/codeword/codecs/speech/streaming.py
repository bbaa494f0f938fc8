"""Speech to frames and back while it comes, behind by no more than the transform needs."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from codeword.codecs.rates import Kbps, Step
from codeword.codecs.sound import LATE
from codeword.codecs.speech.control import HOLD, Cost, StepControl
from codeword.codecs.speech.framing import LineAnalysis, LineSynthesis
from codeword.codecs.speech.rounding import COARSEST, Codes, Frames, Lines, Rounding
from codeword.functional.bands import UNIT

_EVERY = 4  # frame of those behind is looked back upon
_LOUDEST = 2.0**24  # sample that steps are made for
_FIRST = -2 * UNIT  # step of the first frames, of speech as loud as usual
_LEAST = -16 * UNIT  # step that is fine enough for silence of 16 bits


def check_samples(block: Tensor) -> None:
    """Refuse what is no speech.

    Raises:
        ValueError: In one line that says how to repair it.
    """
    if block.ndim != 2 or len(block) != 1:
        raise ValueError(f"a block of speech has shape (1, samples), got {tuple(block.shape)}: mix channels first")
    if not block.is_floating_point():
        raise ValueError(f"samples are floats with full scale 1, got {block.dtype}: divide by the type's full scale")
    if not block.isfinite().all():
        raise ValueError("samples must be finite, got a NaN or an infinity: leave it out, or send silence")
    if block.numel() and (peak := float(block.abs().max())) > _LOUDEST:
        raise ValueError(f"samples reach {peak:.3g}, full scale is 1: divide them")


class _Piece(NamedTuple):
    """Frames before they are rounded."""

    lines: Lines
    codes: Codes

    def part(self, start: int, stop: int) -> "_Piece":
        return _Piece(self.lines[start:stop], self.codes[start:stop])


class SpeechEncoder:
    """Samples to frames, as soon as they are complete; what it returns does not depend on how blocks are cut.

    Args:
        rounding: Of a codec.
        rate: What frames may cost. For a rate in kbps every 100 frames, or two seconds, have a step of their own;
            where something louder comes, fewer.
        overhead: Bits that go with as many frames beside their message.

    Attributes:
        latency: Samples that the encoder may be behind: one less than those of a frame.
    """

    def __init__(self, rounding: Rounding, rate: Kbps | Step, *, overhead: int = 0):
        self._rounding, self._rate, self._overhead = rounding, rate, overhead
        self.latency = rounding.model.hop - 1
        self._begin()

    @property
    def num_samples(self) -> int:
        """Samples so far."""
        return self._analysis.num_samples

    def push(self, block: Float[Tensor, "1 _"]) -> Frames:
        """The next samples, any number of them; returns the frames that are complete, perhaps none.

        Raises:
            ValueError: If there is more than one channel, or a sample is not finite or far beyond full scale; the
                stream goes on as if without the block.
        """
        check_samples(block)
        return self._round(self._analysis.push(block[0].float()))

    def finish(self) -> Frames:
        """The last frames, one at least; the next push begins another signal."""
        last = self._round(self._analysis.finish())
        self._begin()
        return last

    def _begin(self) -> None:
        model = self._rounding.model
        self._analysis, self._control = LineAnalysis(model), None
        if isinstance(self._rate, Kbps):
            income = 1000 * self._rate.value * model.hop / model.sample_rate
            size = LATE * 1000 * self._rate.value
            self._control = StepControl(income, size, first=_FIRST, finest=_LEAST, coarsest=COARSEST)
        self._span: list[_Piece] = []
        self._shared = 0  # frames of the span

    def _round(self, lines: Tensor) -> Frames:
        found = _Piece(lines.numpy(), self._rounding.encode(lines))
        made = [self._rounding.round(*found.part(0, 0), self._step)]
        start = 0
        while start < len(lines):
            piece = found.part(start, start + HOLD - self._shared)
            frames = self._rounding.round(*piece, self._step)
            kept = len(frames) if self._control is None else self._paid(frames, self._control)
            made.append(frames[:kept])
            start, self._shared = start + kept, self._shared + kept
            self._span.append(piece.part(0, kept))
            if kept < len(frames):
                self._settle(piece.part(kept, kept + 1))
            elif self._shared == HOLD:
                self._settle(None)
        return np.concatenate(made)

    def _paid(self, frames: Frames, control: StepControl) -> int:
        """How many of frames may have their step."""
        bits = self._rounding.bits(frames) + self._rounding.model.quantizer.bits_per_vector
        return next((place for place, of_frame in enumerate(bits.tolist()) if not control.pay(of_frame)), len(frames))

    def _settle(self, ahead: _Piece | None) -> None:
        """The next frames, of which one may be known, have a step of their own."""
        control, span = self._control, [piece for piece in self._span if len(piece.lines)]
        self._span.clear()
        self._shared = 0
        if control is None:
            return
        if span:
            lines, codes = (np.concatenate(parts) for parts in zip(*span, strict=True))
            taken = self._overhead + self._rounding.message_bits(self._rounding.round(lines, codes, control.step))
            some = _Piece(lines[::_EVERY], codes[::_EVERY])
            silent = self._rounding.silent(lines, codes, _LEAST)
            control.spend(taken, None if silent else self._cost(some, len(lines) / len(some.lines)))
        control.choose(None if ahead is None else self._cost(ahead, 1.0))

    def _cost(self, piece: _Piece, times: float) -> Cost:
        return lambda step: times * float(self._rounding.bits(self._rounding.round(*piece, step)).sum())

    @property
    def _step(self) -> int:
        if isinstance(self._rate, Step):
            return self._rate.exponent
        assert self._control is not None
        return self._control.step


class SpeechDecoder:
    """Frames to samples, as soon as no frame to come can change them.

    Args:
        rounding: Of a codec.
        first: Number of the first frame in its file.

    Attributes:
        latency: Samples that it is behind: of k frames all samples but so many are out.
    """

    def __init__(self, rounding: Rounding, first: int = 0):
        self._rounding, self.latency = rounding, rounding.model.delay
        self._synthesis, self._next = LineSynthesis(rounding.model), first

    def push(self, frames: Frames) -> Float[Tensor, "1 _"]:
        """The next frames, any number of them; returns the samples that are final."""
        lines = self._rounding.restore(frames, self._next)
        self._next += len(frames)
        return self._synthesis.push(lines).unsqueeze(0)
