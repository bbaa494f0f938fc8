"""Small speech codecs, and something to give them."""

import torch

from codeword.codecs.speech.codec import SpeechCodec
from codeword.codecs.speech.export import export
from codeword.codecs.speech.model import SpeechModel
from codeword.quantizers import MovingAverage, ProductQuantizer, ResidualQuantizer, VectorQuantizer

EDGES = (0, 2, 6, 14, 32)
QUANTIZERS = {
    "vector": lambda: VectorQuantizer(4, 16, learning=MovingAverage()),
    "residual": lambda: ResidualQuantizer([VectorQuantizer(4, 8) for _ in range(2)]),
    "product": lambda: ProductQuantizer([VectorQuantizer(2, 8) for _ in range(2)]),
}


def speech(samples=3000, seed=0):
    """Noise that is coloured and rises and falls."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples + 1, generator=generator)
    loud = torch.exp(2 * torch.sin(torch.arange(samples) / 150 + seed))
    return 0.02 * (noise[1:] + 0.7 * noise[:-1]) * loud


def speech_codec(name="vector"):
    """A codec with hops of 32 samples."""
    torch.manual_seed(0)
    model = SpeechModel(EDGES, QUANTIZERS[name](), overlap=16)
    model.train().code(model.analyse(torch.stack([speech(seed=seed) for seed in range(4)])), torch.zeros(4))
    return SpeechCodec(model, export(model, [speech(seed=seed) for seed in range(4)]))
