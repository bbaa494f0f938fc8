"""Reconstruction losses of audio: means over a batch of the distances in :mod:`codeword.functional.spectral_distance`.

DAC and VRVQ train with 15 times :func:`mel_loss`, and only report the other two.
"""

from jaxtyping import Float
from torch import Tensor

from codeword.functional.spectral_distance import MelScales, StftScales, mel_distance, stft_distance

_STFT = StftScales()


def mel_loss(
    estimate: Float[Tensor, "*batch time"], reference: Float[Tensor, "*batch time"], scales: MelScales
) -> Float[Tensor, ""]:
    r"""L1 of log-mel spectrograms, summed over resolutions (Kumar et al. 2023, loss functions of DAC).

    .. math:: \sum_s \frac{1}{|B| T_s M_s} \sum_{b, t, m} \left|
        \log_{10} \max(\epsilon, \hat X^s_{btm}) - \log_{10} \max(\epsilon, X^s_{btm}) \right|

    Args:
        estimate: Samples, with any leading axes.
        reference: Samples to come close to; more than half the longest window.
        scales: The resolutions s and their numbers of bands.
    """
    return mel_distance(estimate, reference, scales).mean()


def stft_loss(
    estimate: Float[Tensor, "*batch time"],
    reference: Float[Tensor, "*batch time"],
    scales: StftScales = _STFT,
) -> Float[Tensor, ""]:
    """L1 of magnitudes and of their logarithms, summed over resolutions (Engel et al. 2020, as in DAC).

    Args:
        estimate: Samples, with any leading axes.
        reference: Samples to come close to; more than half the longest window.
        scales: The resolutions.
    """
    return stft_distance(estimate, reference, scales).mean()


def waveform_loss(estimate: Float[Tensor, "*batch time"], reference: Float[Tensor, "*batch time"]) -> Float[Tensor, ""]:
    """Mean absolute difference of samples."""
    return (estimate - reference).abs().mean()
