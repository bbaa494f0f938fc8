"""The image model: pixels, latents, codes, pixels."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from codeword.codecs.image.layout import ImageLayout, ResidualLayout
from codeword.quantizers import Quantizer, VectorQuantizer
from codeword.quantizers.config import register
from codeword.types import Quantized


@register
class ImageModel(nn.Module):
    """An autoencoder of images around a quantizer (van den Oord et al. 2017), for images of any size.

    ::

        image ──► padded ──► encoder ──► latents ──► quantizer ──► decoder ──► cut ──► image

    Pixels go from 0 to 1. An image whose sides are no multiples of ``step`` is continued by its last row and column,
    and what was added is cut off again.

    Args:
        channels: 1 for grey, 3 for colour.
        layout: Encoder and decoder.
        quantizer: Of latents; by default one codebook of 256.
    """

    def __init__(self, channels: int = 3, layout: ImageLayout | None = None, quantizer: Quantizer | None = None):
        super().__init__()
        self.channels, self.layout = channels, layout or ResidualLayout()
        self.quantizer = quantizer or VectorQuantizer(self.layout.latent, 256)
        if self.quantizer.dim != self.layout.latent:
            raise ValueError(
                f"latents have {self.layout.latent} features, the quantizer is of {self.quantizer.dim}: give both the "
                "same"
            )
        self.encoder, self.decoder = self.layout.encoder(channels), self.layout.decoder(channels)

    @property
    def step(self) -> int:
        """Pixels from latent to latent, down and across."""
        return self.layout.step

    def analyse(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch rows columns latent"]:
        """Latents of images, one for ``step`` x ``step`` pixels.

        Raises:
            ValueError: If the images have another number of channels.
        """
        if images.shape[1] != self.channels:
            raise ValueError(f"this model is of {self.channels}-channel images, got {images.shape[1]} channels")
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % self.step, 0, -height % self.step), mode="replicate")
        return rearrange(self.encoder(padded - 0.5), "b latent rows columns -> b rows columns latent")

    def synthesise(
        self, latents: Float[Tensor, "batch rows columns latent"], size: tuple[int, int] | None = None
    ) -> Float[Tensor, "batch channels _ _"]:
        """Images of latents, cut to a height and width; values may lie a little below 0 or above 1."""
        made = self.decoder(rearrange(latents, "b rows columns latent -> b latent rows columns")) + 0.5
        return made if size is None else made[..., : size[0], : size[1]]

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Quantized:
        """Images through all of the model, for training: decoded images, codes, and the loss of the quantizer."""
        quantized = self.quantizer(self.analyse(images))
        made = self.synthesise(quantized.vectors, (images.shape[-2], images.shape[-1]))
        return Quantized(made, quantized.codes, quantized.loss)

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "batch channels height width"]) -> Int[Tensor, "batch rows columns levels"]:
        """Codes of images."""
        return self.quantizer.encode(self.analyse(images))

    @torch.no_grad()
    def decode(
        self, codes: Int[Tensor, "batch rows columns levels"], size: tuple[int, int] | None = None
    ) -> Float[Tensor, "batch channels _ _"]:
        """Images of codes, cut to a height and width."""
        return self.synthesise(self.quantizer.decode(codes), size)

    def arguments(self) -> dict[str, object]:
        return {"channels": self.channels, "layout": self.layout, "quantizer": self.quantizer}
