"""The speech model: a lapped transform whose lines are quantized under a vector-quantized envelope."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from codeword.codecs.speech.envelope import Envelope
from codeword.codecs.speech.lines import LineModel
from codeword.functional.bands import DEAD, GAMMA, MEL_16, Bands
from codeword.nn.lapped import LappedTransform
from codeword.quantizers import Quantizer, VectorQuantizer
from codeword.quantizers.config import register
from codeword.types import Quantized

FOLLOWED = GAMMA / 8  # share of the energy that the step follows


class Coded(NamedTuple):
    """Lines under a quantized envelope.

    Attributes:
        bits: Of every line, as the model expects them.
        bits_of_zero: Those that a zero in its place would take.
        energies: Of every line, as a decoder sees them, in octaves.
        envelope: What the quantizer made of the envelope.
    """

    bits: Float[Tensor, "batch frames some"]
    bits_of_zero: Float[Tensor, "batch frames some"]
    energies: Float[Tensor, "batch frames some"]
    envelope: Quantized


@register
class SpeechModel(nn.Module):
    """A codec of speech that learns its envelopes by what lines cost under them.

    ::

        audio ──► lines ─────────────────────────────────────► rounded by their steps ──► bits
                    └─► envelope ──► quantizer ──► energies ──► steps, distributions ──────┘

    After the codec in which the NSVQ paper quantizes envelopes (Vali and Backstrom 2022, section IV-A): windows of 30
    ms, 20 ms apart, sixteen bands, and a mixture of logistic distributions that follows the decoded envelope.

    Note:
        There the loss is the negative log-likelihood of the lines of a file. Here ``SpeechTask`` draws a step for
        every item and counts noise beside bits, since an envelope also says how fine steps are.

    Args:
        edges: First line of every band, and the number of lines; the hop is as many samples.
        quantizer: Of envelopes in octaves; by default one codebook of 12 bits.
        parts: Logistic distributions in a mixture.
        sample_rate: Samples per second.
        overlap: Samples that neighbouring windows share.
    """

    def __init__(
        self,
        edges: tuple[int, ...] = MEL_16,
        quantizer: Quantizer | None = None,
        *,
        parts: int = 3,
        sample_rate: int = 16000,
        overlap: int = 160,
    ):
        super().__init__()
        if min(parts, sample_rate) < 1:
            raise ValueError(f"parts and sample_rate are 1 or more, got {parts} and {sample_rate}")
        bands = Bands(edges=edges)
        self.sample_rate, self.parts = sample_rate, parts
        self.transform = LappedTransform(bands.lines, overlap)
        self.envelope = Envelope(bands)
        self.quantizer = quantizer or VectorQuantizer(bands.count, 4096)
        if self.quantizer.dim != bands.count:
            raise ValueError(
                f"envelopes have {bands.count} bands, the quantizer is of {self.quantizer.dim}: give both the same"
            )
        self.lines = LineModel(bands.count, parts)
        self.register_buffer("band", torch.from_numpy(bands.of_lines), persistent=False)

    band: Tensor

    @property
    def hop(self) -> int:
        """Samples per frame, and lines of it."""
        return self.transform.hop

    @property
    def delay(self) -> int:
        """Samples that a decoder waits for beyond a frame's own."""
        return self.transform.overlap

    @property
    def before(self) -> int:
        """Silence before the signal: where the first frame begins to be the only one."""
        return (self.hop + self.transform.overlap) // 2

    def num_frames(self, samples: int) -> int:
        """Frames of a signal."""
        return -(-(samples + self.delay) // self.hop)

    def analyse(self, audio: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frames lines"]:
        """Lines of all frames; silence surrounds the signal."""
        frames, before = self.num_frames(audio.shape[-1]), self.before
        after = (frames + 1) * self.hop - before - audio.shape[-1]
        return self.transform(F.pad(audio, (before, after)))

    def synthesise(self, lines: Float[Tensor, "batch frames lines"], samples: int) -> Float[Tensor, "batch {samples}"]:
        """The signal of lines."""
        return self.transform.inverse(lines)[:, self.before : self.before + samples]

    def code(
        self,
        lines: Float[Tensor, "batch frames lines"],
        step: Float[Tensor, " batch"],
        some: Int[Tensor, " some"] | None = None,
    ) -> Coded:
        """Quantize envelopes and lines as training sees it: noise of a step's width stands for rounding.

        In evaluation mode lines are rounded.

        Args:
            lines: Of :meth:`analyse`.
            step: Twice the logarithm of the step at an energy of 1, in octaves.
            some: Numbers of the lines that are looked at, below their envelope; all if not given.
        """
        quantized = self.quantizer(self.envelope(lines))
        energies, band = self.envelope.energies(quantized.vectors), self.band
        if some is not None:
            lines, energies, band = lines[..., some], energies[..., some], band[some]
        exponents = step.view(-1, 1, 1) + FOLLOWED * energies
        values = lines * torch.exp2(-exponents / 2)
        if self.training:
            values, dead = values + torch.rand_like(values) - 0.5, 0.0
        else:
            values, dead = values.sign() * (values.abs() + (0.5 - DEAD)).floor(), DEAD
        mixture = self.lines.mixture(energies - exponents, band)
        return Coded(mixture.bits(values, dead), mixture.bits(values.new_zeros(1, 1, 1), dead), energies, quantized)

    def encode_envelope(self, lines: Float[Tensor, "batch frames lines"]) -> Int[Tensor, "batch frames levels"]:
        """Codes of envelopes, which do not depend on how many frames are seen together, but for a tie in 64 bits."""
        return self.quantizer.encode(self.envelope(lines.double()).float())

    def arguments(self) -> dict[str, object]:
        return {
            "edges": self.envelope.bands.edges,
            "quantizer": self.quantizer,
            "parts": self.parts,
            "sample_rate": self.sample_rate,
            "overlap": self.transform.overlap,
        }
