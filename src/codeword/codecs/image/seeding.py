"""Where the training of a model on patches starts: principal axes and closed-form codebooks."""

from collections.abc import Iterable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from codeword.codecs.image.model import ImageModel
from codeword.nn.patch_codec import PatchDecoder, PatchEncoder, assign_axes
from codeword.quantizers import ResidualQuantizer, VectorQuantizer
from codeword.training.em import train
from codeword.training.run import EMConfig

_STEPS = 12  # of k-means for every level


def can_seed(model: ImageModel) -> bool:
    """Whether a model has linear parts and codewords of whole latents."""
    quantizer = model.quantizer
    plain = isinstance(quantizer, ResidualQuantizer) and all(isinstance(s, VectorQuantizer) for s in quantizer.stages)
    return isinstance(model.encoder, PatchEncoder) and plain


@torch.no_grad()
def seed(
    model: ImageModel, batches: Iterable[Float[Tensor, "batch channels height width"]], *, steps: int = _STEPS
) -> None:
    """Make a transform codec of a new model: the principal axes of patches, and k-means of what they see.

    Args:
        model: For which ``can_seed`` holds; its networks add nothing yet.
        batches: Images from 0 to 1, of sides that are multiples of the step; some ten thousand patches are enough.
        steps: Passes of k-means for every level.

    Raises:
        ValueError: If the model is another one, or there are no such images.
    """
    encoder, decoder, batches = model.encoder, model.decoder, list(batches)
    if not (can_seed(model) and isinstance(encoder, PatchEncoder) and isinstance(decoder, PatchDecoder)):
        raise ValueError("only a model with a PatchLayout and a residual quantizer starts as a transform codec")
    if not batches or any(side % model.step for batch in batches for side in batch.shape[-2:]):
        raise ValueError(f"give one batch at least, of images whose sides are multiples of {model.step}")
    patches = torch.cat([rearrange(encoder.patches(batch - 0.5), "b v h w -> (b h w) v") for batch in batches])
    _, axes = torch.linalg.eigh(patches.double().t() @ patches.double())
    axes = axes.flip(1)[:, : model.layout.latent].t().float()
    assign_axes(encoder, decoder, axes)
    train(model.quantizer, patches @ axes.t(), EMConfig(steps=steps))
