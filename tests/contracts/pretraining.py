"""Small parts of pretraining on made-up images, whose halves are bright or dark."""

from dataclasses import dataclass

import torch

from codeword.nn.vit import DecoderConfig, ViTConfig
from codeword.pretraining.samples import TensorSamples
from codeword.pretraining.tokenizer import ColdTokenizer, fit
from codeword.quantizers import ResidualQuantizer, VectorQuantizer
from codeword.quantizers.config import register
from codeword.training.run import EMConfig

PATCH = (4, 4)
CONFIG = ViTConfig(channels=1, size=(12, 8), patch=PATCH, dim=16, depth=1, heads=2, cls_token=False)
DECODER = DecoderConfig(dim=16, depth=1, heads=2)
DIM, SIZES = 12, (8, 8)


@register
@dataclass(frozen=True)
class Brighter:
    """Adds a number that is drawn."""

    most: float = 1.0

    def __call__(self, x, generator):
        return x + self.most * torch.rand((), generator=generator)


def images(count=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    bright = torch.rand(count, 1, 2, 1, generator=generator).repeat_interleave(6, 2)
    return (200 * bright + 40 * torch.rand(count, 1, 12, 8, generator=generator)).to(torch.uint8)


def samples(count=24, seed=0, draws=0, **options):
    return TensorSamples(images(count, seed), PATCH, mean=0.5, deviation=0.3, seed=draws, **options)


def quantizer():
    return ResidualQuantizer([VectorQuantizer(DIM, size) for size in SIZES])


def cold(seed=0):
    """A cold tokenizer with codebooks of the images above."""
    tokenizer = ColdTokenizer(1, PATCH, quantizer(), seed=seed)
    data = samples(64, seed=9)
    fit(tokenizer, [data.inputs(range(64), [0] * 64)], EMConfig(steps=3))
    return tokenizer.eval()
