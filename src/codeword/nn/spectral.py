"""Encoder and decoder of waveforms that work on spectra: a frame costs one column, not hundreds of samples.

After Vocos (Siuzdak 2023): ConvNeXt blocks at the rate of the frames, and an inverse Fourier transform at the end. A
hundredth of the arithmetic of a network of samples, for about the same number of weights.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from codeword.nn.conv import Padding
from codeword.nn.fourier import FastFourier, Fourier
from codeword.nn.memory import padded_past, with_past
from codeword.nn.seanet import Encoded

_LOUDEST = 6.0  # log of the largest magnitude that is decoded, against overflow in early training
_POWER = 0.3  # exponent that brings magnitudes of speech to a similar scale


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution over time, then two linear maps of every frame (Liu et al. 2022).

    Args:
        dim: Channels.
        inner: Channels between the linear maps.
        padding: Where the convolution looks.
        scale: Of the block's share at the start.
    """

    def __init__(self, dim: int, inner: int, *, padding: Padding, scale: float):
        super().__init__()
        self.ahead = padding != "causal"
        self.time = nn.Conv1d(dim, dim, 7, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.wider, self.back = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Float[Tensor, "batch dim frames"]) -> Float[Tensor, "batch dim frames"]:
        y = self.time(F.pad(x, (3, 3)) if self.ahead else padded_past(self, x, 6))
        y = self.back(F.gelu(self.wider(self.norm(rearrange(y, "b d t -> b t d")))))
        return x + rearrange(y * self.scale, "b t d -> b d t")


def convnext_blocks(dim: int, inner: int, count: int, padding: Padding) -> nn.Sequential:
    """Blocks of small shares, that together add about as much as one."""
    return nn.Sequential(*(ConvNeXtBlock(dim, inner, padding=padding, scale=1 / count) for _ in range(count)))


class _Frames(nn.Module):
    """What encoder and decoder share: hop, length and window of the frames.

    Frame t looks at the samples around the middle of its hop, or, causal, at those up to the end of its hop.
    """

    def __init__(self, hop: int, length: int, padding: Padding):
        super().__init__()
        self.ahead = padding != "causal"
        if length < 2 * hop or length % 2 or hop % 2:
            raise ValueError(f"frames must cover their hop twice, both even numbers: got {length} samples and {hop}")
        self.hop, self.length = hop, length
        both = (length - hop) // 2
        self.before, self.after = (both, both) if self.ahead else (length - hop, 0)
        self.fourier: Fourier = FastFourier(length)


class SpectralEncoder(_Frames):
    """A waveform to frames.

    Args:
        hop: Samples per frame.
        length: Samples that a frame sees.
        dim: Channels of the blocks.
        inner: Channels inside of the blocks.
        blocks: How many.
        latent: Channels of the frames.
        padding: Where the blocks look.
    """

    def __init__(
        self, hop: int, length: int, dim: int, inner: int, blocks: int, latent: int, *, padding: Padding = "centered"
    ):
        super().__init__(hop, length, padding)
        self.features = dim
        self.first = nn.Conv1d(length + 2, dim, 1)
        self.blocks = convnext_blocks(dim, inner, blocks, padding)
        self.last = nn.Conv1d(dim, latent, 1)

    def forward(self, x: Float[Tensor, "batch 1 time"]) -> Encoded:
        x = x.squeeze(1)
        x = F.pad(x, (self.before, self.after)) if self.ahead else padded_past(self, x, self.before)
        spectrum = self.fourier(x.unfold(-1, self.length, self.hop))
        magnitude = spectrum.abs().clamp_min(1e-5)
        spectrum = torch.view_as_real(spectrum * magnitude.pow(_POWER - 1))
        y = self.blocks(self.first(rearrange(spectrum, "b t f c -> b (c f) t")))
        return Encoded(self.last(y), y)


class SpectralDecoder(_Frames):
    """Frames to a waveform.

    Args:
        hop: Samples per frame.
        length: Samples that a frame reaches.
        dim: Channels of the blocks.
        inner: Channels inside of the blocks.
        blocks: How many.
        latent: Channels of the frames.
        padding: Where the blocks look; causal, a sample waits for the frames that reach it.

    Attributes:
        lag: Samples at the end of a causal decoder's output that frames to come will still change.
    """

    def __init__(
        self, hop: int, length: int, dim: int, inner: int, blocks: int, latent: int, *, padding: Padding = "centered"
    ):
        super().__init__(hop, length, padding)
        self.first = nn.Conv1d(latent, dim, 7 if self.ahead else 1, padding=3 if self.ahead else 0)
        self.blocks = convnext_blocks(dim, inner, blocks, padding)
        self.norm_out = nn.LayerNorm(dim, eps=1e-6)
        self.last = nn.Linear(dim, 3 * (length // 2 + 1))
        self.lag = self.before

    def forward(self, x: Float[Tensor, "batch latent frames"]) -> Float[Tensor, "batch 1 time"]:
        y = self.last(self.norm_out(rearrange(self.blocks(self.first(x)), "b d t -> b t d")))
        level, real, imaginary = y.float().chunk(3, -1)
        # The level spans loud and quiet; real and imaginary part have no jump, as an angle would.
        spectrum = torch.complex(real, imaginary) * level.clamp_max(_LOUDEST).exp()
        return self._overlap(self.fourier.inverse(spectrum)).unsqueeze(1)

    def _overlap(self, frames: Tensor) -> Tensor:
        """The sum of shifted frames, over that of the squares of their windows where all frames are there.

        Of a block with frames before it, the sum begins ``lag`` samples early, with what these frames had left open.
        """
        columns = frames.transpose(1, 2)
        joined = columns if self.ahead else with_past(self, columns, -(-self.before // self.hop))
        past, count = joined.shape[-1] - columns.shape[-1], joined.shape[-1]
        total = (count - 1) * self.hop + self.length
        wide = F.fold(joined, (1, total), (1, self.length), stride=(1, self.hop))
        level = self.fourier.window.square().sum() / self.hop
        return wide[:, 0, 0, max(past * self.hop, self.before) : total - self.after] / level
