import json
import math
import random
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

from codeword import VectorQuantizer
from codeword.training.average import WeightAverage
from codeword.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from codeword.training.logging import JsonLog, read_log
from codeword.training.loop import CHECKPOINT, LOG, DivergedError, train
from codeword.training.loop_config import LoopConfig
from codeword.training.schedule import Milestones
from codeword.training.task import StepResult, Task
from contracts.tasks import NOISY, Noisy

ROUNDING = 1e-6  # of float32 sums in another order

QUIET = LoopConfig(steps=10, progress=False, accelerator="cpu", log_every=1, checkpoint_every=4, validate_every=3)


class Regression(Task):
    """Least squares; its data, loss and validation can be tampered with."""

    def __init__(self, count=None, poison=lambda number, value: value, figures=(), rows=8):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3))
        self.count, self.poison, self.figures, self.rows = count, poison, list(figures), rows
        self.asked = 0

    def optimizers(self):
        return [torch.optim.SGD([self.weight], lr=0.1)]

    def batches(self, start, rank, world_size):
        number = start
        while self.count is None or number < self.count:
            generator = torch.Generator().manual_seed(number)
            x = torch.randn(self.rows, 3, generator=generator)
            yield number, x, x @ torch.tensor([1.0, -2.0, 3.0])
            number += 1

    def step(self, batch, phase):
        number, x, y = batch
        return StepResult(self.poison(number, mse_loss(x @ self.weight, y)), {})

    def validate(self):
        if not self.figures:
            return {}
        self.asked += 1
        return {"loss": self.figures[min(self.asked, len(self.figures)) - 1]}


def losses(folder):
    return [line["loss"] for line in read_log(folder / LOG) if line["group"] == "train"]


def test_plain_loop_by_hand(tmp_path):
    task = Regression()
    config = replace(QUIET, schedule=Milestones(steps=(5,), factor=0.5))
    weight = task.weight.detach().clone().requires_grad_()
    expected = []
    for step, (_, x, y) in zip(range(10), task.batches(0, 0, 1), strict=False):
        loss = mse_loss(x @ weight, y)
        (gradient,) = torch.autograd.grad(loss, weight)
        weight.data -= (0.1 if step < 5 else 0.05) * gradient
        expected.append(loss.item())
    outcome = train(task, config, tmp_path)
    torch.testing.assert_close(losses(tmp_path), expected, rtol=ROUNDING, atol=0)
    torch.testing.assert_close(task.weight, weight)
    assert [line["learning_rate"] for line in read_log(tmp_path / LOG)] == [0.1] * 5 + [0.05] * 5
    assert (outcome.step, outcome.reason, outcome.best, task.training) == (10, "steps", None, False)


def test_accumulated_halves_equal_whole_batches():
    whole, halves = Regression(rows=8), Regression(rows=8)
    wholes = whole.batches

    def split(start, rank, world_size):
        for place, (_, x, y) in enumerate(wholes(start // 2, rank, world_size)):
            yield 2 * place, x[:4], y[:4]
            yield 2 * place + 1, x[4:], y[4:]

    halves.batches = split
    train(whole, QUIET)
    train(halves, replace(QUIET, accumulate=2))
    torch.testing.assert_close(whole.weight, halves.weight, rtol=ROUNDING, atol=ROUNDING)


def test_accumulation_is_one_step_of_a_codebook():
    class Codes(Noisy):
        def optimizers(self):
            return []

        def step(self, batch, phase):
            output = self.averaged(batch[1][:, :4])
            return StepResult(output.loss.detach(), {})

    once, split = Codes(), Codes()
    for task in (once, split):
        task.averaged = VectorQuantizer(4, 12)
        task.averaged.codebook.assign(torch.randn(12, 4, generator=torch.Generator().manual_seed(0)))
    batches = split.batches

    def halves(start, rank, world_size):
        for number, x in batches(start, rank, world_size):
            for half in x.chunk(2):
                yield number, half

    split.batches = halves
    config = replace(QUIET, steps=5, keep_best=False)
    train(once, config)
    train(split, replace(config, accumulate=2))
    assert int(split.averaged.codebook.steps) == 5
    torch.testing.assert_close(once.averaged.codebook.table, split.averaged.codebook.table, rtol=1e-5, atol=1e-5)


def test_clipping_limits_the_step():
    task = Regression()
    before = task.weight.detach().clone()
    train(task, replace(QUIET, steps=1, clip_norm=1e-3))
    assert torch.linalg.vector_norm(task.weight - before).item() == pytest.approx(0.1 * 1e-3, rel=1e-3)


def test_average_of_weights_by_hand():
    module = nn.Linear(2, 2)
    average = WeightAverage(module, 0.9)
    expected = {name: value.detach().clone() for name, value in module.named_parameters()}
    for step in range(1, 200, 37):
        with torch.no_grad():
            for value in module.parameters():
                value.add_(step)
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in module.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach()
    own = module.weight.detach().clone()
    with average.swapped():
        torch.testing.assert_close(dict(module.named_parameters()), expected)
    assert torch.equal(module.weight, own)


def test_a_task_ends_with_its_averaged_weights(tmp_path):
    task = Regression()
    train(task, replace(QUIET, average_decay=0.5), tmp_path)
    state = load_checkpoint(tmp_path / CHECKPOINT)
    assert torch.equal(task.weight, state["average"]["weight"])
    assert not torch.equal(task.weight, state["module"]["weight"])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_loss_stops_with_step_and_batches(tmp_path, bad):
    def poison(number, loss):
        return loss * bad if number == 13 else loss

    config = replace(QUIET, accumulate=2, log_every=3)
    with pytest.raises(DivergedError, match=r"at step 7, batches 12 to 13: the last good checkpoint is .*checkpoint"):
        train(Regression(poison=poison), config, tmp_path)
    state = load_checkpoint(tmp_path / CHECKPOINT)
    assert state["step"] == 4 and torch.isfinite(state["module"]["weight"]).all()
    assert all(math.isfinite(loss) for loss in losses(tmp_path))
    assert train(Regression(), config, tmp_path).step == 10  # repaired, it goes on


def test_bad_weights_are_never_written(tmp_path):
    class Blown(Regression):
        def step(self, batch, phase):  # a finite loss with an infinite derivative, in the last step before a checkpoint
            loss = super().step(batch, phase).loss
            if batch[0] == 7:
                loss = loss + (self.weight - self.weight.detach()).abs().sum().sqrt()
            return StepResult(loss, {})

    with pytest.raises(DivergedError, match="weight holds a number that is not finite after step 8"):
        train(Blown(), QUIET, tmp_path)
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 4


def test_patience(tmp_path):
    task = Regression(figures=[3.0, 2.0, 2.5, 2.0, 2.2, 1.0])
    outcome = train(task, replace(QUIET, steps=100, patience=3), tmp_path)
    assert outcome[:4] == (15, "patience", 2.0, 6)
    kept = task.weight.detach().clone()
    fresh = Regression()
    train(fresh, replace(QUIET, steps=6))
    assert torch.equal(kept, fresh.weight), "the weights of the best validation come back"
    assert train(Regression(figures=[1.0]), replace(QUIET, steps=100, patience=3), tmp_path)[:4] == outcome[:4]


def test_the_best_weights_come_back_without_a_folder():
    task, fresh = Regression(figures=[1.0, 2.0]), Regression()
    assert train(task, replace(QUIET, steps=9)).best_step == 3
    train(fresh, replace(QUIET, steps=3))
    assert torch.equal(task.weight, fresh.weight)


def test_patience_without_validation_is_refused():
    with pytest.raises(ValueError, match="needs a validation: Regression has none"):
        train(Regression(), replace(QUIET, patience=1))


def test_the_end_of_data_ends_the_run(tmp_path):
    config = replace(QUIET, accumulate=3)
    outcome = train(Regression(count=14), config, tmp_path)
    assert (outcome.step, outcome.reason) == (4, "data")
    assert train(Regression(count=20), config, tmp_path).step == 6


def test_dry_run_changes_nothing(tmp_path):
    task = Noisy()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    state = torch.get_rng_state()
    outcome = train(task, NOISY, tmp_path / "run", dry_run=True)
    assert (outcome.step, len(task.seen)) == (2, 4) and outcome.best is not None and outcome.seconds_per_step > 0
    assert not (tmp_path / "run").exists()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert not task.averaged.codebook.is_seeded


def test_phases_step_their_own_optimizers():
    class Adversary(Task):
        def __init__(self):
            super().__init__()
            self.made, self.judge = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(1.0))
            self.order = []

        def optimizers(self):
            return [torch.optim.SGD([self.judge], lr=0.1), torch.optim.SGD([self.made], lr=0.5)]

        def batches(self, start, rank, world_size):
            return iter(range(start, 100))

        def step(self, batch, phase):
            self.order.append((batch, phase))
            value = self.judge * self.made
            loss = self.judge**2 + value.detach() if phase == 0 else (value - 3.0) ** 2
            return StepResult(loss, {f"loss_{phase}": loss})

        def validate(self):
            return {}

    task, judge, made = Adversary(), 1.0, 0.0
    train(task, replace(QUIET, steps=4))
    for _ in range(4):
        judge -= 0.1 * 2 * judge
        made -= 0.5 * 2 * (judge * made - 3.0) * judge
    assert task.order == [(batch, phase) for batch in range(4) for phase in (0, 1)]
    assert task.judge.item() == pytest.approx(judge) and task.made.item() == pytest.approx(made)


def test_bfloat16_forward_keeps_float32_weights():
    task = Regression()
    plain = Regression()
    train(task, replace(QUIET, precision="bf16-mixed"))
    train(plain, QUIET)
    assert task.weight.dtype == torch.float32
    torch.testing.assert_close(task.weight, plain.weight, rtol=0.05, atol=0.05)


def test_log_is_cut_back(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 5, "loss": 1.0}\n{"step": 6, "lo')
    log = JsonLog(path, 4)
    log.write(5, {"loss": 0.5}, "train")
    log.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "loss": 2.0},
        {"step": 5, "group": "train", "loss": 0.5},
    ]


def test_tensorboard_events(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(Regression(figures=[1.0]), replace(QUIET, tensorboard=True), tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(losses(tmp_path))
    assert [event.step for event in events.Scalars("validation/loss")] == [3, 6, 9]


def test_progress_bar_shows_rate_and_loss(capsys):
    train(Regression(), replace(QUIET, progress=True))
    shown = capsys.readouterr().err
    assert "10/10" in shown and "step/s" in shown and "loss=" in shown


@pytest.mark.parametrize("field", ["steps", "accumulate", "log_every"])
def test_settings_below_one_are_refused(field):
    with pytest.raises(ValueError, match=f"{field} of a LoopConfig must be at least 1, got 0"):
        replace(QUIET, **{field: 0})


def test_ranges_of_settings():
    with pytest.raises(ValueError, match="patience of a LoopConfig must be at least 1 or None for no end, got 0"):
        replace(QUIET, patience=0)
    with pytest.raises(ValueError, match=r"clip_norm of a LoopConfig must be positive or None for no limit, got 0\.0"):
        replace(QUIET, clip_norm=0.0)


def test_a_bad_validation_stops(tmp_path):
    with pytest.raises(DivergedError, match="the validation loss became nan at step 6: the last good checkpoint is"):
        train(Regression(figures=[1.0, math.nan]), QUIET, tmp_path)
    assert load_checkpoint(tmp_path / CHECKPOINT)["step"] == 4


def test_generators_of_the_caller_are_left_alone():
    class Drawing(Regression):
        def validate(self):
            random.random(), torch.rand(1)
            return {"loss": 1.0}

    class Watching(Regression):
        def step(self, batch, phase):
            drawn.append((random.random(), float(torch.rand(1))))
            return super().step(batch, phase)

    class Both(Drawing, Watching):
        pass

    drawn = []
    train(Watching(), QUIET)
    train(Both(), QUIET)
    assert drawn[:10] == drawn[10:], "validation draws for itself"
    task = Both()
    states = random.getstate(), torch.get_rng_state()
    train(task, QUIET, dry_run=True)
    assert states[0] == random.getstate() and torch.equal(states[1], torch.get_rng_state())


def test_deterministic_operators_are_asked_for_only_meanwhile():
    class Asking(Regression):
        def step(self, batch, phase):
            asked.append(torch.are_deterministic_algorithms_enabled())
            return super().step(batch, phase)

    asked = []
    train(Asking(), replace(QUIET, steps=2, deterministic=True))
    assert asked == [True, True] and not torch.are_deterministic_algorithms_enabled()


def test_checkpoints_that_do_not_belong_are_refused(tmp_path):
    save_checkpoint(tmp_path / CHECKPOINT, {"identity": "", "stages": {}, "history": []})
    with pytest.raises(CheckpointError, match="is a checkpoint of another kind of training: take another folder"):
        train(Regression(), QUIET, tmp_path)


def test_the_best_of_a_longer_run_is_not_taken_for_that_of_a_shorter(tmp_path):
    def stop(number, loss):
        if number == 7:
            raise KeyboardInterrupt
        return loss

    with pytest.raises(KeyboardInterrupt):  # checkpoint of step 4, best of step 6
        train(Regression(figures=[2.0, 1.0], poison=stop), QUIET, tmp_path)
    with pytest.raises(CheckpointError, match="is of step 6, the best validation of this run was at step 3"):
        train(Regression(figures=[3.0]), replace(QUIET, steps=5), tmp_path)
