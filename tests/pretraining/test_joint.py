from dataclasses import replace

import pytest
import torch

import codeword
from codeword.pretraining.joint import JointConfig
from codeword.training.loop import train
from codeword.training.stepper import Stepper
from contracts.pretraining import JOINT, LOOP, PHASE, joint_task, samples


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before):
    return any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


def steps(task, count, accumulate=1):
    """Which steps move the tokenizer, and which the predictor."""
    found = []
    config = replace(LOOP, steps=1, accumulate=accumulate, validate_every=100)
    codeword.seed(task.tokenizer, samples(20).inputs(range(20), [0] * 20).values)
    stepper, batches = Stepper(task, config), task.batches(0, 0, 1)
    for step in range(count):
        parts = (task.tokenizer, task.estimator, task.predictor)
        before = [state(part) for part in parts]
        values = stepper.step(step, [next(batches) for _ in range(accumulate)])
        found.append((tuple(changed(*pair) for pair in zip(parts, before, strict=True)), values))
    return found


def test_the_tokenizer_learns_every_so_many_steps_and_the_encoder_in_all():
    moved = [parts for parts, _ in steps(joint_task(), 7)]
    assert moved == [(number % 3 == 0,) * 2 + (True,) for number in range(7)]


def test_accumulated_batches_are_one_step():
    task = joint_task(replace(PHASE, batch=4), replace(JOINT, every=2, accumulate=2))
    found = steps(task, 4, accumulate=2)
    assert [parts[0] for parts, _ in found] == [True, False, True, False]
    whole = steps(joint_task(joint=replace(JOINT, every=2)), 4)
    torch.testing.assert_close([v["loss"] for _, v in found], [v["loss"] for _, v in whole], rtol=1e-5, atol=1e-5)


def test_the_loss_is_the_sum_of_both_parts():
    task = joint_task(joint=replace(JOINT, weight=0.7, codebook=3.0)).train()
    batch = next(task.batches(0, 0, 1))
    task.step(batch, 0)  # gives the codebooks their start
    quantized = task.tokenizer(batch.inputs.values)
    wanted = task.predictor.encoder(batch.inputs.values).tokens
    made = task.estimator(quantized.vectors, (3, 2))
    cosine = 1 - (made * wanted).sum(-1) / (made.norm(dim=-1) * wanted.norm(dim=-1))
    expected = 0.7 * (cosine.mean() + 3.0 * quantized.loss)
    torch.testing.assert_close(task.step(batch, 0).loss, expected)
    codes = task.tokenizer.encode(batch.inputs.values)
    alone = task.predictor(batch.inputs.values, codes, task.masking(batch, "mask"))
    torch.testing.assert_close(task.step(batch, 1).loss, alone.loss)


def test_no_loss_reaches_what_the_other_trains():
    task = joint_task().train()
    batch = next(task.batches(0, 0, 1))
    task.step(batch, 0).loss.backward()
    assert all(p.grad is None for p in task.predictor.parameters())
    assert all(p.grad is not None for p in task.estimator.parameters())
    task.zero_grad()
    task.step(batch, 1).loss.backward()
    assert all(p.grad is None for p in [*task.tokenizer.parameters(), *task.estimator.parameters()])
    assert any(p.grad is not None for p in task.predictor.encoder.parameters())
    assert task.predictor.encoder.training and task.tokenizer.training


def test_each_has_its_learning_rate():
    tokenizer, encoder = joint_task().optimizers()
    assert {group["lr"] for group in tokenizer.param_groups} == {2e-3}
    assert {group["lr"] for group in encoder.param_groups} == {3e-3}


def test_both_learn(tmp_path):
    task = joint_task(joint=replace(JOINT, weight=1.0, every=2))
    before = None
    for count in (1, 40):
        train(task, replace(LOOP, steps=count, validate_every=100, checkpoint_every=100), tmp_path / str(count))
        with torch.no_grad():
            figures = task.eval().validate()
        before, after = before or figures, figures
    assert after["cosine"] < 0.7 * before["cosine"]
    assert set(after) >= {"loss", "cosine", "accuracy_0", "accuracy_1", "usage_0", "perplexity_share_1"}


@pytest.mark.parametrize("name", ["every", "accumulate"])
def test_intervals_are_one_or_more(name):
    with pytest.raises(ValueError, match=f"{name} of a JointConfig must be at least 1, got 0"):
        JointConfig(**{name: 0})
