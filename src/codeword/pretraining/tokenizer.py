"""What turns every patch of an input into the codes that an encoder has to predict."""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from codeword.nn.patches import grid_of, patchify
from codeword.nn.positions import sincos
from codeword.nn.transformer import start_xavier
from codeword.nn.vit import VisionTransformer, ViTConfig
from codeword.quantizers.base import Quantizer
from codeword.quantizers.config import describe, register
from codeword.training.em import train
from codeword.training.run import EMConfig
from codeword.types import Quantized


class Tokenizer(nn.Module, ABC):
    """The contract of a tokenizer: one vector of length 1 for every patch, quantized by true residuals.

    ::

        x (batch, channels, *size) ──► latents (batch, patches, dim), of length 1 ──► codes (batch, patches, levels)

    Attributes:
        quantizer: What gives the latents their codes.
        patch: Size of a patch along every axis.
    """

    quantizer: Quantizer
    patch: tuple[int, ...]

    @abstractmethod
    def project(
        self, x: Float[Tensor, "batch channels *size"], valid: Bool[Tensor, "batch patches"] | None
    ) -> Float[Tensor, "batch patches dim"]:
        """Vectors of any length."""

    @abstractmethod
    def arguments(self) -> dict[str, object]:
        """The constructor's arguments by name, for the saved configuration."""

    def latents(
        self, x: Float[Tensor, "batch channels *size"], valid: Bool[Tensor, "batch patches"] | None = None
    ) -> Float[Tensor, "batch patches dim"]:
        """What is quantized: normalised once, here, and never again between levels."""
        return F.normalize(self.project(x, valid).float(), dim=-1)

    def encode(
        self, x: Float[Tensor, "batch channels *size"], valid: Bool[Tensor, "batch patches"] | None = None
    ) -> Int[Tensor, "batch patches levels"]:
        """Codes of all patches, without gradient; -1 in those that are padding."""
        with torch.no_grad():
            codes = self.quantizer.encode(self.latents(x, valid))
        return codes if valid is None else torch.where(valid.unsqueeze(-1), codes, -1)

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of all that decides about codes."""
        described = {name: describe(value) for name, value in self.arguments().items()}
        digest = hashlib.sha256(json.dumps([type(self).__name__, described], sort_keys=True).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


@register
class ColdTokenizer(Tokenizer):
    """A frozen random projection of the patches alone, for the first iteration (Chiu et al. 2022).

    The patches' places are no part of it: a code that knew its place could be guessed without a look at the input.

    Args:
        channels: Channels of an input.
        patch: Size of a patch along every axis.
        quantizer: Its codebooks are found by :func:`fit`.
        seed: Of the projection.
        offset: How long a constant vector is that is added to the projection, beside the projection of a patch of
            normalised values. Without it, as published, vectors that are made to have length 1 tell patches that are
            nearly 0 apart by their noise, and louder ones not from softer ones.
        places: Add the patches' places all the same, as the published code does: for comparison alone.

    Buffers:
        projection: Fixed.
        constant: Fixed.
    """

    projection: Tensor
    constant: Tensor

    def __init__(
        self,
        channels: int,
        patch: tuple[int, ...],
        quantizer: Quantizer,
        *,
        seed: int = 0,
        offset: float = 0.0,
        places: bool = False,
    ):
        super().__init__()
        self.channels, self.patch, self.seed, self.quantizer = channels, tuple(patch), seed, quantizer
        self.offset, self.places = offset, places
        values, generator = channels * math.prod(patch), torch.Generator().manual_seed(seed)
        reach = math.sqrt(6 / (values + quantizer.dim))
        self.register_buffer("projection", reach * (2 * torch.rand(quantizer.dim, values, generator=generator) - 1))
        usual = reach * math.sqrt(quantizer.dim * values / 3)  # length of the projection of independent normal values
        direction = F.normalize(torch.randn(quantizer.dim, generator=generator), dim=0)
        self.register_buffer("constant", offset * usual * direction)

    def project(
        self, x: Float[Tensor, "batch channels *size"], valid: Bool[Tensor, "batch patches"] | None
    ) -> Float[Tensor, "batch patches dim"]:
        projected = F.linear(patchify(x, self.patch), self.projection, self.constant)
        if not self.places:
            return projected
        return projected + sincos(grid_of(tuple(x.shape[2:]), self.patch, None), self.quantizer.dim).to(projected)

    def arguments(self) -> dict[str, object]:
        names = ("channels", "patch", "quantizer", "seed", "offset", "places")
        return {name: getattr(self, name) for name in names}


@register
class TrainedTokenizer(Tokenizer):
    """A transformer, a head and a quantizer, trained to keep what a teacher knows of every patch.

    Args:
        config: Of the transformer.
        quantizer: Of the head's vectors.
    """

    def __init__(self, config: ViTConfig, quantizer: Quantizer):
        super().__init__()
        self.config, self.quantizer, self.patch = config, quantizer, config.patch
        self.encoder = VisionTransformer(config)
        self.head = nn.Sequential(nn.Linear(config.dim, config.dim), nn.Tanh(), nn.Linear(config.dim, quantizer.dim))
        self.head.apply(start_xavier)

    def project(
        self, x: Float[Tensor, "batch channels *size"], valid: Bool[Tensor, "batch patches"] | None
    ) -> Float[Tensor, "batch patches dim"]:
        return self.head(self.encoder(x, valid=valid).tokens[:, self.config.prefix :])

    def forward(
        self, x: Float[Tensor, "batch channels *size"], valid: Bool[Tensor, "batch patches"] | None = None
    ) -> Quantized:
        """Quantize inside of training."""
        return self.quantizer(self.latents(x, valid), valid)

    def arguments(self) -> dict[str, object]:
        return {"config": self.config, "quantizer": self.quantizer}


@torch.no_grad()
def fit(
    tokenizer: Tokenizer,
    batches: Iterable[tuple[Float[Tensor, "batch channels *size"], Bool[Tensor, "batch patches"] | None]],
    config: EMConfig | None = None,
) -> float:
    """Find the codebooks of a tokenizer in closed form, on latents of real inputs.

    Args:
        tokenizer: Only its quantizer changes.
        batches: Inputs, and which patches are no padding.
        config: Of the trainer.

    Returns:
        The mean squared distance of latents, which have length 1, from their codewords.
    """
    parts = []
    for x, valid in batches:
        latents = tokenizer.latents(x, valid)
        parts.append(latents.flatten(0, 1) if valid is None else latents[valid])
    return train(tokenizer.quantizer, torch.cat(parts), config).error
