"""Measures of audio by name, on signals that were aligned first."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from codeword.codecs.speech.envelope import Envelope
from codeword.data.audio_resample import resample
from codeword.functional.bands import Bands
from codeword.functional.spectral_distance import MelScales
from codeword.metrics import audio
from codeword.nn.lapped import LappedTransform

LATEST_SECONDS = 0.25  # the largest delay that is looked for; MP3 decoders of 16 kHz may be 0.14 s late
_PESQ_SECONDS = 20.0
_PROBE_SECONDS = 0.2
_HEARD = 0.75  # of the energy around a line that noise may follow unheard


Score: TypeAlias = Callable[[Tensor, Tensor, int], float | None]


class Metric(NamedTuple):
    """A measure.

    Attributes:
        title: Its usual name.
        score: Of a reference, an estimate of the same length and their rate; ``None`` or NaN where it is undefined.
        unit: What it is measured in; empty for a number.
        rising: Whether more is better.
        digits: How many to print after the point.
        rates: Samples per second that it is defined at; empty for any.
    """

    title: str
    score: Score
    unit: str = ""
    rising: bool = True
    digits: int = 2
    rates: tuple[int, ...] = ()

    def rate(self, own: int) -> int:
        """Where to measure signals of a rate: at the greatest that is no more, else at the least."""
        if not self.rates:
            return own
        return max([rate for rate in self.rates if rate <= own], default=min(self.rates))


def _plain(score: Callable[[Tensor, Tensor], Tensor]) -> Score:
    return lambda reference, estimate, _: float(score(reference, estimate))


def _mel(reference: Tensor, estimate: Tensor, rate: int) -> float:
    return float(audio.mel_distance(reference, estimate, MelScales(sample_rate=rate)))


def _pesq(reference: Tensor, estimate: Tensor, rate: int) -> float | None:
    """Of clips beyond what PESQ is made for, the mean over pieces of one length."""
    pieces = -(-len(reference) // round(_PESQ_SECONDS * rate))
    found = [
        audio.pesq(mine, theirs, rate)
        for mine, theirs in zip(reference.tensor_split(pieces), estimate.tensor_split(pieces), strict=True)
    ]
    defined = [value for value in found if value is not None]
    return sum(defined) / len(defined) if defined else None


def _weighted_snr(reference: Tensor, estimate: Tensor, rate: int) -> float:
    r"""Signal over noise in lines of a lapped transform, both divided by :math:`e^{3/4}`, e the energy around a line.

    Where the envelope of the reference is loud, noise is heard less.
    """
    transform, envelope = _perceived()
    pairs = torch.stack([reference, estimate]).float()
    lines = transform(F.pad(pairs, (transform.hop, 2 * transform.hop)))
    weights = torch.exp2(-_HEARD * envelope.energies(envelope(lines[0])))
    signal, noise = ((weights * part.square()).sum(dtype=torch.float64) for part in (lines[0], lines[1] - lines[0]))
    return float(10 * torch.log10(signal / noise))


@cache
def _perceived() -> tuple[LappedTransform, Envelope]:
    bands = Bands()
    return LappedTransform(bands.lines, bands.lines // 2), Envelope(bands)


METRICS: Mapping[str, Metric] = {
    "si_sdr": Metric("SI-SDR", _plain(audio.si_sdr), "dB"),
    "sdr": Metric("SDR", _plain(audio.sdr), "dB"),
    "weighted_snr": Metric("weighted SNR", _weighted_snr, "dB", rates=(16000,)),
    "mel": Metric("log-mel distance", _mel, rising=False, digits=3),
    "stft": Metric("STFT distance", _plain(audio.stft_distance), rising=False, digits=3),
    "waveform": Metric("waveform L1", _plain(audio.waveform_distance), rising=False, digits=4),
    "pesq": Metric("PESQ", _pesq, "MOS", rates=(8000, 16000)),
    "stoi": Metric("STOI", audio.stoi, digits=3),
    "estoi": Metric("ESTOI", partial(audio.stoi, extended=True), digits=3),
    "visqol": Metric("ViSQOL, audio", partial(audio.visqol, mode="audio"), "MOS", rates=(48000,)),
    "visqol_speech": Metric("ViSQOL, speech", partial(audio.visqol, mode="speech"), "MOS", rates=(16000,)),
}
OWN_METRICS = ("si_sdr", "sdr", "mel", "stft", "waveform")


class Scorer:
    """Some measures on pairs of signals of one rate.

    Args:
        names: Of the measures, from ``METRICS``.
        rate: Samples per second.

    Raises:
        ValueError: If there is no such measure, or the package that it needs is not installed.
    """

    def __init__(self, names: Sequence[str], rate: int) -> None:
        unknown = [name for name in names if name not in METRICS]
        if unknown:
            raise ValueError(f"there is no metric {unknown[0]!r}: choose from {', '.join(METRICS)}")
        self._metrics, self._rate = {name: METRICS[name] for name in names}, rate
        # Too short for a mark, long enough to find out what is missing before any work is done.
        probe = torch.sin(torch.arange(max(round(_PROBE_SECONDS * rate), 1200)).float())
        self(probe, probe)

    def __call__(self, reference: Float[Tensor, " time"], estimate: Float[Tensor, " length"]) -> dict[str, float]:
        """All measures that are defined, after the delay of the estimate is removed.

        Raises:
            ValueError: If a sample is not finite, or the signals have less than half the reference in common.
        """
        aligned = audio.align(reference, estimate, round(LATEST_SECONDS * self._rate))
        if 2 * len(aligned.reference) < len(reference):
            seconds = [len(signal) / self._rate for signal in (estimate, reference)]
            raise ValueError(f"{seconds[0]:.2f} of {seconds[1]:.2f} seconds came back: that is too little to compare")
        at = {self._rate: (aligned.reference, aligned.estimate)}
        found: dict[str, float | None] = {}
        for name, metric in self._metrics.items():
            rate = metric.rate(self._rate)
            if rate not in at:
                both = np.stack([signal.float().numpy() for signal in at[self._rate]])
                first, second = torch.from_numpy(resample(both, self._rate, rate))
                at[rate] = first, second
            found[name] = metric.score(*at[rate], rate)
        return {name: value for name, value in found.items() if value is not None and np.isfinite(value)}
