"""Encoder and decoder on a lapped transform, whose linear parts alone make a codec already.

As many coefficients as samples, all of them real: the transform is inverted by its transpose (Princen, Johnson and
Bradley 1987). Coefficients are companded, so that an error weighs less where it is loud. Networks add to a linear map
and its inverse, and begin with nothing: given the principal axes of some data, training starts from a transform codec.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from codeword.nn.seanet import Encoded
from codeword.nn.spectral import convnext_blocks

_QUIET = 1e-6  # added to squared coefficients, so that companding has a derivative everywhere


class LappedTransform(nn.Module):
    r"""The modified discrete cosine transform with a sine window.

    .. math:: X_k = \sqrt{2 / H} \sum_n w_n x_n \cos \tfrac{\pi}{H} (n + \tfrac12 + \tfrac H2)(k + \tfrac12),
        \qquad w_n = \sin \tfrac{\pi}{2 L} (n + \tfrac12 - \tfrac{H - L}2), \quad n = 0 \ldots 2 H - 1

    where the window rises, over L samples; before that it is 0, after it 1, and it falls as it rose.

    Args:
        hop: H, even.
        overlap: L, even, at most H, which is what it is if not given: a frame sees hop + overlap samples.

    Buffers:
        basis: All windowed cosines.
    """

    basis: Tensor

    def __init__(self, hop: int, overlap: int | None = None):
        super().__init__()
        if hop < 2 or hop % 2:
            raise ValueError(f"a lapped transform needs an even hop, got {hop}")
        self.hop, self.overlap = hop, hop if overlap is None else overlap
        if self.overlap % 2 or not 2 <= self.overlap <= hop:
            raise ValueError(f"an overlap is even, and at most the hop {hop}, got {overlap}")
        place, line = torch.arange(2 * hop).double() + 0.5, torch.arange(hop).double() + 0.5
        rise = ((place[:hop] - (hop - self.overlap) / 2) / self.overlap).clamp(0, 1)
        window = torch.sin(math.pi / 2 * torch.cat([rise, rise.flip(0)]))
        basis = torch.cos(math.pi / hop * (place + hop / 2) * line.unsqueeze(1)) * window * math.sqrt(2 / hop)
        self.register_buffer("basis", basis.float(), persistent=False)

    def forward(self, x: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frames lines"]:
        """Coefficients of all frames that lie within; the first begins at the first sample."""
        return x.unfold(-1, 2 * self.hop, self.hop) @ self.basis.to(x.dtype).t()

    def inverse(self, lines: Float[Tensor, "batch frames lines"]) -> Float[Tensor, "batch time"]:
        """Overlapping frames, added up; the first and the last hop have but one of their two."""
        frames = lines @ self.basis
        total = (frames.shape[1] + 1) * self.hop
        wide = F.fold(frames.transpose(1, 2), (1, total), (1, 2 * self.hop), stride=(1, self.hop))
        return wide[:, 0, 0]


def compand(x: Float[Tensor, "*_"]) -> Float[Tensor, "*_"]:
    """The square root of the magnitude, with the sign; a line near zero."""
    return x * (x.square() + _QUIET).pow(-0.25)


def expand(y: Float[Tensor, "*_"]) -> Float[Tensor, "*_"]:
    """What ``compand`` undoes, but for values near zero: the square, with the sign."""
    return y * y.abs()


class LappedEncoder(nn.Module):
    """A waveform to frames; a frame sees two hops, its own in the middle, and what the blocks add around.

    Args:
        hop: Samples per frame, even.
        dim: Channels of the blocks.
        inner: Channels inside of the blocks.
        blocks: How many.
        latent: Channels of the frames.
    """

    def __init__(self, hop: int, dim: int, inner: int, blocks: int, latent: int):
        super().__init__()
        self.features = dim
        self.transform = LappedTransform(hop)
        self.linear = nn.Linear(hop, latent, bias=False)
        self.first = nn.Linear(2 * hop, dim)
        self.blocks = convnext_blocks(dim, inner, blocks, "centered")
        self.last = nn.Linear(dim, latent)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def lines(self, x: Float[Tensor, "batch 1 time"]) -> Float[Tensor, "batch frames lines"]:
        """Companded coefficients of every frame."""
        half = self.transform.hop // 2
        return compand(self.transform(F.pad(x.squeeze(1), (half, half))))

    def forward(self, x: Float[Tensor, "batch 1 time"]) -> Encoded:
        lines = self.lines(x)
        # Signs and sizes apart: the sign of a line is a matter of phase, its size one of loudness.
        y = self.first(torch.cat([lines, lines.abs()], -1))
        y = self.blocks(y.transpose(1, 2))
        latents = self.linear(lines) + self.last(y.transpose(1, 2))
        return Encoded(latents.transpose(1, 2), y)


class LappedDecoder(nn.Module):
    """Frames to a waveform.

    A frame before the first and one after the last are made from silence, for the halves that overlap with them.
    Arguments are those of ``LappedEncoder``.
    """

    def __init__(self, hop: int, dim: int, inner: int, blocks: int, latent: int):
        super().__init__()
        self.transform = LappedTransform(hop)
        self.linear = nn.Linear(latent, hop, bias=False)
        self.first = nn.Conv1d(latent, dim, 7, padding=3)
        self.blocks = convnext_blocks(dim, inner, blocks, "centered")
        self.norm_out = nn.LayerNorm(dim, eps=1e-6)
        self.last = nn.Linear(dim, hop)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Float[Tensor, "batch latent frames"]) -> Float[Tensor, "batch 1 time"]:
        wide = F.pad(x, (1, 1))
        y = self.last(self.norm_out(rearrange(self.blocks(self.first(wide)), "b d t -> b t d")))
        lines = self.linear(wide.transpose(1, 2)) + y
        hop = self.transform.hop
        start = 3 * hop // 2
        return self.transform.inverse(expand(lines))[:, start : start + x.shape[-1] * hop].unsqueeze(1)


def assign_axes(encoder: LappedEncoder, decoder: LappedDecoder, axes: Float[Tensor, "latent lines"]) -> None:
    """Set the linear parts to orthonormal axes and back."""
    with torch.no_grad():
        encoder.linear.weight.copy_(axes)
        decoder.linear.weight.copy_(axes.t())
