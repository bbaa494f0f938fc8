from dataclasses import replace

import pytest
import torch

from codeword.codecs.speech.model import SpeechModel
from codeword.codecs.speech.training import SpeechTask, SpeechTraining
from codeword.functional.bands import DEAD, rounded
from codeword.quantizers import (
    Gradient,
    KMeans,
    MovingAverage,
    NoiseSubstitution,
    ProductQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)
from codeword.quantizers.storage import read_module, write_module
from codeword.training.logging import read_log
from codeword.training.loop import LOG, train
from codeword.training.loop_config import LoopConfig
from codeword.types import Quantized

BANDS = (0, 2, 6, 14, 32)
LOOP = LoopConfig(steps=6, validate_every=3, checkpoint_every=2, log_every=1, progress=False, accelerator="cpu")
ALONE = Gradient(codebook=0.0, commitment=0.0)
QUANTIZERS = {
    "noise": lambda: VectorQuantizer(4, 16, learning=ALONE, estimator=NoiseSubstitution(), seeding=KMeans()),
    "moving average": lambda: VectorQuantizer(4, 16, learning=MovingAverage()),
    "residual": lambda: ResidualQuantizer([VectorQuantizer(4, 8) for _ in range(2)]),
    "product": lambda: ProductQuantizer([VectorQuantizer(2, 8) for _ in range(2)]),
}


def speech(count=4, samples=1500, seed=0):
    """Noise whose loudness and slope change."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 1, samples, generator=generator)
    slope = 0.9 * torch.rand(count, 1, 1, generator=generator)
    coloured = noise[..., 1:] + slope * noise[..., :-1]
    loud = torch.exp(2 * torch.sin(torch.arange(samples - 1) / 150 + 6 * torch.rand(count, 1, 1, generator=generator)))
    return 0.02 * coloured * loud


def model(quantizer=None):
    torch.manual_seed(0)
    return SpeechModel(BANDS, quantizer or QUANTIZERS["noise"](), overlap=16)


class Data:
    def batches(self, start, rank, world_size):
        number = start
        while True:
            yield speech(seed=number)
            number += 1


def task(name="noise", config=None):
    return SpeechTask(model(QUANTIZERS[name]()), Data(), config or SpeechTraining(), held=speech(2, seed=99))


@pytest.mark.parametrize("samples", [1, 31, 32, 500])
def test_lines_give_back_the_signal(samples):
    made, audio = model(), speech(2, samples + 1)[:, 0]
    lines = made.analyse(audio)
    assert lines.shape == (2, made.num_frames(samples), 32)
    torch.testing.assert_close(made.synthesise(lines, samples), audio, atol=1e-5, rtol=0)


def test_the_codec_of_the_paper_has_windows_of_30_ms():
    made = SpeechModel()
    assert (made.hop, made.transform.overlap) == (320, 160)
    assert int((made.transform.basis.abs().amax(0) > 0).sum()) == 480
    assert made.quantizer.sizes == (4096,) and made.quantizer.dim == 16


def test_rounding_costs_what_the_distribution_of_integers_says():
    made, lines = model(), model().analyse(speech()[:, 0])
    made.train().code(lines, torch.zeros(4))
    made.eval()
    step = torch.tensor([-8.0, -6.0, -4.0, -2.0])
    coded = made.code(lines, step)
    energies = made.envelope.energies(made.quantizer.decode(made.encode_envelope(lines)))
    torch.testing.assert_close(coded.energies, energies)
    exponents = step.view(-1, 1, 1) + 0.5 * energies
    values = torch.from_numpy(rounded((lines * torch.exp2(-exponents / 2)).detach().numpy()))
    wanted = made.lines.mixture(energies - exponents, made.band).bits(values, DEAD)
    torch.testing.assert_close(coded.bits, wanted)
    assert (coded.bits.mean((1, 2)).diff() < 0).all()  # coarser steps, fewer bits
    some = torch.tensor([3, 0, 31])
    torch.testing.assert_close(made.code(lines, step, some).bits, wanted[..., some])
    zero = values == 0
    torch.testing.assert_close(coded.bits_of_zero[zero], coded.bits[zero])


@pytest.mark.parametrize("name", QUANTIZERS)
def test_every_quantizer_learns_to_save_bits(name, tmp_path):
    made = task(name, SpeechTraining(learning_rate=1e-2))
    made.model.train().code(made.model.analyse(speech(8, seed=50)[:, 0]), torch.zeros(8))  # seeds codebooks
    before = made.eval().validate()["loss"]
    train(made, replace(LOOP, steps=60, validate_every=60, checkpoint_every=60), tmp_path)
    assert made.eval().validate()["loss"] < before - 1
    assert {"bits", "noise", "quantizer"} <= read_log(tmp_path / LOG)[0].keys()


def test_the_codebook_learns_from_bits_alone():
    made = task("noise", SpeechTraining(quantizer=0.0))
    batch = next(made.batches(0, 0, 1))
    made.train().step(batch, 0)
    found = made.step(batch, 0)
    found.loss.backward()
    (table,) = [value for name, value in made.model.named_parameters() if name.endswith("codebook.table")]
    assert table.grad.abs().sum() > 0


class Louder(torch.nn.Module):
    """Envelopes as they are, so many octaves above."""

    def __init__(self, octaves):
        super().__init__()
        self.octaves = octaves

    def forward(self, x):
        return Quantized(x + self.octaves, torch.zeros(*x.shape[:-1], 1, dtype=torch.long), torch.zeros(()))


@torch.no_grad()
def test_a_louder_envelope_is_no_way_to_save_bits():
    """The noise of steps that are too coarse costs what they save, but for how well distributions fit."""
    made = task().eval()
    lines = made.model.analyse(made.held[:, 0])
    costs = []
    for octaves in (0.0, 3.0):
        made.model.quantizer = Louder(octaves)
        cost = made._cost(lines, torch.full((2,), 4.0))
        costs.append((float(cost.bits), float(cost.noise)))
    assert costs[0][1] == 0.0
    saved = costs[0][0] - costs[1][0]
    assert saved > 10
    assert sum(costs[1]) - sum(costs[0]) == pytest.approx(0.0, abs=0.1 * saved)


def test_an_interrupted_run_goes_on_to_the_same_numbers(tmp_path):
    whole = task()
    train(whole, LOOP, tmp_path / "whole")
    train(task(), replace(LOOP, steps=4), tmp_path / "parts")
    parts = task()
    train(parts, LOOP, tmp_path / "parts")
    for key, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[key], value), key


def test_models_come_back(tmp_path):
    made, lines = model(), model().analyse(speech()[:, 0])
    made.train().code(lines, torch.zeros(4))
    made.eval()
    write_module(tmp_path, made, "speech")
    again = read_module(tmp_path, "speech")
    assert torch.equal(again.code(lines, torch.zeros(4)).bits, made.code(lines, torch.zeros(4)).bits)
    with pytest.raises(ValueError, match="envelopes have 4 bands, the quantizer is of 3"):
        SpeechModel(BANDS, VectorQuantizer(3, 8), overlap=16)
    with pytest.raises(ValueError, match="steps go from coarse"):
        SpeechTraining(coarse=2.0, fine=1.0)
