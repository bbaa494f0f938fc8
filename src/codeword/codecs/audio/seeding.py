"""Where the training of a model on a lapped transform starts: principal axes and closed-form codebooks."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.codecs.audio.model import AudioModel
from codeword.nn.lapped import LappedDecoder, LappedEncoder, assign_axes
from codeword.training.em import train
from codeword.training.run import EMConfig

_STEPS = 12  # of k-means for every level


def can_seed(model: AudioModel) -> bool:
    """Whether a model has linear parts and codewords of whole frames."""
    return isinstance(model.encoder, LappedEncoder) and model.code_dim is None


@torch.no_grad()
def seed(model: AudioModel, batches: Iterable[Float[Tensor, "batch 1 time"]], *, steps: int = _STEPS) -> None:
    """Make a transform codec of a new model: the principal axes of companded lines, and k-means of what they see.

    Args:
        model: For which ``can_seed`` holds; its networks add nothing yet.
        batches: Waveforms, a multiple of the hop long; some ten thousand frames are enough.
        steps: Passes of k-means for every level.
    """
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder, LappedEncoder) and isinstance(decoder, LappedDecoder)
    lines = torch.cat([encoder.lines(batch).flatten(0, 1) for batch in batches])
    _, axes = torch.linalg.eigh(lines.double().t() @ lines.double())
    assign_axes(encoder, decoder, axes.flip(1)[:, : model.layout.latent].t().float())
    train(model.quantizer.quantizer, encoder.linear(lines), EMConfig(steps=steps))
