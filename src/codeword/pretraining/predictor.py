"""The network that is pretrained: an encoder of what is seen, and a decoder that predicts the codes of what is not."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from codeword.functional.ranks import mean_count
from codeword.nn.transformer import start_xavier
from codeword.nn.vit import Decoder, DecoderConfig, VisionTransformer, ViTConfig
from codeword.pretraining.masking import Masking
from codeword.quantizers.config import register


class Prediction(NamedTuple):
    """What was predicted of the masked patches.

    Attributes:
        loss: Mean cross-entropy over masked patches and levels, in nats (eq. 4 of BRIDLE).
        accuracy: Share of codes that were the likeliest, level by level.
    """

    loss: Float[Tensor, ""]
    accuracy: Float[Tensor, " levels"]


@register
class Predictor(nn.Module):
    """Encoder, decoder and a head with one softmax for every level.

    ::

        x ──► encoder (visible patches alone) ──► decoder (mask tokens between them) ──► head (masked patches alone)
                                                                                             │
                                              codes of a tokenizer (batch, patches, levels) ─┴─► cross-entropy

    Args:
        encoder: Of the encoder.
        decoder: Of the decoder.
        sizes: Codebook sizes of the tokenizer.
    """

    def __init__(self, encoder: ViTConfig, decoder: DecoderConfig, sizes: tuple[int, ...]):
        super().__init__()
        self.config, self.decoder_config, self.sizes = encoder, decoder, tuple(sizes)
        self.encoder = VisionTransformer(encoder)
        self.decoder = Decoder(decoder, encoder)
        self.head = nn.Linear(decoder.dim, sum(sizes))
        start_xavier(self.head)

    def logits(
        self,
        x: Float[Tensor, "batch channels *size"],
        masking: Masking,
        valid: Bool[Tensor, "batch patches"] | None = None,
    ) -> list[Float[Tensor, "batch hidden _"]]:
        """Scores of all codes at the masked patches, one tensor for every level."""
        seen = self.encoder(x, masking.visible, valid).tokens
        grid = self.encoder.grid(x)
        return list(self.head(self.decoder(seen, masking.visible, masking.masked, grid, valid)).split(self.sizes, -1))

    def forward(
        self,
        x: Float[Tensor, "batch channels *size"],
        codes: Int[Tensor, "batch patches levels"],
        masking: Masking,
        valid: Bool[Tensor, "batch patches"] | None = None,
    ) -> Prediction:
        """Predict codes; -1, of padding, counts nowhere. In training, means are over the patches of all ranks."""
        wanted = codes.gather(1, masking.masked.unsqueeze(-1).expand(-1, -1, codes.shape[-1])).long()
        known = (wanted >= 0).sum((0, 1)).float()
        # Averaging gradients over ranks then gives the mean over all patches.
        share = (mean_count(known) if self.training else known).clamp_min(1)
        losses: list[Tensor] = []
        right: list[Tensor] = []
        for level, scores in enumerate(self.logits(x, masking, valid)):
            target = wanted[..., level]
            total = F.cross_entropy(scores.flatten(0, 1).float(), target.flatten(), ignore_index=-1, reduction="sum")
            losses.append(total / share[level])
            right.append((scores.argmax(-1) == target).sum() / known[level].clamp_min(1))
        return Prediction(torch.stack(losses).mean(), torch.stack(right))

    def arguments(self) -> dict[str, object]:
        """The constructor's arguments by name, for the saved configuration."""
        return {"encoder": self.config, "decoder": self.decoder_config, "sizes": self.sizes}
