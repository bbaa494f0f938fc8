"""Short-time spectra of a network: by fast transforms, or by the matrices that these stand for."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn


class Fourier(nn.Module, ABC):
    """The contract of a windowed Fourier transform and its inverse, both with a Hann window.

    Args:
        length: Samples of a frame.

    Attributes:
        length: Samples of a frame.

    Buffers:
        window: The Hann window, as long.
    """

    window: Tensor

    def __init__(self, length: int):
        super().__init__()
        self.length = length
        self.register_buffer("window", torch.hann_window(length), persistent=False)

    @abstractmethod
    def forward(self, frames: Float[Tensor, "batch frames window"]) -> Complex[Tensor, "batch frames bins"]:
        """The spectrum of windowed frames."""

    @abstractmethod
    def inverse(self, spectrum: Complex[Tensor, "batch frames bins"]) -> Float[Tensor, "batch frames window"]:
        """Windowed frames of a spectrum; the imaginary parts of the first and last bin do not count."""


class FastFourier(Fourier):
    """By PyTorch's fast transforms.

    Args:
        length: Samples of a frame.
    """

    def forward(self, frames: Float[Tensor, "batch frames window"]) -> Complex[Tensor, "batch frames bins"]:
        return torch.fft.rfft(frames * self.window)

    def inverse(self, spectrum: Complex[Tensor, "batch frames bins"]) -> Float[Tensor, "batch frames window"]:
        return torch.fft.irfft(spectrum, self.length) * self.window


class MatrixFourier(Fourier):
    r"""By products with cosines and sines: for runtimes whose own transforms are slow, inexact or not there.

    .. math:: X_k = \sum_n w_n x_n e^{-2 \pi i k n / N}, \qquad
        y_n = \frac{w_n}{N} \sum_k c_k \, \mathrm{Re} (X_k e^{2 \pi i k n / N})

    with N the length, w the window, and c_k = 2 but for 1 in the first and the last bin.

    Args:
        length: Samples of a frame, an even number.

    Buffers:
        waves: Rows are samples, columns the real and then the imaginary parts of all bins; length times (length + 2).
        back: The inverse, turned.
    """

    waves: Tensor
    back: Tensor

    def __init__(self, length: int):
        super().__init__(length)
        bins = length // 2 + 1
        turns = torch.outer(torch.arange(length), torch.arange(bins)) % length  # whole turns cost digits
        angle = turns.double() * (2 * math.pi / length)
        waves = torch.cat([angle.cos(), -angle.sin()], 1)
        count = torch.full((bins,), 2.0, dtype=torch.float64)
        count[0] = count[-1] = 1.0
        window = torch.hann_window(length, dtype=torch.float64).unsqueeze(1)
        self.register_buffer("waves", (waves * window).float(), persistent=False)
        self.register_buffer("back", (waves * window * count.repeat(2) / length).t().float(), persistent=False)

    def forward(self, frames: Float[Tensor, "batch frames window"]) -> Complex[Tensor, "batch frames bins"]:
        real, imaginary = (frames @ self.waves).chunk(2, -1)
        return torch.complex(real, imaginary)

    def inverse(self, spectrum: Complex[Tensor, "batch frames bins"]) -> Float[Tensor, "batch frames window"]:
        return torch.cat([spectrum.real, spectrum.imag], -1) @ self.back
