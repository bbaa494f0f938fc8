"""The one training loop: every system gives it a task.

A run can be killed at any moment. Started again on the same folder it goes on from its last checkpoint and computes the
same numbers to the last digit as a run that was never stopped: the checkpoint holds weights, their average, optimizers,
the number of steps and the generators of every rank; learning rates and batches are functions of the step.
"""

import math
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import tqdm

from codeword.functional.ranks import rank, world_size
from codeword.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    random_state,
    random_unchanged,
    remove_parts,
    save_checkpoint,
    set_random_state,
)
from codeword.training.logging import LOG, TENSORBOARD, JsonLog, Log, TensorBoardLog
from codeword.training.loop_config import LoopConfig
from codeword.training.stepper import Stepper
from codeword.training.task import Task

CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"
# What changes the numbers of a run: a checkpoint goes on only under the same. More steps are welcome.
_FIXED = ("accumulate", "precision", "clip_norm", "schedule", "average_decay", "seed")


class DivergedError(ValueError):
    """The loss or the weights turned non-finite; the message says when, and which checkpoint is good."""


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        step: Optimizer steps made, those before an interruption included.
        reason: ``steps`` made, ``patience`` lost, or ``data`` at its end.
        best: The lowest validation loss; ``None`` without validation.
        best_step: When it was reached.
        seconds_per_step: Time of a step of this call, validation and checkpoints included; 0 where none was made.
    """

    step: int
    reason: Literal["steps", "patience", "data"]
    best: float | None
    best_step: int
    seconds_per_step: float


def train(task: Task[Any], config: LoopConfig, folder: Path | None = None, *, dry_run: bool = False) -> Outcome:
    """Train a task, going on from the checkpoint in ``folder`` where there is one.

    Args:
        task: What to train; it ends with the trained weights, on the device it was trained on, in evaluation mode.
        config: How.
        folder: Where checkpoints and logs go; ``None`` keeps nothing.
        dry_run: Make two steps and one validation, write nothing and leave the weights as they were.

    Raises:
        DivergedError: If the loss or a weight turns non-finite.
        CheckpointError: If the checkpoint in ``folder`` is damaged or of another run.
    """
    if not dry_run:
        return _Run(task, config, folder).go()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    steps = min(2, config.steps)
    drawing = "cuda" if torch.cuda.is_available() and config.accelerator != "cpu" else "cpu"
    with random_unchanged(torch.device(drawing)):
        short = replace(config, steps=steps, validate_every=steps, keep_best=False, average_decay=None)
        outcome = _Run(task, short, None).go()
    task.load_state_dict(before)
    return outcome


class _Run:
    """The state of one call of ``train``."""

    def __init__(self, task: Task[Any], config: LoopConfig, folder: Path | None) -> None:
        self.task, self.config, self.folder = task, config, folder
        self.step, self.stale, self.saved = 0, 0, -1
        self.reason: Literal["steps", "patience", "data"] = "steps"
        self.best: float | None = None
        self.best_step = 0
        self.best_weights: Mapping[str, object] = {}
        self.pending: list[dict[str, Tensor]] = []
        self.stepper = Stepper(task, config)
        self.device = self.stepper.fabric.device
        torch.manual_seed(config.seed)
        random.seed(config.seed)
        self._restore()
        self.logs = self._open_logs()

    def go(self) -> Outcome:
        start, begin = self.step, time.perf_counter()
        deterministic = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(deterministic or self.config.deterministic)
        try:
            self._steps()
        finally:
            torch.use_deterministic_algorithms(deterministic)
            for log in self.logs:
                log.close()
        made = self.step - start
        seconds = (time.perf_counter() - begin) / made if made else 0.0
        if self.config.keep_best and self.best is not None:
            self._load_best()
        self.stepper.finish()
        return Outcome(self.step, self.reason, self.best, self.best_step, seconds)

    def _steps(self) -> None:
        config = self.config
        batches = self.stepper.task.batches(self.step * config.accumulate, rank(), world_size())
        quiet = not config.progress or rank() > 0
        with tqdm(total=config.steps, initial=min(self.step, config.steps), disable=quiet, unit="step") as bar:
            while self.step < config.steps and not self._patience_lost():
                group = _take(batches, config.accumulate)
                if len(group) < config.accumulate:
                    self.reason = "data"
                    break
                self.pending.append(self.stepper.step(self.step, group))
                self.step += 1
                bar.update()
                if self.step % config.log_every == 0:
                    self._flush(bar)
                if self.step % config.validate_every == 0:
                    self._validate(bar)
                if self.step % config.checkpoint_every == 0:
                    self._checkpoint(bar)
            if self.saved < self.step:
                self._checkpoint(bar)
        if self._patience_lost():
            self.reason = "patience"

    def _patience_lost(self) -> bool:
        return self.config.patience is not None and self.stale >= self.config.patience

    def _flush(self, bar: Any) -> None:
        """Read the pending losses from the device, stop if one is not finite, and log their means."""
        if not self.pending:
            return
        names = list(self.pending[0])
        rows = torch.stack([torch.stack([row[name].double() for name in names]) for row in self.pending])
        rows = _mean_over_ranks(rows).cpu()
        first = self.step - len(self.pending)
        self.pending = []
        for place, loss in enumerate(rows[:, 0].tolist()):
            if not math.isfinite(loss):
                count, step = self.config.accumulate, first + place
                batches = f"batch {step}" if count == 1 else f"batches {step * count} to {(step + 1) * count - 1}"
                raise DivergedError(f"the loss became {loss} at step {step + 1}, {batches}: {self._advice()}")
        means = dict(zip(names, rows.mean(0).tolist(), strict=True))
        bar.set_postfix(loss=f"{means['loss']:.4g}", refresh=False)
        if self.stepper.learning_rate is not None:
            means["learning_rate"] = self.stepper.learning_rate
        for log in self.logs:
            log.write(self.step, means, "train")

    def _advice(self) -> str:
        path = None if self.folder is None else self.folder / CHECKPOINT
        kept = f"the last good checkpoint is {path}; " if path is not None and path.exists() else ""
        return f"{kept}lower the learning rate, set clip_norm, or look at that data"

    def _validate(self, bar: Any) -> None:
        self._flush(bar)
        task, average = self.stepper.task, self.stepper.average
        task.eval()
        # Training goes on as if validation had drawn nothing.
        averaged = average.swapped() if average else nullcontext()
        with torch.no_grad(), averaged, self.stepper.whole_weights(), random_unchanged(self.device):
            values = dict(task.validate())
        task.train()
        if not values and self.config.patience is not None:
            raise ValueError(f"patience={self.config.patience} needs a validation: {type(self.task).__name__} has none")
        if not values:
            return
        if "loss" not in values:
            raise ValueError(f"validate of {type(self.task).__name__} must name a 'loss', got {', '.join(values)}")
        figures = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        values = dict(zip(values, _mean_over_ranks(figures).tolist(), strict=True))
        if not math.isfinite(values["loss"]):
            raise DivergedError(f"the validation loss became {values['loss']} at step {self.step}: {self._advice()}")
        for log in self.logs:
            log.write(self.step, values, "validation")
        if self.best is not None and not values["loss"] < self.best:
            self.stale += 1
            return
        self.best, self.best_step, self.stale = values["loss"], self.step, 0
        if self.config.keep_best:
            self._save(BEST)

    def _checkpoint(self, bar: Any) -> None:
        self._flush(bar)  # it raises before weights that a bad loss has spoilt are written
        self._save(CHECKPOINT)
        self.saved = self.step

    def _save(self, name: str) -> None:
        """Write a checkpoint, unless a weight is not finite: the one before stays the last good one."""
        bad = self.stepper.non_finite()
        if bad is not None:
            raise DivergedError(f"{bad} holds a number that is not finite after step {self.step}: {self._advice()}")
        if self.folder is None:
            if name == BEST:
                self.best_weights = _cloned(self.stepper.weights())
            return
        states: list[object] = [random_state(self.device)]
        if world_size() > 1:
            states = [None] * world_size()
            dist.all_gather_object(states, random_state(self.device))
        trained = self.stepper.state()
        if rank() == 0:
            state = {
                "settings": self._settings(),
                "step": self.step,
                "validation": (self.best, self.best_step, self.stale),
                "random": states,
                **trained,
            }
            save_checkpoint(self.folder / name, state)
        self.stepper.fabric.barrier()

    def _settings(self) -> dict[str, str]:
        fixed = {key: getattr(self.config, key) for key in _FIXED}
        return {key: repr(value) for key, value in {**fixed, **self.task.settings()}.items()}

    def _restore(self) -> None:
        if self.folder is None:
            return
        if rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name in (CHECKPOINT, BEST, LOG):
                remove_parts(self.folder / name)
        self.stepper.fabric.barrier()
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        state = cast(dict[str, Any], load_checkpoint(path))
        if "settings" not in state:
            raise CheckpointError(f"{path} is a checkpoint of another kind of training: take another folder")
        for key, now in self._settings().items():
            if state["settings"].get(key) != now:
                raise CheckpointError(
                    f"{path} was trained with {key}={state['settings'].get(key)}, now it is {now}: "
                    "go on with the same, or take another folder"
                )
        if len(state["random"]) != world_size():
            raise CheckpointError(
                f"{path} was trained by {len(state['random'])} processes, now there are {world_size()}: "
                "go on with as many, or take another folder"
            )
        self._load_weights(path, state)
        self.stepper.load_progress(state)
        self.step = self.saved = state["step"]
        self.best, self.best_step, self.stale = state["validation"]
        set_random_state(state["random"][rank()], self.device)

    def _load_best(self) -> None:
        if self.folder is None:
            self._load_weights(None, self.best_weights)
            return
        path = self.folder / BEST
        state = load_checkpoint(path)
        if state["step"] != self.best_step:
            raise CheckpointError(
                f"{path} is of step {state['step']}, the best validation of this run was at step {self.best_step}: "
                "a longer run was here before; train at least as long, or take another folder"
            )
        self._load_weights(path, state)

    def _load_weights(self, path: Path | None, weights: Mapping[str, object]) -> None:
        try:
            self.stepper.load_weights(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not fit this task: {' '.join(str(error).split())}") from error

    def _open_logs(self) -> list[Log]:
        if self.folder is None or rank() > 0:
            return []
        logs: list[Log] = [JsonLog(self.folder / LOG, self.step)]
        if self.config.tensorboard:
            logs.append(TensorBoardLog(self.folder / TENSORBOARD, self.step))
        return logs


def _take(batches: Iterator[Any], count: int) -> list[Any]:
    return [batch for _, batch in zip(range(count), batches, strict=False)]


def _mean_over_ranks(values: Tensor) -> Tensor:
    if world_size() > 1:
        dist.all_reduce(values)
        values /= world_size()
    return values


def _cloned(weights: Mapping[str, object]) -> Mapping[str, object]:
    return {
        name: None if part is None else {key: value.clone() for key, value in cast(Mapping[str, Tensor], part).items()}
        for name, part in weights.items()
    }
