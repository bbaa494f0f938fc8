import math
from dataclasses import replace

import pytest
import torch

from codeword.codecs.image.layout import ResidualLayout
from codeword.codecs.image.model import ImageModel
from codeword.codecs.image.training import ImageTask, ImageTraining, from_bytes, measured, to_bytes
from codeword.data.image_crops import ImageCrops
from codeword.functional.image_similarity import ssim
from codeword.quantizers import MovingAverage, NoiseSubstitution, ResidualQuantizer, VectorQuantizer
from codeword.quantizers.learning import Gradient
from codeword.training.logging import read_log
from codeword.training.loop import LOG, train
from codeword.training.loop_config import LoopConfig
from codeword.training.spending import SpendingDraw

LAYOUT = ResidualLayout(latent=8, width=16, inner=4)
LOOP = LoopConfig(steps=6, validate_every=3, checkpoint_every=2, log_every=1, progress=False, accelerator="cpu")
QUANTIZERS = {
    "moving average": lambda: VectorQuantizer(8, 16, learning=MovingAverage()),
    "noise": lambda: VectorQuantizer(
        8, 16, learning=Gradient(codebook=0.0, commitment=0.0), estimator=NoiseSubstitution()
    ),
    "residual": lambda: ResidualQuantizer([VectorQuantizer(8, 16) for _ in range(2)]),
}


def pictures(count=24, side=16):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (count, 3, side // 4, side // 4), generator=generator, dtype=torch.uint8)
    return coarse.repeat_interleave(4, -1).repeat_interleave(4, -2)


def task(quantizer, config=None):
    torch.manual_seed(0)
    data = ImageCrops(pictures(), (16, 16), 8)
    return ImageTask(ImageModel(3, LAYOUT, quantizer), data, config or ImageTraining(), held=pictures(6))


@pytest.mark.parametrize("name", QUANTIZERS)
def test_every_quantizer_learns_in_the_middle(name, tmp_path):
    made = task(QUANTIZERS[name](), ImageTraining(learning_rate=1e-2))
    train(made, replace(LOOP, steps=60, validate_every=60, checkpoint_every=60), tmp_path)
    errors = [line["mse"] for line in read_log(tmp_path / LOG) if line["group"] == "train"]
    assert sum(errors[-5:]) < 0.9 * sum(errors[:5])


@pytest.mark.parametrize("name", QUANTIZERS)
def test_an_interrupted_run_goes_on_to_the_same_numbers(name, tmp_path):
    whole = task(QUANTIZERS[name]())
    train(whole, LOOP, tmp_path / "whole")
    train(task(QUANTIZERS[name]()), replace(LOOP, steps=4), tmp_path / "parts")
    parts = task(QUANTIZERS[name]())
    train(parts, LOOP, tmp_path / "parts")
    for key, value in whole.state_dict().items():
        assert torch.equal(parts.state_dict()[key], value), key


def test_figures_are_those_of_decoded_bytes():
    made = task(QUANTIZERS["residual"]())
    made.model.train()(from_bytes(pictures()))
    made.eval()
    found = made.validate()
    real = from_bytes(made.held)
    codes = made.model.encode(real)
    decoded = to_bytes(made.model.decode(codes, (16, 16))).double() / 255
    errors = (decoded - real.double()).square().mean((1, 2, 3))
    assert found["loss"] == pytest.approx(float(errors.mean()), rel=1e-5)
    assert found["psnr"] == pytest.approx(float((-10 * errors.log10()).mean()), rel=1e-5)
    assert found["ssim"] == pytest.approx(float(ssim(decoded, real.double()).mean()), rel=1e-4)
    for level in range(2):
        counts = codes[..., level].flatten().bincount(minlength=16).tolist()
        shares = [count / sum(counts) for count in counts if count]
        assert found[f"used_{level}"] == pytest.approx(len(shares) / 16)
        assert found[f"perplexity_{level}"] == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)))


def test_similarity_is_a_loss_of_its_own():
    made = task(QUANTIZERS["residual"](), ImageTraining(similarity=0.5, scales=1))
    batch = next(made.batches(0, 0, 1))
    found = made.train().step(batch, 0)
    parts = {name: float(value.detach()) for name, value in found.metrics.items()}
    wanted = parts["mse"] + parts["quantizer"] + 0.5 * parts["unlike"]
    assert float(found.loss.detach()) == pytest.approx(wanted, rel=1e-5)
    assert 0 < parts["unlike"] < 1.5


def variable(config=None):
    torch.manual_seed(0)
    quantizer = ResidualQuantizer([VectorQuantizer(8, 16) for _ in range(3)])
    made = ImageModel(3, LAYOUT, quantizer, importance=8)
    data = ImageCrops(pictures(), (16, 16), 8)
    config = config or ImageTraining(relative=True, rate=0.5, spending=SpendingDraw(constant=0.25, full=0.1))
    return ImageTask(made, data, config, held=pictures(6))


def test_depths_follow_the_draw_and_the_rate_is_a_loss():
    made = variable()
    batch = next(made.batches(0, 0, 1))
    found = made.train().step(batch, 0)
    parts = {name: float(value.detach()) for name, value in found.metrics.items()}
    model, draw = made.model, made.config.spending
    scale, depth = draw.spending(0, 8, 3, model.allocation.scales)
    images = from_bytes(batch.images)
    with torch.no_grad():
        importance = model.analyse(images).importance
        wanted = model.allocation.depth(importance, scale.view(-1, 1, 1))
        depths = torch.where(depth.view(-1, 1, 1) == 0, wanted, depth.view(-1, 1, 1))
    assert parts["levels"] == pytest.approx(float(depths.float().mean()))
    assert parts["rate"] == pytest.approx(float(importance[depth == 0].mean()), rel=1e-5)
    found.loss.backward()
    assert all(part.grad is not None for part in model.importance.parameters())


def test_relative_errors_weigh_easy_images_as_hard_ones():
    """Twice the pixels means twice the error of every image, and the same gradient of a relative loss."""
    made = variable(ImageTraining(relative=True, rate=0.0, quantizer=0.0, spending=SpendingDraw(full=1.0)))
    batch = next(made.batches(0, 0, 1))
    found = made.train().step(batch, 0)
    made.model.zero_grad()
    with torch.no_grad():
        images = from_bytes(batch.images)
        codes = made.model(images).vectors
        wanted = ((codes - images).square().mean((1, 2, 3)) + 1e-6).log().mean()
    assert float(found.loss.detach()) == pytest.approx(float(wanted), rel=1e-3)


def test_validation_looks_at_several_scales(tmp_path):
    made = variable()
    train(made, LOOP, tmp_path)
    found = made.eval().validate()
    levels = [found[f"levels_scale_{share:g}"] for share in (0.5, 1, 2, 4)]
    assert levels == sorted(levels) and levels[0] < levels[-1] <= 3
    errors = [measured(made.model, made.held, scale=3.0 * share)["loss"] for share in (0.5, 1, 2, 4)]
    assert found["loss"] == pytest.approx(sum(errors) / 4)


def test_variable_depth_and_a_draw_belong_together():
    with pytest.raises(ValueError, match="needs a draw of scales: set spending"):
        variable(ImageTraining())
    with pytest.raises(ValueError, match="needs a draw of scales: set spending"):
        task(QUANTIZERS["residual"](), ImageTraining(spending=SpendingDraw()))


def test_bytes_come_back_and_what_is_beyond_is_cut():
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_bytes(from_bytes(pixels)), pixels)
    assert to_bytes(torch.tensor([[[[-0.2, 1.7]]]])).flatten().tolist() == [0, 255]


def test_images_are_measured_in_parts_as_together(monkeypatch):
    made = task(QUANTIZERS["residual"]())
    made.model.train()(from_bytes(pictures()))
    whole = measured(made.model.eval(), pictures())
    monkeypatch.setattr("codeword.codecs.image.training._TOGETHER", 5)
    assert measured(made.model, pictures()) == pytest.approx(whole, rel=1e-6)
