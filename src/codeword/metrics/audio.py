"""How far a reconstruction of audio is from the original; the original comes first, and every clip gets its own number.

=====================  ==========================================  =============================  ================
function               unit                                        least length                   silent reference
=====================  ==========================================  =============================  ================
``snr``, ``si_sdr``    decibels, more is better                    1 sample                       NaN
``sdr``                decibels, more is better                    1 sample                       NaN
``mel_distance``       see ``MelScales``, less is better           1025 samples, else ValueError  as any other
``stft_distance``      see ``StftScales``, less is better          1025 samples, else ValueError  as any other
``waveform_distance``  mean absolute difference, less is better    1 sample                       as any other
``pesq``               mean opinion score, more is better          0.25 s, else None              None
``stoi``               about 0 to 1, more is better                0.4 s with sound, else None    None
``visqol``             mean opinion score, more is better          1 s, else None                 None
=====================  ==========================================  =============================  ================

Where something is undefined it has no number, NaN in a tensor and None alone: leave it out of means, and count it. A
silent reconstruction of sound gets the worst mark there is. Values that are not finite, and two lengths, are errors;
``align`` makes one length of two.
"""

import warnings
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from codeword.functional import similarity, spectral_distance
from codeword.functional.matmul import wide
from codeword.functional.spectral_distance import MelScales, StftScales

_PESQ_BANDS = {8000: "nb", 16000: "wb"}
_PESQ_SECONDS = 0.25, 20.0  # beyond, more than the 50 utterances may be found for which the C code has room
_STOI_SECONDS = 0.4
_VISQOL_RATES = {"audio": 48000, "speech": 16000}
_VISQOL_SECONDS = 1.0
_WORST_OPINION = 1.0
_STFT = StftScales()


class Aligned(NamedTuple):
    """What :func:`align` returns.

    Attributes:
        reference: The part of the reference that the estimate covers.
        estimate: The estimate, moved and cut to the same length.
        delay: By how many samples the estimate was late; negative if it was early.
    """

    reference: Float[Tensor, "*channels time"]
    estimate: Float[Tensor, "*channels time"]
    delay: int


def align(reference: Float[Tensor, "*channels time"], estimate: Float[Tensor, "... length"], most: int) -> Aligned:
    r"""Find the delay of an estimate and remove it, and cut both to what they share.

    The delay is where the cross-correlation, summed over channels, is largest,

    .. math:: \operatorname{argmax}_{|d| \le D} \sum_t s_t \, \hat s_{t + d}

    the smallest one where several are as good, such as in silence.

    Args:
        reference: The original.
        estimate: What became of it, of any length.
        most: The largest delay D that is looked for, in samples.

    Raises:
        ValueError: If a signal is empty or not finite, or the channels differ.
    """
    for name, signal in (("reference", reference), ("estimate", estimate)):
        _check_signal(name, signal)
    if reference.shape[:-1] != estimate.shape[:-1]:
        raise ValueError(f"channels differ: {tuple(reference.shape[:-1])} and {tuple(estimate.shape[:-1])}")
    if most < 0:
        raise ValueError(f"most must be 0 or more, got {most}")
    size = reference.shape[-1] + estimate.shape[-1]
    spectra = [torch.fft.rfft(x.detach().double(), size) for x in (reference, estimate)]
    correlation = torch.fft.irfft(spectra[0].conj() * spectra[1], size).reshape(-1, size).sum(0)
    early, late = min(most, reference.shape[-1] - 1), min(most, estimate.shape[-1] - 1)
    lags = torch.arange(-early, late + 1)
    lags = lags[lags.abs().argsort(stable=True)]
    heights = correlation.cpu()[lags % size]
    rounding = torch.finfo(heights.dtype).eps * size * float(correlation.abs().max())
    delay = int(lags[(heights >= heights.max() - rounding).int().argmax()])
    reference, estimate = reference[..., max(0, -delay) :], estimate[..., max(0, delay) :]
    common = min(reference.shape[-1], estimate.shape[-1])
    return Aligned(reference[..., :common], estimate[..., :common], delay)


def snr(reference: Float[Tensor, "*batch time"], estimate: Float[Tensor, "... length"]) -> Float[Tensor, "*batch"]:
    """Signal-to-noise ratio in decibels; NaN for a silent reference. See :func:`codeword.functional.similarity.snr`."""
    reference, estimate = _checked(reference, estimate)
    return _defined(similarity.snr(estimate.double(), reference.double()), reference)


def si_sdr(
    reference: Float[Tensor, "*batch time"], estimate: Float[Tensor, "... length"], *, zero_mean: bool = False
) -> Float[Tensor, "*batch"]:
    """Scale-invariant signal-to-distortion ratio in decibels; NaN for a silent reference.

    See :func:`codeword.functional.similarity.si_sdr`. The mean is not removed by default, as in torchmetrics.
    """
    reference, estimate = _checked(reference, estimate)
    return _defined(similarity.si_sdr(estimate.double(), reference.double(), zero_mean=zero_mean), reference)


def sdr(reference: Float[Tensor, "*batch time"], estimate: Float[Tensor, "... length"]) -> Float[Tensor, "*batch"]:
    """Signal-to-distortion ratio of BSS Eval in decibels, with 512 taps; NaN for a silent reference.

    See :func:`codeword.functional.similarity.sdr`; also NaN where the reference is a few pure tones.
    """
    reference, estimate = _checked(reference, estimate)
    return _defined(similarity.sdr(estimate, reference), reference)


def mel_distance(
    reference: Float[Tensor, "*batch time"], estimate: Float[Tensor, "... length"], scales: MelScales
) -> Float[Tensor, "*batch"]:
    """Distance of log-mel spectrograms, with the defaults of the scales that of DAC.

    See :func:`codeword.functional.spectral_distance.mel_distance`.
    """
    reference, estimate = _checked(reference, estimate)
    return spectral_distance.mel_distance(estimate, reference, scales)


def stft_distance(
    reference: Float[Tensor, "*batch time"], estimate: Float[Tensor, "... length"], scales: StftScales = _STFT
) -> Float[Tensor, "*batch"]:
    """Distance of magnitude spectrograms, with the defaults of the scales that of DAC.

    See :func:`codeword.functional.spectral_distance.stft_distance`.
    """
    reference, estimate = _checked(reference, estimate)
    return spectral_distance.stft_distance(estimate, reference, scales)


def waveform_distance(
    reference: Float[Tensor, "*batch time"], estimate: Float[Tensor, "... length"]
) -> Float[Tensor, "*batch"]:
    """Mean absolute difference of samples."""
    reference, estimate = _checked(reference, estimate)
    return (reference - estimate).abs().mean(-1)


def pesq(reference: Float[Tensor, " time"], estimate: Float[Tensor, " length"], sample_rate: int) -> float | None:
    """Perceptual evaluation of speech quality (ITU-T P.862.2 at 16 kHz, P.862 with P.862.1 at 8 kHz).

    Args:
        reference: The original, one channel of 0.25 to 20 seconds.
        estimate: What became of it.
        sample_rate: 16000 (wide band) or 8000 (narrow band).

    Returns:
        A mean opinion score, or None where the reference has no utterance or is too short.

    Raises:
        ValueError: If the rate is another, the clip too long, a value not finite, or the package missing.
    """
    if sample_rate not in _PESQ_BANDS:
        raise ValueError(f"PESQ is defined at 8000 and 16000 samples per second, got {sample_rate}: resample both")
    reference, estimate = _checked(reference, estimate)
    seconds = len(reference) / sample_rate
    if seconds > _PESQ_SECONDS[1]:
        raise ValueError(f"PESQ is for clips of at most {_PESQ_SECONDS[1]:g} s, got {seconds:.1f} s: cut it in pieces")
    module = _extra("pesq", "PESQ")
    if seconds < _PESQ_SECONDS[0] or _silent(reference):
        return None
    if _silent(estimate):
        return _WORST_OPINION
    try:
        return float(module.pesq(sample_rate, _array(reference), _array(estimate), _PESQ_BANDS[sample_rate]))
    except module.NoUtterancesError:
        return None


def stoi(
    reference: Float[Tensor, " time"], estimate: Float[Tensor, " length"], sample_rate: int, *, extended: bool = False
) -> float | None:
    """Short-time objective intelligibility (Taal et al. 2011), or the extended one (Jensen and Taal 2016).

    Args:
        reference: The original, one channel.
        estimate: What became of it.
        sample_rate: Samples per second; anything but 10000 is resampled by the package.
        extended: Whether the extended measure is wanted.

    Returns:
        About 0 to 1, or None where less than 0.4 seconds of the reference are within 40 dB of its loudest part.

    Raises:
        ValueError: If a value is not finite, or the package missing.
    """
    reference, estimate = _checked(reference, estimate)
    module = _extra("pystoi", "STOI")
    if len(reference) < _STOI_SECONDS * sample_rate or _silent(reference):
        return None
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Not enough STFT frames", category=RuntimeWarning)
        try:
            return float(module.stoi(_array(reference), _array(estimate), sample_rate, extended=extended))
        except RuntimeWarning:
            return None


def visqol(
    reference: Float[Tensor, " time"],
    estimate: Float[Tensor, " length"],
    sample_rate: int,
    mode: Literal["audio", "speech"] = "audio",
) -> float | None:
    """Virtual speech quality objective listener, version 3 (Chinen et al. 2020).

    Identical signals get 4.73 in audio mode.

    Args:
        reference: The original, one channel of 1 second at least.
        estimate: What became of it.
        sample_rate: 48000 for audio mode, 16000 for speech mode.
        mode: Which model. Speech mode needs the lattice model, the one published figures are made with: without it
            the package falls back to a polynomial that rates one or two points higher, which is refused here.

    Returns:
        A mean opinion score, or None where the reference is too short or silent.

    Raises:
        ValueError: If the rate is another, a value not finite, or the package or its lattice model missing.
    """
    if sample_rate != _VISQOL_RATES[mode]:
        raise ValueError(f"ViSQOL in {mode} mode is for {_VISQOL_RATES[mode]} samples per second, got {sample_rate}")
    reference, estimate = _checked(reference, estimate)
    listener = _visqol_listener(mode)
    if len(reference) < _VISQOL_SECONDS * sample_rate or _silent(reference):
        return None
    if _silent(estimate):
        return _WORST_OPINION
    return float(listener.measure_from_arrays(_array(reference), _array(estimate), sample_rate).moslqo)


def _visqol_listener(mode: str) -> Any:
    _extra("visqol", "ViSQOL")
    if mode == "speech":
        _extra("ai_edge_litert.interpreter", "the lattice model of ViSQOL's speech mode")
    return _listener(mode)


@lru_cache(maxsize=2)
def _listener(mode: str) -> Any:
    import visqol as package

    listener = package.VisqolApi()
    listener.create(mode=mode, use_lattice_model=mode == "speech")
    return listener


def _extra(module: str, purpose: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(f"{purpose} needs a package that is not installed: pip install 'codeword[metrics]'") from error


def _checked(reference: Tensor, estimate: Tensor) -> tuple[Tensor, Tensor]:
    if reference.shape != estimate.shape:
        raise ValueError(
            f"shapes differ: reference {tuple(reference.shape)}, estimate {tuple(estimate.shape)}; "
            "codeword.metrics.audio.align removes a delay and cuts both to one length"
        )
    for name, signal in (("reference", reference), ("estimate", estimate)):
        _check_signal(name, signal)
    return wide(reference.detach()), wide(estimate.detach())


def _check_signal(name: str, signal: Tensor) -> None:
    if not signal.shape[-1]:
        raise ValueError(f"the {name} is empty: at least one sample is needed")
    if not signal.isfinite().all():
        where = int((~signal.isfinite()).reshape(-1, signal.shape[-1]).any(0).nonzero()[0])
        raise ValueError(f"the {name} holds a value that is not finite at sample {where}")


def _silent(signal: Tensor) -> bool:
    return not bool(signal.any())


def _defined(values: Tensor, reference: Tensor) -> Tensor:
    return torch.where(reference.any(-1), values, torch.nan)


def _array(signal: Tensor) -> np.ndarray:
    return signal.double().cpu().numpy()
