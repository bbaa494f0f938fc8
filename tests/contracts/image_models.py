"""A small image codec that needs no training, and images made by arithmetic alone."""

import torch

from codeword.codecs.image.codec import ImageCodec
from codeword.codecs.image.layout import PatchLayout
from codeword.codecs.image.model import ImageModel
from codeword.codecs.image.seeding import seed
from codeword.quantizers import MovingAverage, ResidualQuantizer, VectorQuantizer

PATCH = PatchLayout(latent=16, dim=16, inner=16, encoder_blocks=1, decoder_blocks=2)


def residual(dim=16, levels=4, size=16):
    return ResidualQuantizer([VectorQuantizer(dim, size, learning=MovingAverage()) for _ in range(levels)])


def smooth(height, width, channels=3, seed=0):
    """Slopes and an edge, by arithmetic alone."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = [
        127 + 80 * torch.sin((row * (k + 1) + column * 2 + seed) / 9) + 40 * (column > width // 2) for k in range(3)
    ]
    return torch.stack(waves[:channels]).clamp(0, 255).byte()


def image_codec():
    """Axes and codebooks of a few slopes, a decoder that is not linear, entropy tables."""
    torch.manual_seed(0)
    model = ImageModel(3, PATCH, residual(), importance=8)
    seed(model, [smooth(96, 96, seed=number).unsqueeze(0) / 255 for number in range(6)])
    torch.nn.init.normal_(model.decoder.last.weight, std=0.002)
    made = ImageCodec(model.eval())
    made.learn_tables([smooth(120, 96, seed=number) for number in range(6)], [2.0, 4.0, 8.0])
    return made
