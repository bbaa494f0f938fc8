"""The image model: pixels, latents, codes of the same or of varying depth, pixels."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from codeword.codecs.image.layout import ImageLayout, ResidualLayout
from codeword.nn.importance import PlaneImportance
from codeword.quantizers import Quantizer, VectorQuantizer
from codeword.quantizers.config import register
from codeword.quantizers.variable import Allocation, Surrogate, check_gates
from codeword.types import Quantized


class AnalysedImage(NamedTuple):
    """What the encoder makes of images.

    Attributes:
        latents: One for ``step`` x ``step`` pixels, before quantization.
        importance: Of every latent, between 0 and 1; ``None`` from a model of constant depth.
    """

    latents: Float[Tensor, "batch rows columns latent"]
    importance: Float[Tensor, "batch rows columns"] | None


@register
class ImageModel(nn.Module):
    """An autoencoder of images around a quantizer (van den Oord et al. 2017), for images of any size.

    ::

        image ──► padded ──► encoder ──► latents ──► quantizer ──► decoder ──► cut ──► image
                                            │            ▲ gate
                                            └─► importance times scale

    Pixels go from 0 to 1. An image whose sides are no multiples of ``step`` is continued by its last row and column,
    and what was added is cut off again.

    Args:
        channels: 1 for grey, 3 for colour.
        layout: Encoder and decoder.
        quantizer: Of latents; by default one codebook of 256.
        importance: Channels of the network that decides place by place how many levels to spend, as audio models do
            frame by frame; ``None`` for a model of constant depth.
        surrogate: What stands in for the threshold in derivative.
    """

    def __init__(
        self,
        channels: int = 3,
        layout: ImageLayout | None = None,
        quantizer: Quantizer | None = None,
        *,
        importance: int | None = None,
        surrogate: Surrogate | None = None,
    ):
        super().__init__()
        if channels not in (1, 3):
            raise ValueError(f"images have 1 channel or 3, got {channels}")
        self.channels, self.layout = channels, layout or ResidualLayout()
        self.quantizer = quantizer or VectorQuantizer(self.layout.latent, 256)
        if self.quantizer.dim != self.layout.latent:
            raise ValueError(
                f"latents have {self.layout.latent} features, the quantizer is of {self.quantizer.dim}: give both the "
                "same"
            )
        self.encoder, self.decoder = self.layout.encoder(channels), self.layout.decoder(channels)
        self.importance_width = importance
        self.importance = None if importance is None else PlaneImportance(self.layout.latent, importance)
        self.allocation = Allocation(self.quantizer.gates, surrogate)
        if importance is not None:
            check_gates(self.quantizer)
            if self.quantizer.gates != self.quantizer.levels:
                raise ValueError(
                    f"{self.quantizer.gates} gates for {self.quantizer.levels} levels: importance needs a residual "
                    "quantizer of single codebooks"
                )

    @property
    def step(self) -> int:
        """Pixels from latent to latent, down and across."""
        return self.layout.step

    @property
    def levels(self) -> int:
        """Codes of a latent."""
        return self.quantizer.levels

    @property
    def reach(self) -> tuple[int, int]:
        """Latents of context to each side that tiles of the encoder and of the decoder need to equal the whole."""
        encoder, decoder = self.layout.reach
        return encoder + (0 if self.importance is None else self.importance.reach), decoder

    def analyse(self, images: Float[Tensor, "batch channels height width"]) -> AnalysedImage:
        """Latents of images, one for ``step`` x ``step`` pixels, and how important they are.

        Raises:
            ValueError: If the images have another number of channels.
        """
        if images.shape[1] != self.channels:
            raise ValueError(f"this model is of {self.channels}-channel images, got {images.shape[1]} channels")
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % self.step, 0, -height % self.step), mode="replicate")
        latents = rearrange(self.encoder(padded - 0.5), "b latent rows columns -> b rows columns latent")
        return AnalysedImage(latents, None if self.importance is None else self.importance(latents))

    def synthesise(
        self, latents: Float[Tensor, "batch rows columns latent"], size: tuple[int, int] | None = None
    ) -> Float[Tensor, "batch channels _ _"]:
        """Images of latents, cut to a height and width; values may lie a little below 0 or above 1."""
        made = self.decoder(rearrange(latents, "b rows columns latent -> b latent rows columns")) + 0.5
        return made if size is None else made[..., : size[0], : size[1]]

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        scale: Float[Tensor, " batch"] | float | None = None,
    ) -> Quantized:
        """Images through all of the model.

        Args:
            images: Of one size.
            scale: Variable depth at this scale; all levels if not given.

        Returns:
            Decoded images, codes, and the loss of the quantizer.

        Raises:
            ValueError: If the scale lies beyond its range, or the model has a constant depth.
        """
        latents, importance = self.analyse(images)
        gate = None if scale is None else self._gate(importance, scale)
        return self.through(latents, gate, (images.shape[-2], images.shape[-1]))

    def through(
        self,
        latents: Float[Tensor, "batch rows columns latent"],
        gate: Float[Tensor, "batch rows columns gates"] | None,
        size: tuple[int, int],
    ) -> Quantized:
        """Latents through quantizer and decoder, for training: decoded images, codes, and the quantizer's loss."""
        quantized = self.quantizer(latents, None, gate)
        return Quantized(self.synthesise(quantized.vectors, size), quantized.codes, quantized.loss)

    def _gate(
        self, importance: Float[Tensor, "batch rows columns"] | None, scale: Float[Tensor, " batch"] | float
    ) -> Float[Tensor, "batch rows columns gates"]:
        if importance is None:
            raise ValueError("this model has no importance net: its depth is constant, give no scale")
        self.allocation.check_scale(scale)
        return self.allocation.gate(importance, torch.as_tensor(scale, device=importance.device).view(-1, 1, 1))

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "batch channels height width"]) -> Int[Tensor, "batch rows columns levels"]:
        """Codes of images, of all levels."""
        return self.quantizer.encode(self.analyse(images).latents)

    @torch.no_grad()
    def decode(
        self, codes: Int[Tensor, "batch rows columns levels"], size: tuple[int, int] | None = None
    ) -> Float[Tensor, "batch channels _ _"]:
        """Images of codes, cut to a height and width."""
        return self.synthesise(self.quantizer.decode(codes), size)

    def arguments(self) -> dict[str, object]:
        return {
            "channels": self.channels,
            "layout": self.layout,
            "quantizer": self.quantizer,
            "importance": self.importance_width,
            "surrogate": self.allocation.surrogate,
        }
