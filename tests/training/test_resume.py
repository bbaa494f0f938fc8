"""A run that is killed and resumed is, to the last bit, the run that was never stopped."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from codeword.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from codeword.training.logging import read_log
from codeword.training.loop import BEST, CHECKPOINT, LOG, train
from codeword.training.loop_config import LoopConfig
from codeword.training.task import StepResult, Task
from contracts.tasks import NOISY, Noisy

PROGRAM = Path(__file__).parents[1] / "contracts" / "tasks.py"


@pytest.fixture
def whole(tmp_path):
    task = Noisy()
    outcome = train(task, NOISY, tmp_path / "whole")
    return task, outcome, tmp_path / "whole"


def killed(folder, where, number):
    command = [sys.executable, str(PROGRAM), str(folder), where, str(number)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr.decode()[-2000:]


def assert_same_run(first, second):
    assert (first / LOG).read_bytes() == (second / LOG).read_bytes()
    for name in (CHECKPOINT, BEST):
        states = [load_checkpoint(folder / name) for folder in (first, second)]
        for state in states:  # the shape checks of the tests draw from Python's generator
            del state["random"][0]["python"]
        save_checkpoint(first / "a", states[0])
        save_checkpoint(first / "b", states[1])
        assert (first / "a").read_bytes() == (first / "b").read_bytes(), name


class Strided(Task):
    """Weights in every order of axes; with ``view``, one that leaves gaps."""

    def __init__(self, *, view, plain=False):
        super().__init__()
        torch.manual_seed(2)
        self.whole = torch.randn(4, 6)
        self.weights = nn.ParameterList(
            [
                nn.Parameter(torch.randn(6, 4).t()),
                nn.Parameter(torch.randn(3, 5, 2, 2).to(memory_format=torch.channels_last)),
                nn.Parameter(self.whole[:, :3] if view else torch.randn(4, 3)),
            ]
        )
        self.plain = plain

    def optimizers(self):
        return [torch.optim.Adam(self.parameters(), lr=0.1, foreach=True if self.plain else None)]

    def batches(self, start, rank, world_size):
        yield from range(start, 1000)

    def step(self, batch, phase):
        generator = torch.Generator().manual_seed(batch)
        targets = [torch.randn(weight.shape, generator=generator) for weight in self.weights]
        return StepResult(sum(mse_loss(*pair) for pair in zip(self.weights, targets, strict=True)), {})

    def validate(self):
        return {}


def strided(folder, steps, *, view, plain=False):
    task = Strided(view=view, plain=plain)
    for number in steps:
        train(task, LoopConfig(steps=number, checkpoint_every=5, progress=False, accelerator="cpu"), folder)
        task, last = Strided(view=view, plain=plain), task
    return last


@pytest.mark.parametrize("view", [False, True])
def test_weights_in_any_order_of_axes_are_stepped_alike(tmp_path, view):
    once = strided(tmp_path / "once", [20], view=view)
    fused = load_checkpoint(tmp_path / "once" / CHECKPOINT)["optimizers"][0]["param_groups"][0]["fused"]
    assert bool(fused) is not view
    again = strided(tmp_path / "again", [10, 20], view=view)
    plain = strided(tmp_path / "plain", [20], view=view, plain=True)
    for a, b, c in zip(once.weights, again.weights, plain.weights, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c, rtol=0, atol=1e-6)
    untouched = Strided(view=view).whole[:, 3:]
    assert torch.equal(once.whole[:, 3:], untouched)


def test_killed_twice_equals_never_stopped(whole, tmp_path):
    task, outcome, folder = whole
    again = tmp_path / "killed"
    killed(again, "step", 2 * 17 + 1)  # in the second batch of step 18: back to step 10
    assert load_checkpoint(again / CHECKPOINT)["step"] == 10
    assert read_log(again / LOG)[-1]["step"] > 10, "the log must have something to cut back"
    killed(again, "write", 5)  # the log, the best of step 16, the checkpoint of 20, the best of 24, ...
    assert list(again.glob(".*.part")), "the kill must hit the middle of a write"
    torch.manual_seed(1)  # the state of this process must not matter
    resumed = Noisy()
    result = train(resumed, NOISY, again)
    assert result[:4] == outcome[:4]
    assert resumed.seen[0] > 0 and resumed.seen[-1] == 2 * NOISY.steps - 1
    assert_same_run(folder, again)
    assert not list(again.glob(".*.part"))
    for name, value in task.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_reference_run_does_something(whole):
    _, outcome, folder = whole
    losses = [line["loss"] for line in read_log(folder / LOG) if line["group"] == "train"]
    assert losses[-1] < 0.7 * losses[0]
    assert outcome.best == min(line["loss"] for line in read_log(folder / LOG) if line["group"] == "validation")
    assert load_checkpoint(folder / BEST)["step"] == outcome.best_step


def test_killed_before_the_first_checkpoint_starts_anew(whole, tmp_path):
    _, _, folder = whole
    again = tmp_path / "killed"

    def stop(number):
        if number == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Noisy(stop), NOISY, again)
    assert read_log(again / LOG) and not (again / CHECKPOINT).exists()
    train(Noisy(), NOISY, again)
    assert_same_run(folder, again)


def test_more_steps_go_on_and_a_finished_run_does_nothing(tmp_path):
    train(Noisy(), replace(NOISY, steps=30), tmp_path)
    task = Noisy()
    assert train(task, NOISY, tmp_path).step == 40
    assert task.seen[0] == 60
    task = Noisy()
    outcome = train(task, NOISY, tmp_path)
    assert (outcome.step, outcome.seconds_per_step, task.seen) == (40, 0.0, [])


@pytest.mark.parametrize(("change", "named"), [({"seed": 7}, "seed=0"), ({"clip_norm": None}, "clip_norm=0.5")])
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, change, named):
    train(Noisy(), replace(NOISY, steps=10), tmp_path)
    with pytest.raises(CheckpointError, match=named):
        train(Noisy(), replace(NOISY, **change), tmp_path)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(Noisy(), replace(NOISY, steps=10), tmp_path)
    task = Noisy()
    task.encoder = torch.nn.Linear(6, 4, bias=False)
    with pytest.raises(CheckpointError, match="does not fit this task"):
        train(task, NOISY, tmp_path)


def test_validation_leaves_no_trace(tmp_path):
    train(Noisy(), NOISY, tmp_path / "some")
    train(Noisy(), replace(NOISY, validate_every=3, keep_best=False), tmp_path / "many")
    some, many = (load_checkpoint(tmp_path / name / CHECKPOINT) for name in ("some", "many"))
    assert all(torch.equal(value, many["module"][name]) for name, value in some["module"].items())
