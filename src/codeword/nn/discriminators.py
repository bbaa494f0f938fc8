r"""The discriminators of DAC: folded waveforms and complex spectra in bands (Kumar et al. 2023, discriminator design).

::

    audio --> no DC, peak 0.8 --+--> Periods(2), (3), (5), (7), (11)     rows of every 2nd, 3rd .. sample
                                |      (items, 1, p, time / p)  convolved along time only, stride 3
                                |
                                +--> Spectra(2048), (1024), (512)        complex spectra, hop a quarter
                                       (items, 2, frames, bins)  cut into bands, one stack of convolutions each,
                                                                 stride 2 in frequency, joined for the verdict

Each gives the list of its feature maps, the verdict last. The names of parameters follow DAC up to the notation of
weight norm and one pair of brackets, see :func:`from_descript`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from codeword.functional.spectral import stft

_SLOPE = 0.1  # of the leaky rectifiers
_PEAK = 0.8
_QUIET = 1e-9  # added to the peak: silence stays silent

Map = Float[Tensor, "_ _ ..."]  # items, channels and positions, other ones in each map


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Which discriminators, and how wide; the defaults are DAC's, at any sample rate.

    Attributes:
        periods: Periods of the folded waveforms in samples.
        period_widths: Channels of the layers over folded waveforms, all of stride 3 but the last.
        windows: Frame lengths of the spectra in samples; the hop is a quarter.
        bands: Where the bands of the spectra begin and end, as parts of half the sample rate.
        spectral_width: Channels of the layers over spectra.
        spectral_layers: Layers of stride 2 between the first and the last one over spectra.
    """

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    period_widths: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    windows: tuple[int, ...] = (2048, 1024, 512)
    bands: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    spectral_width: int = 32
    spectral_layers: int = 3

    def __post_init__(self) -> None:
        if not self.periods and not self.windows:
            raise ValueError("periods and windows are both empty: name at least one discriminator")
        if any(window % 4 for window in self.windows):
            raise ValueError(f"windows must be multiples of 4, since the hop is a quarter, got {self.windows}")
        if list(self.bands) != sorted(set(self.bands)) or not 0 <= self.bands[0] < self.bands[-1] <= 1:
            raise ValueError(f"bands must grow from 0 to 1 at most, got {self.bands}")
        for window in self.windows:
            if any(low == high for low, high in _bins(window, self.bands)):
                raise ValueError(
                    f"a window of {window} leaves a band of {self.bands} without a bin: lengthen the window"
                )


class Periods(nn.Module):
    """A discriminator of every ``period``-th sample: HiFi-GAN's, Kong et al. 2020, section 2.3.

    Args:
        period: Samples between neighbours in time.
        widths: Channels of the layers.
    """

    def __init__(self, period: int, widths: tuple[int, ...]):
        super().__init__()
        self.period = period
        strides = [3] * (len(widths) - 1) + [1]
        self.convs = nn.ModuleList(
            weight_norm(_AlongTime(before, after, (5, 1), (stride, 1), padding=(2, 0)))
            for (before, after), stride in zip(pairwise((1, *widths)), strides, strict=True)
        )
        self.conv_post = weight_norm(_AlongTime(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, audio: Float[Tensor, "items time"]) -> list[Map]:
        time = audio.shape[-1]
        if time <= self.period:
            raise ValueError(f"{time} samples are too few for a period of {self.period}: at least {self.period + 1}")
        # A whole period is added to what divides already, as in DAC.
        x = F.pad(audio.unsqueeze(1), (0, self.period - time % self.period), mode="reflect")
        x = x.unflatten(-1, (-1, self.period)).transpose(-1, -2).contiguous()
        maps: list[Tensor] = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), _SLOPE, inplace=True)
            maps.append(x)
        return [*maps, self.conv_post(x)]


class _AlongTime(nn.Conv2d):
    """A convolution whose kernel stands in the last but one axis, as published, and is laid along the last.

    Samples folded with time as the last axis take two thirds of the time of the published order on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:  # pyrefly: ignore
        return F.conv2d(x, self.weight.transpose(-1, -2), self.bias, self.stride[::-1], self.padding[::-1])


class Spectra(nn.Module):
    """A discriminator of complex spectra, each band with layers of its own.

    Args:
        window: Samples of a frame.
        bands: Where bands begin and end, as parts of half the sample rate.
        width: Channels of the layers.
        layers: Layers of stride 2.
    """

    def __init__(self, window: int, bands: tuple[float, ...], width: int, layers: int):
        super().__init__()
        self.window = window
        self.bands = _bins(window, bands)
        self.band_convs = nn.ModuleList(_Band(width, layers) for _ in self.bands)
        self.conv_post = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, audio: Float[Tensor, "items time"]) -> list[Map]:
        spectrum = stft(audio, self.window, self.window // 4, "strided")
        parts = torch.view_as_real(spectrum).movedim(-1, 1).to(audio.dtype)
        stacks = [
            # Channels last take nine tenths of the time on a CPU.
            convs(parts[..., low:high].contiguous(memory_format=torch.channels_last))
            for (low, high), convs in zip(self.bands, self.band_convs, strict=True)
        ]
        joined = torch.cat([stack[-1] for stack in stacks], dim=-1)
        return [*(x for stack in stacks for x in stack), self.conv_post(joined)]


def _bins(window: int, bands: tuple[float, ...]) -> list[tuple[int, int]]:
    """First bin of each band, and the first one after it."""
    return list(pairwise(int(part * (window // 2 + 1)) for part in bands))


class _Band(nn.ModuleList):
    """The layers over one band, each giving a feature map."""

    def __init__(self, width: int, layers: int):
        first = nn.Conv2d(2, width, (3, 9), padding=(1, 4))
        strided = [nn.Conv2d(width, width, (3, 9), (1, 2), padding=(1, 4)) for _ in range(layers)]
        last = nn.Conv2d(width, width, 3, padding=1)
        super().__init__(weight_norm(conv) for conv in (first, *strided, last))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for conv in self:
            x = F.leaky_relu(conv(x), _SLOPE, inplace=True)
            maps.append(x)
        return maps


class Discriminator(nn.Module):
    """All discriminators of a configuration, over signals without offset and of equal peak.

    Channels of a signal are judged one by one, as items of a longer batch.

    Args:
        config: Which ones.
    """

    def __init__(self, config: DiscriminatorConfig | None = None):
        super().__init__()
        self.config = config = config or DiscriminatorConfig()
        self.discriminators = nn.ModuleList(
            [
                *(Periods(period, config.period_widths) for period in config.periods),
                *(
                    Spectra(window, config.bands, config.spectral_width, config.spectral_layers)
                    for window in config.windows
                ),
            ]
        )

    def forward(self, audio: Float[Tensor, "*batch time"]) -> list[list[Map]]:
        """Feature maps of each discriminator, its verdict last."""
        x = normalised(audio.reshape(-1, audio.shape[-1]))
        return [discriminator(x) for discriminator in self.discriminators]

    def frozen(self, audio: Float[Tensor, "*batch time"]) -> list[list[Map]]:
        """The same feature maps, through which only the audio learns: the generator's step takes a fifth less time."""
        parameters = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return torch.func.functional_call(self, parameters, (audio,))


def normalised(audio: Float[Tensor, "*batch time"]) -> Float[Tensor, "*batch time"]:
    r"""Signals without offset, their peak at 0.8; silence stays silent.

    .. math:: y = 0.8 \, \frac{x - \bar x}{\max_t |x_t - \bar x| + 10^{-9}}
    """
    centred = audio - audio.mean(dim=-1, keepdim=True)
    return _PEAK * centred / (centred.abs().amax(dim=-1, keepdim=True) + _QUIET)


def from_descript(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a ``dac.model.Discriminator`` (without its multi-scale part) under the names used here.

    ============================================  ========================================================
    there                                         here
    ============================================  ========================================================
    ``convs.3.0``, ``band_convs.1.3.0``           ``convs.3``, ``band_convs.1.3``
    ``weight_g``, ``weight_v``                    ``parametrizations.weight.original0``, ``...original1``
    ============================================  ========================================================

    Note:
        Written from the published layout; the package itself was not compared with, since it does not install beside
        current releases of PyTorch.
    """
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    mapped = {}
    for key, value in state.items():
        module, _, name = key.rpartition(".")
        module = re.sub(r"(convs(?:\.\d+)?\.\d+)\.0(?=$|\.)", r"\1", module)
        mapped[f"{module}.{names.get(name, name)}"] = value
    return mapped
