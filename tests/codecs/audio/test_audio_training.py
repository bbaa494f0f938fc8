from dataclasses import replace

import pytest
import torch

from codeword.codecs.audio.training import AudioTask, AudioTraining, NumberedBatch, Weights
from codeword.functional.spectral_distance import MelScales
from codeword.nn.discriminators import DiscriminatorConfig
from codeword.training.logging import read_log
from codeword.training.loop import LOG, train
from codeword.training.loop_config import LoopConfig
from contracts.audio_models import RATE, model, noise

LEVELS = 4
SMALL = DiscriminatorConfig(periods=(2, 3), period_widths=(4, 8), windows=(256,), spectral_width=4, spectral_layers=1)
CONFIG = AudioTraining(
    mels=MelScales(sample_rate=RATE, windows=(128, 512), bands=(10, 40)), discriminator=SMALL, learning_rate=1e-3
)
LOOP = LoopConfig(
    steps=6,
    progress=False,
    accelerator="cpu",
    log_every=1,
    checkpoint_every=3,
    validate_every=3,
    clip_norm=(10.0, 1e3),
    average_decay=0.9,
)


class Tones:
    """Batches of two tones, a function of their number."""

    def batches(self, start, rank, world_size):
        number = start
        while True:
            generator = torch.Generator().manual_seed(number)
            pitch = 100 + 900 * torch.rand(2, 1, 1, generator=generator)
            yield 0.3 * torch.sin(2 * torch.pi * pitch * torch.arange(3200) / RATE)
            number += 1


def task(config=CONFIG, name="wave", **options):
    return AudioTask(model(name, levels=LEVELS, size=16, **options), Tones(), config, held=noise(2, 3200).unsqueeze(1))


def batch(number=0):
    return NumberedBatch(number, next(Tones().batches(number, 0, 1)))


def parts(step):
    return {name: float(value.detach()) for name, value in step.metrics.items()}


@pytest.mark.parametrize("name", ["wave", "spectral"])
def test_training_lowers_the_mel_distance(name, tmp_path):
    config = replace(CONFIG, discriminator=None, learning_rate=3e-3)
    made = task(config, name)
    train(made, replace(LOOP, steps=40, clip_norm=None, validate_every=40, keep_best=False), tmp_path)
    mel = [line["mel"] for line in read_log(tmp_path / LOG) if line["group"] == "train"]
    assert sum(mel[-5:]) < 0.75 * sum(mel[:5])


def test_a_killed_run_goes_on_to_the_same_numbers(tmp_path):
    whole, first, second = task(), task(), task()
    train(whole, LOOP, tmp_path / "whole")
    train(first, replace(LOOP, steps=3), tmp_path / "killed")
    train(second, LOOP, tmp_path / "killed")
    logs = [
        [line for line in read_log(tmp_path / name / LOG) if line["group"] == "train"] for name in ("whole", "killed")
    ]
    assert logs[0] == logs[1]
    assert {"discriminator", "adversarial", "feature", "mel", "rate", "levels"} <= set(logs[0][0])
    for (name, value), other in zip(whole.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


def test_both_sides_of_a_gan_learn():
    made = task().train()
    optimizers = made.optimizers()
    for phase, (learns, stays) in enumerate([(made.discriminator, made.model), (made.model, made.discriminator)]):
        for optimizer in optimizers:
            optimizer.zero_grad()
        made.step(batch(), phase).loss.backward()
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in learns.parameters())
        assert all(p.grad is None or not p.grad.any() for p in stays.parameters())
        optimizers[phase].step()


def test_discriminators_wait_for_their_turn():
    made = task(replace(CONFIG, adversarial_from=5)).train()
    assert not made.step(batch(4), 0).loss.requires_grad
    assert parts(made.step(batch(4), 1))["adversarial"] == 0
    assert made.step(batch(5), 0).loss.requires_grad
    assert parts(made.step(batch(5), 1))["adversarial"] > 0


def test_spending_is_a_function_of_the_batch():
    made = task(replace(CONFIG, constant=0.3, full=0.2))
    many = NumberedBatch(7, torch.zeros(20_000, 1, 320))
    one, again, other = made.spending(many), made.spending(many), made.spending(many._replace(number=8))
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one.scale, other.scale)
    least, most = made.model.quantizer.scales
    assert least <= float(one.scale.min())
    assert float(one.scale.max()) <= most
    assert float(one.scale.mean()) == pytest.approx((least + most) / 2, rel=0.02)
    share = [(one.depth == depth).float().mean().item() for depth in range(LEVELS + 1)]
    assert share == pytest.approx([0.5, 0.075, 0.075, 0.075, 0.275], abs=0.015)
    logarithmic = task(replace(CONFIG, draw="log-uniform")).spending(many).scale
    assert float(logarithmic.log().mean()) == pytest.approx(torch.tensor([least, most]).log().mean().item(), rel=0.02)


def test_depths_are_constant_before_importance_counts():
    made = task(replace(CONFIG, constant=0.2, full=0.1, variable_from=5))
    many = NumberedBatch(4, torch.zeros(2000, 1, 320))
    before, after = made.spending(many).depth, made.spending(many._replace(number=5)).depth
    assert int(before.min()) == 1
    assert (after == 0).float().mean().item() == pytest.approx(0.7, abs=0.05)
    assert (before == LEVELS).float().mean().item() == pytest.approx(0.1 + 0.9 / LEVELS, abs=0.05)


def test_the_rate_is_the_mean_importance_of_items_that_use_it():
    made = task(replace(CONFIG, constant=0.5)).train()
    given = NumberedBatch(3, torch.cat([batch(number).audio for number in range(6)]))
    spending = made.spending(given)
    varies = spending.depth == 0
    assert 0 < int(varies.sum()) < len(varies)
    with torch.no_grad():
        importance = made.model.analyse(given.audio).importance
    assert parts(made.step(given, 1))["rate"] == pytest.approx(float(importance[varies].mean()), rel=1e-5)


def test_rate_loss_lowers_the_importance_and_leaves_codebooks_alone():
    weights = Weights(mel=0.0, feature=0.0, adversarial=0.0, rate=1.0)
    made = task(replace(CONFIG, discriminator=None, weights=weights)).train()
    made.step(batch(), 0).loss.backward()
    last = made.model.importance.layers[-1].bias
    assert last.grad > 0, "a lower bias is a lower importance"


def test_a_constant_model_needs_constant_depths():
    with pytest.raises(ValueError, match="constant depths"):
        task(kernels=None)
    made = task(replace(CONFIG, constant=0.5, full=0.5, discriminator=None), kernels=None).train()
    assert parts(made.step(batch(), 0))["rate"] == 0
    made.eval()
    with torch.no_grad():
        assert {"loss", "mel_depth_1", "mel_depth_2", "si_sdr_depth_4"} <= set(made.validate())


def test_shares_add_up():
    with pytest.raises(ValueError, match="add up to 1"):
        replace(CONFIG, constant=0.7, full=0.5)


def test_norms_fit_the_phases(tmp_path):
    with pytest.raises(ValueError, match="3 numbers for 2 phases"):
        train(task(), replace(LOOP, clip_norm=(1.0, 2.0, 3.0)), tmp_path)
    with pytest.raises(ValueError, match="positive"):
        replace(LOOP, clip_norm=(1.0, 0.0))


def test_balanced_losses_have_their_weights_as_shares_of_the_gradient():
    weights = Weights(mel=3.0, waveform=1.0, si_sdr=0.0, feature=0.0, adversarial=0.0, rate=0.0, quantizer=0.0)
    made = task(replace(CONFIG, discriminator=None, weights=weights, balance=0.0))
    out = made._make(batch())
    grads = {name: torch.autograd.grad(loss, out.audio, retain_graph=True)[0] for name, loss in out.heard.items()}
    total = torch.autograd.grad(made._loss(out, {}), out.audio)[0]
    sizes = {name: grad.flatten(1).norm(dim=1).sum() for name, grad in grads.items()}
    wanted = 0.75 * grads["mel"] / sizes["mel"] + 0.25 * grads["waveform"] / sizes["waveform"]
    torch.testing.assert_close(total, wanted, rtol=1e-3, atol=1e-7)


def test_balanced_adversaries_train_and_their_averages_are_kept(tmp_path):
    made = task(replace(CONFIG, balance=0.9))
    assert train(made, replace(LOOP, steps=2), tmp_path).step == 2
    assert set(made.balancer.weights) == {"mel", "feature", "adversarial"}
    assert (made.balancer.norms > 0).all()
    assert any(name.startswith("balancer.") for name in made.state_dict())
