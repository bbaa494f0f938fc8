"""How alike two images are: peak signal-to-noise ratio and structural similarity, one number for each image."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from codeword.functional.matmul import wide

WINDOW = 11  # pixels of the Gaussian to each side of a pixel and the pixel itself
_DEVIATION = 1.5
_HEIGHTS = [math.exp(-((place - WINDOW // 2) ** 2) / (2 * _DEVIATION**2)) for place in range(WINDOW)]
_BELL = [height / sum(_HEIGHTS) for height in _HEIGHTS]
_LUMINANCE, _CONTRAST = 0.01, 0.03  # the constants K1 and K2, as shares of the peak
_PIECE = 1 << 15  # values of an image that are looked at together
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of the five scales


def psnr(
    x: Float[Tensor, "*batch channels height width"],
    y: Float[Tensor, "*batch channels height width"],
    *,
    peak: float = 1.0,
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio in decibels, over all channels; infinite for equal images.

    Args:
        x: Images.
        y: The same, in other words.
        peak: The greatest value a pixel may have; 0 is the least.
    """
    error = (wide(x) - wide(y)).square().mean((-3, -2, -1))
    return 10 * (peak**2 / error).log10()


def ssim(
    x: Float[Tensor, "*batch channels height width"],
    y: Float[Tensor, "*batch channels height width"],
    *,
    peak: float = 1.0,
) -> Float[Tensor, "*batch"]:
    r"""Structural similarity (Wang et al. 2004, equation 13), the mean over channels and places.

    .. math:: \frac{(2\mu_x\mu_y + C_1)(2\sigma_{xy} + C_2)}
        {(\mu_x^2 + \mu_y^2 + C_1)(\sigma_x^2 + \sigma_y^2 + C_2)}

    with the moments under a Gaussian of 11 x 11 pixels and deviation 1.5, at places where it lies within the image; 1
    for equal images.

    Args:
        x: Images, 11 pixels high and wide at least.
        y: The same, in other words.
        peak: The greatest value a pixel may have; 0 is the least.

    Raises:
        ValueError: If an image is smaller.
    """
    return _terms(wide(x), wide(y), peak)[0].mean(-1)


def ms_ssim(
    x: Float[Tensor, "*batch channels height width"],
    y: Float[Tensor, "*batch channels height width"],
    *,
    peak: float = 1.0,
    scales: int = len(_SCALES),
) -> Float[Tensor, "*batch"]:
    """Structural similarity over several scales (Wang, Simoncelli and Bovik 2003, equation 7).

    Contrast and structure count at every scale, luminance at the coarsest; from scale to scale images are halved by
    means over 2 x 2 pixels. Terms below 0, which have no real power, count as 0.

    Args:
        x: Images, 11 x 2 ** (scales - 1) pixels high and wide at least: 176 for all five.
        y: The same, in other words.
        peak: The greatest value a pixel may have; 0 is the least.
        scales: How many of the five scales; exponents are divided by their sum, which is 1.0001 for all five.

    Raises:
        ValueError: If an image is smaller.
    """
    return ssim_and_ms_ssim(x, y, peak=peak, scales=scales)[1]


def ssim_and_ms_ssim(
    x: Float[Tensor, "*batch channels height width"],
    y: Float[Tensor, "*batch channels height width"],
    *,
    peak: float = 1.0,
    scales: int = len(_SCALES),
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Both, in little more than half the time: the first scale of the one is the other."""
    if not 1 <= scales <= len(_SCALES):
        raise ValueError(f"MS-SSIM has 1 to {len(_SCALES)} scales, got {scales}")
    x, y = wide(x), wide(y)
    _check(x, 2 ** (scales - 1))
    exponents = torch.tensor(_SCALES[:scales], dtype=x.dtype, device=x.device)
    exponents = exponents / exponents.sum()
    found = [_terms(x, y, peak)]
    for _ in range(1, scales):
        x, y = (_halved(image) for image in (x, y))
        found.append(_terms(x, y, peak))
    of_scale = torch.stack([*(contrast for _, contrast in found[:-1]), found[-1][0]], -1)
    positive = of_scale > 0
    powers = torch.where(positive, of_scale, 1.0) ** exponents  # the root of 0 has no finite derivative
    return found[0][0].mean(-1), (powers * positive).prod(-1).mean(-1)


def _terms(
    x: Tensor, y: Tensor, peak: float
) -> tuple[Float[Tensor, "*batch channels"], Float[Tensor, "*batch channels"]]:
    """Similarity, and without luminance, of every channel: means over places."""
    _check(x, 1)
    planes, (height, width) = x.shape[:-2], x.shape[-2:]
    # Moments around a common level: squares of values far from 0 would lose digits.
    level = x.mean((-2, -1), keepdim=True)
    x, y, level = (part.reshape(-1, *part.shape[-2:]) for part in (x - level, y - level, level))
    rows = height - WINDOW + 1
    # Pieces that stay in a processor's cache: some planes, or some rows of one.
    together, band = max(1, _PIECE // (height * width)), max(WINDOW, _PIECE // width)
    sums: list[Tensor] = []
    for first in range(0, len(x), together):
        some = slice(first, first + together)
        bands = [
            _similarity(
                x[some, top : top + band + WINDOW - 1], y[some, top : top + band + WINDOW - 1], level[some], peak
            )
            for top in range(0, rows, band)
        ]
        sums.append(torch.stack(bands).sum(0))
    whole, contrast = torch.cat([x.new_zeros(2, 0), *sums], 1) / (rows * (width - WINDOW + 1))
    return whole.view(planes), contrast.view(planes)


def _similarity(x: Tensor, y: Tensor, level: Tensor, peak: float) -> Float[Tensor, "2 channels"]:
    """Sums of both over places; images are given from a level on."""
    mean_x, mean_y, square_x, square_y, product = _blurred(torch.stack([x, y, x * x, y * y, x * y]))
    c1, c2 = (_LUMINANCE * peak) ** 2, (_CONTRAST * peak) ** 2
    both = mean_x * mean_y
    contrast = (2 * (product - both) + c2) / (square_x - mean_x**2 + square_y - mean_y**2 + c2)
    mean_x, mean_y = mean_x + level, mean_y + level
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return torch.stack([luminance * contrast, contrast]).sum((-2, -1))


def _blurred(x: Float[Tensor, "*batch height width"]) -> Float[Tensor, "*batch _ _"]:
    """Means under the Gaussian, at places where it lies within the image."""
    for axis in (-2, -1):  # a sum of shifted images takes a fifth of the time of a convolution in one channel
        count = x.shape[axis] - WINDOW + 1
        total = _BELL[0] * x.narrow(axis, 0, count)
        for place in range(1, WINDOW):
            total = total.add_(x.narrow(axis, place, count), alpha=_BELL[place])
        x = total
    return x


def _halved(x: Float[Tensor, "*batch height width"]) -> Float[Tensor, "*batch _ _"]:
    flat = F.avg_pool2d(x.reshape(-1, 1, *x.shape[-2:]), 2)
    return flat.reshape(*x.shape[:-2], *flat.shape[-2:])


def _check(x: Tensor, factor: int) -> None:
    least = WINDOW * factor
    height, width = x.shape[-2:]
    if min(height, width) < least:
        at_most = 1 + int(math.log2(max(1.0, min(height, width) / WINDOW)))
        fewer = f", or take {at_most} scales" if factor > 1 and min(height, width) >= WINDOW else ""
        raise ValueError(
            f"structural similarity needs images of {least} x {least} pixels at least, got {height} x {width}: give "
            f"larger ones{fewer}"
        )
