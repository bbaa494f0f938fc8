"""How much of a signal is in an estimate of it, in decibels; one number for each signal, differentiable."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.functional.matmul import wide

_LEAST_NORM = 1e-6  # signals are divided by their norm, or by this


def snr(estimate: Float[Tensor, "*batch time"], reference: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch"]:
    r"""Signal-to-noise ratio of an estimate :math:`\hat s` of s, "SDR" where no filter is allowed.

    .. math:: 10 \log_{10} \frac{|s|^2 + \epsilon}{|s - \hat s|^2 + \epsilon}

    with the machine epsilon of the type, as torchmetrics has it.

    Args:
        estimate: What became of the signal.
        reference: The signal.
    """
    estimate, reference = wide(estimate), wide(reference)
    return _decibels(_power(reference), _power(reference - estimate))


def si_sdr(
    estimate: Float[Tensor, "*batch time"], reference: Float[Tensor, "*batch time"], *, zero_mean: bool = False
) -> Float[Tensor, "*batch"]:
    r"""Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019, equation 3).

    .. math:: 10 \log_{10} \frac{|\alpha s|^2 + \epsilon}{|\alpha s - \hat s|^2 + \epsilon}, \qquad
        \alpha = \frac{\langle \hat s, s \rangle + \epsilon}{|s|^2 + \epsilon}

    with the machine epsilon of the type, as torchmetrics has it.

    Args:
        estimate: What became of the signal.
        reference: The signal.
        zero_mean: Whether the mean of both is removed first; not removed by default, as in torchmetrics.
    """
    estimate, reference = wide(estimate), wide(reference)
    if zero_mean:
        estimate, reference = (x - x.mean(-1, keepdim=True) for x in (estimate, reference))
    tiny = torch.finfo(reference.dtype).eps
    scale = ((estimate * reference).sum(-1) + tiny) / (_power(reference) + tiny)
    target = scale.unsqueeze(-1) * reference
    return _decibels(_power(target), _power(target - estimate))


def sdr(
    estimate: Float[Tensor, "*batch time"], reference: Float[Tensor, "*batch time"], *, taps: int = 512
) -> Float[Tensor, "*batch"]:
    r"""Signal-to-distortion ratio of BSS Eval: any short filter of the signal counts as signal (Vincent et al. 2006).

    With R the autocorrelation matrix of the unit-norm s over ``taps`` lags and b its cross-correlation with the
    unit-norm :math:`\hat s` (Scheibler 2022, fast_bss_eval),

    .. math:: 10 \log_{10} \frac{c}{1 - c}, \qquad c = b^\top R^{-1} b

    Computed in float64; what torchmetrics calls ``signal_distortion_ratio``.

    Args:
        estimate: What became of the signal.
        reference: The signal. Silence, and a few pure tones, have a correlation without inverse: the result is NaN.
        taps: Length of the filter.
    """
    estimate, reference = (
        x.double() / torch.linalg.vector_norm(x.double(), dim=-1, keepdim=True).clamp_min(_LEAST_NORM)
        for x in (estimate, reference)
    )
    size = 2 ** math.ceil(math.log2(estimate.shape[-1] + max(estimate.shape[-1], taps)))
    mine, theirs = torch.fft.rfft(estimate, size), torch.fft.rfft(reference, size)
    auto = torch.fft.irfft(theirs * theirs.conj(), size)[..., :taps]
    cross = torch.fft.irfft(theirs.conj() * mine, size)[..., :taps]
    lags = torch.arange(taps, device=auto.device)
    filtered = torch.linalg.solve_ex(auto[..., (lags[:, None] - lags).abs()], cross.unsqueeze(-1))[0].squeeze(-1)
    coherence = (cross * filtered).sum(-1)
    return 10.0 * torch.log10(coherence / (1.0 - coherence))


def _power(x: Tensor) -> Tensor:
    return x.square().sum(-1)


def _decibels(signal: Tensor, noise: Tensor) -> Tensor:
    tiny = torch.finfo(signal.dtype).eps
    return 10.0 * torch.log10((signal + tiny) / (noise + tiny))
