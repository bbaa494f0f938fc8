import copy
from dataclasses import replace

import pytest
import torch

from codeword.data.epoch_order import Window
from codeword.pretraining.cache import TokenCache
from codeword.pretraining.kept_samples import KeptSamples, SomeSamples
from codeword.pretraining.phase import CachedTokens, OnlineTokens
from codeword.pretraining.samples import Inputs, Order
from codeword.training.checkpoint import CheckpointError
from codeword.training.logging import read_log
from codeword.training.loop import LOG, train
from contracts.pretraining import LOOP, PHASE, Padded, cold, encoder_task, joint_task, samples, tokenizer_task

TASKS = [encoder_task, tokenizer_task, joint_task]
SUMS = 1e-5  # of float32 sums added up in another order, over a few steps


def losses(folder, key="loss"):
    return [line[key] for line in read_log(folder / LOG) if line["group"] == "train"]


@pytest.fixture
def cache(tmp_path):
    made = TokenCache(tmp_path / "tokens", cold(), samples(20), PHASE.views)
    made.fill()
    return CachedTokens(made)


@pytest.mark.parametrize("make", [encoder_task, tokenizer_task])
def test_every_phase_learns(make, tmp_path):
    task = make()
    train(task, replace(LOOP, steps=50, validate_every=50, checkpoint_every=50), tmp_path)
    found = losses(tmp_path)
    assert sum(found[-10:]) < 0.9 * sum(found[:10])


@pytest.mark.parametrize("make", TASKS)
def test_an_interrupted_phase_goes_on_to_the_same_numbers(make, tmp_path):
    whole, parts = make(), make()
    train(whole, LOOP, tmp_path / "whole")
    step = parts.step

    def interrupted(batch, phase):
        if batch.drawn.number == 5:
            raise KeyboardInterrupt
        return step(batch, phase)

    parts.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        train(parts, LOOP, tmp_path / "parts")
    assert len(losses(tmp_path / "parts")) == 5, "the log must have something to cut back: the checkpoint is of step 4"
    again = make()
    train(again, LOOP, tmp_path / "parts")
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    ours, theirs = whole.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_frozen_stays_to_the_last_bit(tmp_path):
    encoder, tokenizer = encoder_task(), tokenizer_task()
    for task, frozen in ((encoder, encoder.tokenizer), (tokenizer, tokenizer.teacher)):
        before, fingerprint = copy.deepcopy(frozen.module.state_dict()), frozen.fingerprint
        train(task, LOOP, tmp_path / type(task).__name__)
        assert all(torch.equal(before[name], value) for name, value in frozen.module.state_dict().items())
        assert not frozen.module.training
        names = {id(parameter) for group in task.optimizers()[0].param_groups for parameter in group["params"]}
        assert not names & {id(parameter) for parameter in frozen.module.parameters()}
        assert not any(
            value.data_ptr() == other.data_ptr() for value in frozen.module.parameters() for other in task.parameters()
        )
        assert type(frozen)(frozen.module).fingerprint == fingerprint
        next(iter(frozen.module.state_dict().values())).add_(1)
        assert type(frozen)(frozen.module).fingerprint != fingerprint


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_cached_tokens_train_as_those_made_online(cache, precision, tmp_path):
    loop = replace(LOOP, precision=precision)
    train(encoder_task(), loop, tmp_path / "online")
    train(encoder_task(cache), loop, tmp_path / "cached")
    assert losses(tmp_path / "online") == losses(tmp_path / "cached")


def test_autocast_rounds_losses_and_no_more(tmp_path):
    for make in TASKS:
        found = []
        for precision in ("32-true", "bf16-mixed"):
            folder = tmp_path / f"{make.__name__} {precision}"
            train(make(), replace(LOOP, steps=2, precision=precision), folder)
            found.append(torch.tensor(losses(folder)))
        assert not torch.equal(*found)
        # A tokenizer in training rounds the latents whose codes are predicted, so joint training has other tokens.
        bound = 0.5 if make is joint_task else 0.02
        torch.testing.assert_close(*found, rtol=bound, atol=bound)


def test_accumulated_halves_of_a_batch_are_the_batch(tmp_path):
    train(encoder_task(), LOOP, tmp_path / "whole")
    train(encoder_task(phase=replace(PHASE, batch=4)), replace(LOOP, accumulate=2), tmp_path / "halves")
    found = [losses(tmp_path / name) for name in ("whole", "halves")]
    torch.testing.assert_close(*found, rtol=SUMS, atol=SUMS)


def test_recomputed_blocks_and_reading_ahead_change_no_number(tmp_path):
    train(joint_task(), LOOP, tmp_path / "plain")
    task = joint_task(phase=replace(PHASE, recompute=True, ahead=0))
    train(task, replace(LOOP, steps=3), tmp_path / "other")
    blocks = [part.recompute for part in task.modules() if hasattr(part, "recompute")]
    assert blocks and all(blocks)
    train(joint_task(), LOOP, tmp_path / "other")  # a checkpoint goes on without them
    assert losses(tmp_path / "plain") == losses(tmp_path / "other")


def test_a_checkpoint_goes_on_only_with_the_same_parts(tmp_path):
    for make, change, named in (
        (encoder_task, lambda task: task.made.tokenizer.__dict__.update(fingerprint="another"), "tokenizer"),
        (tokenizer_task, lambda task: task.teacher.__dict__.update(fingerprint="another"), "teacher"),
        (tokenizer_task, lambda task: setattr(task, "codebook", 0.5), "codebook=1.0, now it is 0.5"),
        (joint_task, lambda task: setattr(task, "joint", replace(task.joint, every=2)), "joint every=3"),
        (encoder_task, lambda task: setattr(task, "config", replace(PHASE, betas=(0.9, 0.99))), "betas"),
        (encoder_task, lambda task: setattr(task, "held", samples(5)), "held-out values"),
    ):
        folder = tmp_path / make.__name__
        if not folder.exists():
            train(make(), replace(LOOP, steps=2), folder)
        task = make()
        change(task)
        with pytest.raises(CheckpointError, match=named):
            train(task, LOOP, folder)


def test_validation_is_always_the_same_and_weighs_every_sample_alike():
    task = encoder_task().eval()
    with torch.no_grad():
        first = task.validate()
        assert first == task.validate()
    assert set(first) == {"loss", "accuracy_0", "accuracy_1"}


def test_a_file_that_cannot_be_read_stops_the_run_in_one_line(tmp_path):
    class Bad(Padded):
        def inputs(self, numbers, views):
            if 7 in numbers:
                raise ValueError("7.wav is damaged")
            return super().inputs(numbers, views)

    with pytest.raises(ValueError, match=r"^7\.wav is damaged$"):
        train(encoder_task(data=Bad(samples(20))), LOOP, tmp_path)


@pytest.mark.parametrize("make", TASKS)
def test_one_sample_is_enough(make, tmp_path):
    train(make(data=samples(1)), replace(LOOP, steps=2), tmp_path)
    assert torch.isfinite(torch.tensor(losses(tmp_path))).all()


def test_without_fixed_views_every_epoch_brings_new_ones():
    stream = encoder_task(phase=replace(PHASE, views=None, batch=20)).batches(0, 0, 1)
    seen = {(n, v) for _ in range(5) for n, v in zip(*next(stream).drawn[2:], strict=True)}
    assert len(seen) == 100


def test_a_window_takes_samples_file_by_file():
    class InFiles(Padded):
        def window(self, size):
            return Window(size, torch.arange(len(self)) // 4)

    odd = SomeSamples(KeptSamples(InFiles(samples(40))), range(1, 40, 2))
    phase = replace(PHASE, batch=2, window=2)
    files = [[number // 2 for number in encoder_task(phase=phase, data=odd).order.drawn(n).samples] for n in range(10)]
    assert all(len(set(of_batch)) == 1 for of_batch in files)
    assert sorted(of_batch[0] for of_batch in files) == list(range(10)) != [of_batch[0] for of_batch in files]


def test_a_batch_whose_masked_patches_are_all_padding_costs_nothing():
    class Empty(Padded):
        def inputs(self, numbers, views):
            found = super().inputs(numbers, views)
            return found._replace(valid=torch.zeros_like(found.valid))

    for task in (encoder_task(data=Empty(samples(20))), tokenizer_task(data=Empty(samples(20)))):
        assert float(task.step(next(task.batches(0, 0, 1)), 0).loss.detach()) == 0.0


def test_the_tokenizer_s_loss_is_that_of_a_loop_over_patches():
    task = tokenizer_task(data=Padded(samples(20))).train()
    batch = next(task.batches(0, 0, 1))
    task.step(batch, 0)  # gives the codebooks their start
    found = task.step(batch, 0)
    values, valid = batch.inputs
    latents = task.tokenizer.latents(values, valid).detach()
    tables = [table.detach() for table in task.tokenizer.quantizer.codebooks()]
    vectors = torch.zeros_like(latents)
    codebook, count = 0.0, int(valid.sum())
    for row, patch in valid.nonzero().tolist():
        rest = latents[row, patch].double()
        assert abs(float(rest.norm()) - 1) < SUMS
        for table in tables:
            code = int((table.double() - rest).square().sum(1).argmin())
            codebook += 0.25 * float((table[code] - rest).square().mean()) / count  # eq. 5 with moving averages
            rest = rest - table[code]
            vectors[row, patch] += table[code]
    made = task.estimator(vectors, (3, 2), valid).detach()
    wanted = task.teacher.module(values, valid=valid).tokens
    cosine = 0.0
    for row, patch in valid.nonzero().tolist():
        a, b = made[row, patch].double(), wanted[row, patch].double()
        cosine += float(1 - (a @ b) / (a.norm() * b.norm())) / count
    found = {"loss": found.loss.detach(), **{name: value.detach() for name, value in found.metrics.items()}}
    assert float(found["codebook"]) == pytest.approx(codebook, rel=1e-4)
    assert float(found["cosine"]) == pytest.approx(cosine, rel=1e-4)
    assert float(found["loss"]) == pytest.approx(cosine + codebook, rel=1e-4)


def test_online_tokens_are_those_of_the_tokenizer_whatever_is_around():
    tokenizer, drawn = cold(), Order(20, 1, 20, 0).drawn(0)
    inputs = Inputs(torch.randn(500, 1, 12, 8, generator=torch.Generator().manual_seed(0)))
    with torch.autocast("cpu", torch.bfloat16):
        found = OnlineTokens(tokenizer).codes(drawn, inputs)
    assert torch.equal(found, tokenizer.encode(*inputs))
