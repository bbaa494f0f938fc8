"""Files name the model that decodes them: how its codes were learned and found does not matter."""

from dataclasses import replace

import pytest

from codeword.codecs.audio import storage as audio
from codeword.codecs.audio.layout import LappedLayout
from codeword.codecs.audio.model import AudioModel
from codeword.codecs.image import storage as image
from codeword.codecs.image.model import ImageModel
from codeword.codecs.speech import storage as speech
from codeword.codecs.speech.model import SpeechModel
from codeword.quantizers import (
    Beam,
    DepthDropout,
    Gradient,
    KMeans,
    MovingAverage,
    ReplaceUnused,
    ResidualQuantizer,
    Rotation,
    Uniform,
    VectorQuantizer,
)
from codeword.quantizers.update import codebooks_of
from codeword.quantizers.variable import Smooth
from contracts.image_models import PATCH
from contracts.speech_models import EDGES

LAPPED = LappedLayout(dim=16, inner=16, encoder_blocks=1, decoder_blocks=1, latent=16)


def levels(dim, *, otherwise=False):
    learned = {"learning": MovingAverage(), "seeding": KMeans()}
    if otherwise:
        learned = {"learning": Gradient(), "seeding": Uniform(), "revival": ReplaceUnused(), "estimator": Rotation()}
    books = [VectorQuantizer(dim, 8, **learned) for _ in range(2)]
    return ResidualQuantizer(books, **({"search": Beam(2), "dropout": DepthDropout(0.5)} if otherwise else {}))


MADE = {
    "audio": (
        audio.fingerprint,
        lambda: AudioModel(16000, LAPPED, levels=2, size=8, code_dim=None),
        lambda: AudioModel(
            16000,
            LAPPED,
            levels=2,
            size=8,
            code_dim=None,
            kernels=(3, 3, 3, 3, 1),
            detached=True,
            surrogate=Smooth(alpha=2.0),
        ),
        lambda: AudioModel(16000, replace(LAPPED, hop_length=160), levels=2, size=8, code_dim=None),
    ),
    "image": (
        image.fingerprint,
        lambda: ImageModel(3, PATCH, levels(16)),
        lambda: ImageModel(
            3, replace(PATCH, encoder_blocks=2), levels(16, otherwise=True), importance=4, surrogate=Smooth(alpha=2.0)
        ),
        lambda: ImageModel(1, PATCH, levels(16)),
    ),
    "speech": (
        speech.fingerprint,
        lambda: SpeechModel(EDGES, levels(4), overlap=16),
        lambda: SpeechModel(EDGES, levels(4, otherwise=True), overlap=16),
        lambda: SpeechModel(EDGES, levels(4), overlap=8),
    ),
}


@pytest.mark.parametrize("kind", list(MADE))
def test_what_makes_codes_is_no_part_of_a_fingerprint(kind):
    fingerprint, one, other, another = MADE[kind]
    first, second, third = one(), other(), another()
    for model in (second, third):  # the same weights, as far as they fit
        kept = model.state_dict()
        same = {name: x for name, x in first.state_dict().items() if name in kept and kept[name].shape == x.shape}
        model.load_state_dict(same, strict=False)
    assert fingerprint(second) == fingerprint(first)
    assert fingerprint(third) != fingerprint(first)


@pytest.mark.parametrize("kind", ["audio", "image"])
def test_codewords_are_part_of_a_fingerprint(kind):
    fingerprint, one, *_ = MADE[kind]
    model = one()
    before = fingerprint(model)
    book = codebooks_of(model)[-1]
    book.assign(book.table + 1)
    assert fingerprint(model) != before
