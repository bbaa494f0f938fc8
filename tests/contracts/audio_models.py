"""Small audio models with random weights that are loud enough to tell windows apart."""

import torch

from codeword.codecs.audio.layout import LappedLayout, SpectralLayout, WaveLayout
from codeword.codecs.audio.model import AudioModel
from codeword.quantizers.update import codebooks_of

RATE = 16000
LAYOUTS = {
    "wave": WaveLayout(width=4, strides=(2, 4, 5, 8), latent=16, decoder_width=64),
    "wave causal": WaveLayout(width=4, strides=(2, 4, 5, 8), latent=16, decoder_width=64, padding="causal"),
    "spectral": SpectralLayout(dim=16, inner=32, encoder_blocks=2, decoder_blocks=2, latent=16),
    "spectral causal": SpectralLayout(
        dim=16, inner=32, encoder_blocks=2, decoder_blocks=2, latent=16, padding="causal"
    ),
    "lapped": LappedLayout(dim=16, inner=32, encoder_blocks=2, decoder_blocks=2, latent=16),
}


def model(name="wave", *, levels=4, size=64, kernels=(5, 3, 3, 3, 1)):
    torch.manual_seed(0)
    code_dim = None if name == "lapped" else 4
    made = AudioModel(RATE, LAYOUTS[name], levels=levels, size=size, code_dim=code_dim, kernels=kernels)
    for number, book in enumerate(codebooks_of(made)):
        book.assign(torch.randn(book.table.shape, generator=torch.Generator().manual_seed(number)))
    if name == "lapped":  # networks that add something
        for last in (made.encoder.last, made.decoder.last):
            torch.nn.init.normal_(last.weight, std=0.2)
    if made.importance is not None:
        made.importance.layers[-1].weight.data.mul_(30.0)  # untrained, it says 0.5 everywhere
    return made.eval()


def noise(channels, samples, seed=1):
    return torch.randn(channels, samples, generator=torch.Generator().manual_seed(seed)) * 0.2
