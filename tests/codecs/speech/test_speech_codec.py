"""Speech through files: rates are met, finer steps are better, and no float chooses a table."""

import io

import numpy as np
import pytest
import torch

from codeword.codecs.speech.codec import SpeechCodec, export, integer_books
from codeword.codecs.speech.model import SpeechModel
from codeword.formats.speech import SpeechFileReader
from codeword.functional.bands import UNIT
from codeword.quantizers import KMeans, MovingAverage, ProductQuantizer, ResidualQuantizer, VectorQuantizer

EDGES = (0, 2, 6, 14, 32)
QUANTIZERS = {
    "vector": lambda: VectorQuantizer(4, 16, learning=MovingAverage()),
    "residual": lambda: ResidualQuantizer([VectorQuantizer(4, 8) for _ in range(2)]),
    "product": lambda: ProductQuantizer([VectorQuantizer(2, 8) for _ in range(2)]),
}


def speech(samples=3000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples + 1, generator=generator)
    loud = torch.exp(2 * torch.sin(torch.arange(samples) / 150 + seed))
    return 0.02 * (noise[1:] + 0.7 * noise[:-1]) * loud


def made(name="vector"):
    torch.manual_seed(0)
    model = SpeechModel(EDGES, QUANTIZERS[name](), overlap=16)
    model.train().code(model.analyse(torch.stack([speech(seed=seed) for seed in range(4)])), torch.zeros(4))
    return SpeechCodec(model, export(model, [speech(seed=seed) for seed in range(4)]))


@pytest.fixture(scope="module")
def codec():
    return made()


def written(codec, audio, **rate):
    file = io.BytesIO()
    done = codec.compress(audio, file, **rate)
    assert done.num_bytes == len(file.getvalue())
    return done, file.getvalue()


def back(codec, data):
    return codec.decompress(SpeechFileReader(io.BytesIO(data), tables=codec.tables))


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("samples", [1, 16, 500])
def test_signals_come_back_in_their_length(name, samples):
    codec, audio = made(name), speech(samples)
    _, data = written(codec, audio, step=-20 * UNIT)
    found = back(codec, data)
    assert found.shape == audio.shape
    # Every line is off by half a step at most: 2 ** ((s + 3/4 e) / 128).
    assert (found - audio).abs().max() < 0.05 * audio.abs().max() + 1e-3


def test_finer_steps_are_better_and_larger(codec):
    audio = speech(seed=9)
    errors, sizes = [], []
    for step in (-2, -6, -10, -16):
        done, data = written(codec, audio, step=step * UNIT)
        sizes.append(done.num_bytes)
        errors.append(float((back(codec, data) - audio).square().mean()))
    assert sizes == sorted(set(sizes))
    assert errors == sorted(set(errors), reverse=True)


def test_rates_are_met(codec):
    audio = speech(40_000, seed=7)
    for kbps in (12.0, 20.0, 40.0):
        done, _ = written(codec, audio, kbps=kbps)
        assert done.kbps == pytest.approx(kbps, rel=0.005)
        assert done.note == ""
    done, _ = written(codec, audio, kbps=0.5)
    assert done.note.startswith("0.5 kbps was asked for")


def test_bytes_are_the_same_whatever_the_number_of_threads(codec):
    before = torch.get_num_threads()
    audio, found = speech(5000, seed=3), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(written(codec, audio, step=-8 * UNIT)[1])
    torch.set_num_threads(before)
    assert found[0] == found[1]


def test_integers_read_from_bytes_do_not_need_the_model(codec):
    """A decoder with the tables alone reads what was written."""
    _, data = written(codec, speech(seed=4), step=-9 * UNIT)
    numbers = SpeechFileReader(io.BytesIO(data), tables=codec.tables).read_all()
    assert numbers.dtype == np.int64
    again = SpeechFileReader(io.BytesIO(data), tables=type(codec.tables).from_arrays(codec.tables.arrays())).read_all()
    assert np.array_equal(numbers, again)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_books_add_up_to_envelopes(name):
    quantizer = made(name).model.quantizer
    books = integer_books(quantizer)
    codes = torch.stack([torch.randint(size, (50,)) for size in quantizer.sizes], 1)
    total = sum(book[codes[:, level]] for level, book in enumerate(books))
    assert np.abs(total / UNIT - quantizer.decode(codes).detach().numpy()).max() <= len(books) * 0.5 / UNIT + 1e-4


def test_what_does_not_fit_is_refused(codec):
    for rate, message in [
        ({}, "give kbps or step"),
        ({"kbps": 8.0, "step": 3}, "give kbps or step"),
        ({"kbps": -1.0}, "is positive"),
        ({"step": 10**6}, "steps have exponents from"),
    ]:
        file = io.BytesIO()
        with pytest.raises(ValueError, match=message):
            codec.compress(speech(100), file, **rate)
        assert not file.getvalue()
    with pytest.raises(ValueError, match="these tables belong to another model"):
        SpeechCodec(made("residual").model, codec.tables)
    _, data = written(codec, speech(100), step=0)
    torch.manual_seed(1)
    other = SpeechModel(EDGES, VectorQuantizer(4, 16, seeding=KMeans()), overlap=8)
    other.train().code(other.analyse(speech().view(1, -1)), torch.zeros(1))
    with pytest.raises(ValueError, match="the file was written with model"):
        SpeechCodec(other, codec.tables).decompress(SpeechFileReader(io.BytesIO(data), tables=codec.tables))
