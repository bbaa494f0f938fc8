"""The audio model: waveform, frames, codes of variable depth, waveform."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from codeword.codecs.audio.layout import Layout, WaveLayout
from codeword.nn.conv import add_weight_norm, remove_weight_norm
from codeword.nn.importance import PAPER, ImportanceNet
from codeword.quantizers import (
    Cosine,
    Gradient,
    MovingAverage,
    Projected,
    Quantizer,
    ResidualQuantizer,
    VectorQuantizer,
)
from codeword.quantizers.config import register
from codeword.quantizers.variable import Surrogate, VariableQuantizer
from codeword.types import Quantized


class Analysed(NamedTuple):
    """What the encoder makes of a waveform.

    Attributes:
        latents: Frames before quantization.
        importance: Of every frame, between 0 and 1; ``None`` from a model of constant depth.
    """

    latents: Float[Tensor, "batch frames latent"]
    importance: Float[Tensor, "batch frames"] | None


@register
class AudioModel(nn.Module):
    """A neural audio codec that decides frame by frame how many codebooks to spend (VRVQ, Chae and Lee 2024).

    ::

        audio ──► encoder ──► latents ───────────────────────────► residual quantizer ──► decoder ──► audio
                     │ features                                            ▲ gate
                     └──► importance net ──► importance times scale ───────┘

    Args:
        sample_rate: Samples per second.
        layout: Encoder and decoder.
        levels: Codebooks.
        size: Codewords in each.
        code_dim: Features of a codeword, found by angle in a projection of the frame (factorised codes); ``None`` for
            codewords of whole frames that follow moving averages.
        kernels: Of the importance net; ``None`` for a model of constant depth.
        detached: Whether the importance net leaves the encoder alone in training.
        surrogate: What stands in for the threshold in derivative.
    """

    def __init__(
        self,
        sample_rate: int = 44100,
        layout: Layout | None = None,
        *,
        levels: int = 8,
        size: int = 1024,
        code_dim: int | None = 8,
        kernels: tuple[int, ...] | None = PAPER,
        detached: bool = False,
        surrogate: Surrogate | None = None,
    ):
        super().__init__()
        self.sample_rate, self.layout = sample_rate, layout or WaveLayout()
        self.size, self.code_dim, self.detached = size, code_dim, detached
        self.encoder, self.decoder = self.layout.encoder(), self.layout.decoder()
        self.importance = (
            None if kernels is None else ImportanceNet(self.encoder.features, kernels, padding=self.layout.padding)
        )
        self.kernels = kernels
        stages = [_level(self.layout.latent, size, code_dim) for _ in range(levels)]
        self.quantizer = VariableQuantizer(ResidualQuantizer(stages), surrogate=surrogate)

    @property
    def levels(self) -> int:
        """Codebooks."""
        return self.quantizer.quantizer.levels

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return self.layout.hop

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    @property
    def bits_per_frame(self) -> float:
        """Of all levels, depth aside."""
        return self.quantizer.quantizer.bits_per_vector

    def analyse(self, audio: Float[Tensor, "batch 1 time"]) -> Analysed:
        """Frames and their importance; the length must be a multiple of the hop."""
        if audio.shape[-1] % self.hop:
            raise ValueError(f"a waveform must be a multiple of {self.hop} samples long, got {audio.shape[-1]}")
        encoded = self.encoder(audio)
        importance = None
        if self.importance is not None:
            importance = self.importance(encoded.features.detach() if self.detached else encoded.features)
        return Analysed(encoded.latents.transpose(1, 2), importance)

    def synthesise(self, latents: Float[Tensor, "batch frames latent"]) -> Float[Tensor, "batch 1 time"]:
        """The waveform of quantized frames."""
        return self.decoder(latents.transpose(1, 2))

    def forward(
        self,
        audio: Float[Tensor, "batch 1 time"],
        scale: Float[Tensor, "batch"] | float | None = None,
        depth: Int[Tensor, "batch"] | int | None = None,
    ) -> Quantized:
        """A waveform through all of the model.

        Args:
            audio: A multiple of the hop long.
            scale: Variable depth at this scale.
            depth: Constant depth, all levels if neither is given.

        Returns:
            The decoded waveform, the codes of every frame and the loss of the quantizer.

        Raises:
            ValueError: If the scale or the depth lies beyond its range.
        """
        if scale is not None:
            self.quantizer.check_scale(scale)
        elif depth is not None:
            self._check_depth(torch.as_tensor(depth))
        latents, importance = self.analyse(audio)
        quantized = self.quantizer.quantizer(latents, None, self.gate(latents, importance, scale, depth))
        return Quantized(self.synthesise(quantized.vectors), quantized.codes, quantized.loss)

    def gate(
        self,
        latents: Float[Tensor, "batch frames latent"],
        importance: Float[Tensor, "batch frames"] | None,
        scale: Float[Tensor, "batch"] | float | None,
        depth: Int[Tensor, "batch"] | int | None,
    ) -> Float[Tensor, "batch frames levels"]:
        """How many levels every frame spends, at a scale or a constant depth."""
        if scale is None:
            depth = torch.as_tensor(self.levels if depth is None else depth, device=latents.device)
            return self.quantizer.constant(depth, latents.shape[:2])
        if importance is None:
            raise ValueError("this model has no importance net: give a depth, not a scale")
        return self.quantizer.gate(importance, torch.as_tensor(scale, device=latents.device).view(-1, 1))

    @property
    def reach(self) -> tuple[int, int]:
        """Frames of context to each side that windows of the encoder and of the decoder need to equal the whole."""
        encoder, decoder = self.layout.reach
        return encoder + sum(kernel - 1 for kernel in self.kernels or ()), decoder

    def _check_depth(self, depth: Int[Tensor, "*_"]) -> None:
        if depth.numel() and not 1 <= int(depth.min()) <= int(depth.max()) <= self.levels:
            least, most = int(depth.min()), int(depth.max())
            raise ValueError(f"this model has {self.levels} levels: choose 1 to {self.levels}, got {least} to {most}")

    def add_weight_norm(self) -> None:
        """Prepare for training: lengths and directions of convolutions apart."""
        for part in (self.encoder, self.decoder, self.importance):
            if part is not None and isinstance(self.layout, WaveLayout):
                add_weight_norm(part)

    def remove_weight_norm(self) -> None:
        """Prepare for inference, and for saving."""
        remove_weight_norm(self)

    def arguments(self) -> dict[str, object]:
        return {
            "sample_rate": self.sample_rate,
            "layout": self.layout,
            "levels": self.levels,
            "size": self.size,
            "code_dim": self.code_dim,
            "kernels": self.kernels,
            "detached": self.detached,
            "surrogate": self.quantizer.surrogate,
        }


def _level(latent: int, size: int, code_dim: int | None) -> Quantizer:
    if code_dim is None:
        return VectorQuantizer(latent, size, learning=MovingAverage())
    return Projected(VectorQuantizer(code_dim, size, geometry=Cosine(), learning=Gradient()), latent)
