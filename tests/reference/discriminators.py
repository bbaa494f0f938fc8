"""The discriminators of DAC as its publication lays them out: a state dict and its evaluation, without modules."""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from reference import spectra


def state(periods, period_widths, windows, num_bands, width, layers, seed=0):
    """Random parameters under the names of ``dac.model.Discriminator``."""
    generator = torch.Generator().manual_seed(seed)
    found = {}

    def convolution(name, out, into, *kernel):
        found[f"{name}.weight_v"] = torch.randn(out, into, *kernel, generator=generator, dtype=torch.float64)
        found[f"{name}.weight_g"] = torch.rand(out, 1, 1, 1, generator=generator, dtype=torch.float64) + 0.5
        found[f"{name}.bias"] = 0.1 * torch.randn(out, generator=generator, dtype=torch.float64)

    for i in range(len(periods)):
        for j, (into, out) in enumerate(zip((1, *period_widths), period_widths, strict=False)):
            convolution(f"discriminators.{i}.convs.{j}.0", out, into, 5, 1)
        convolution(f"discriminators.{i}.conv_post", 1, period_widths[-1], 3, 1)
    for i in range(len(periods), len(periods) + len(windows)):
        for band in range(num_bands):
            kernels = [(2, 9)] + [(width, 9)] * layers + [(width, 3)]
            for j, (into, size) in enumerate(kernels):
                convolution(f"discriminators.{i}.band_convs.{band}.{j}.0", width, into, 3, size)
        convolution(f"discriminators.{i}.conv_post", 1, width, 3, 3)
    return found


def weight(found, name):
    v = found[f"{name}.weight_v"]
    return found[f"{name}.weight_g"] * v / v.square().sum((1, 2, 3), keepdim=True).sqrt()


def convolve(found, name, x, stride, padding, *, bent=True):
    x = F.conv2d(x, weight(found, name), found[f"{name}.bias"], stride, padding)
    return torch.where(x > 0, x, 0.1 * x) if bent else x


def normalised(x):
    x = x - x.mean(-1, keepdim=True)
    return 0.8 * x / (x.abs().max(-1, keepdim=True)[0] + 1e-9)


def folded(found, name, audio, period):
    """Feature maps (items, channels, time / period, period) of a folded waveform."""
    x = F.pad(audio, (0, period - audio.shape[-1] % period), mode="reflect")
    x = x.reshape(x.shape[0], 1, -1, period)
    maps = []
    layers = sum(f"{name}.convs.{j}.0.bias" in found for j in range(20))
    for j in range(layers):
        x = convolve(found, f"{name}.convs.{j}.0", x, (3 if j < layers - 1 else 1, 1), (2, 0))
        maps.append(x)
    return [*maps, convolve(found, f"{name}.conv_post", x, 1, (1, 0), bent=False)]


def banded(found, name, audio, window, bands):
    """Feature maps of a complex spectrum, band after band."""
    spectrum = np.stack([spectra.stft(x[0], window, window // 4, "strided") for x in audio.numpy()])
    parts = torch.stack([torch.from_numpy(spectrum.real), torch.from_numpy(spectrum.imag)], dim=1)
    bins = window // 2 + 1
    maps, ends = [], []
    for band, (low, high) in enumerate(pairwise(bands)):
        x = parts[..., int(low * bins) : int(high * bins)]
        layers = sum(f"{name}.band_convs.{band}.{j}.0.bias" in found for j in range(20))
        for j in range(layers):
            stride = (1, 2) if 0 < j < layers - 1 else (1, 1)
            padding = (1, 4) if j < layers - 1 else (1, 1)
            x = convolve(found, f"{name}.band_convs.{band}.{j}.0", x, stride, padding)
            maps.append(x)
        ends.append(x)
    return [*maps, convolve(found, f"{name}.conv_post", torch.cat(ends, -1), 1, 1, bent=False)]
