"""The one training loop: every system gives it a task.

A run can be killed at any moment. Started again on the same folder it goes on from its last checkpoint and computes the
same numbers to the last digit as a run that was never stopped: the checkpoint holds weights, their average, optimizers,
the number of consumed batches and the generators of every rank, and learning rates are functions of the step.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from codeword.functional.ranks import rank, world_size
from codeword.quantizers.update import codebooks_of, update
from codeword.training.average import WeightAverage
from codeword.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    random_state,
    save_checkpoint,
    set_random_state,
)
from codeword.training.logging import JsonLog, Log, TensorBoardLog
from codeword.training.schedule import Constant, Schedule
from codeword.training.task import Task

CHECKPOINT, BEST, LOG = "checkpoint.safetensors", "best.safetensors", "log.jsonl"
Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true"]


class DivergedError(ValueError):
    """The loss or the weights turned non-finite; the message says when, and which checkpoint is good."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how a task is trained.

    Attributes:
        steps: Optimizer steps.
        accumulate: Batches per optimizer step.
        precision: Of forward and backward; statistics of codebooks stay in float32.
        clip_norm: Largest norm of the gradient of an optimizer's parameters; ``None`` does not clip.
        schedule: What the learning rates are multiplied with.
        average_decay: Decay of the moving average of weights that validation uses and that is kept; ``None`` for none.
        validate_every: Steps between validations.
        patience: Stop after so many validations without a better loss; ``None`` never stops.
        keep_best: Whether the task ends with the weights of its best validation rather than the last.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between lines of the log, each a mean over them; losses are read from the device only then.
        seed: Of all generators, at the start of the run.
        accelerator: ``cpu``, ``cuda`` or ``auto``.
        devices: Processes on this machine; under torchrun what it says.
        deterministic: Whether an operator without a deterministic version is refused.
        progress: Whether to show a progress bar with rate and time left.
        tensorboard: Whether to write TensorBoard's event files beside ``log.jsonl``.
    """

    steps: int
    accumulate: int = 1
    precision: Precision = "32-true"
    clip_norm: float | None = None
    schedule: Schedule = Constant()
    average_decay: float | None = None
    validate_every: int = 1000
    patience: int | None = None
    keep_best: bool = True
    checkpoint_every: int = 1000
    log_every: int = 10
    seed: int = 0
    accelerator: str = "auto"
    devices: int = 1
    deterministic: bool = False
    progress: bool = True
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "validate_every", "checkpoint_every", "log_every", "devices"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a LoopConfig must be at least 1, got {getattr(self, name)}")


# What changes the numbers of a run: a checkpoint goes on only under the same. More steps are welcome.
_FIXED = ("accumulate", "precision", "clip_norm", "schedule", "average_decay", "seed")


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
    short = replace(config, steps=min(2, config.steps), validate_every=min(2, config.steps), keep_best=False)
    with torch.random.fork_rng():
        outcome = _Run(task, replace(short, tensorboard=False), None).go()
    task.load_state_dict(before)
    return outcome


class _Run:
    """The state of one call of ``train``."""

    def __init__(self, task: Task[Any], config: LoopConfig, folder: Path | None) -> None:
        self.task, self.config, self.folder = task, config, folder
        self.optimizers = list(task.optimizers())
        self.fabric = _fabric(config, phases=len(self.optimizers))
        self.step, self.stale, self.saved = 0, 0, -1
        self.reason: Literal["steps", "patience", "data"] = "steps"
        self.best: float | None = None
        self.best_step = 0
        self.best_state: Mapping[str, object] = {}
        self.pending: list[dict[str, Tensor]] = []
        torch.manual_seed(config.seed)
        if config.deterministic:
            torch.use_deterministic_algorithms(True)
        task.train()
        learns = any(p.requires_grad for p in task.parameters())
        # Wrapped, a task's forward runs under the precision and sums gradients over ranks; without any it needs neither.
        self.forward = self.fabric.setup_module(task) if learns else task.to(self.fabric.device)
        self.stepping = [cast(Optimizer, self.fabric.setup_optimizers(optimizer)) for optimizer in self.optimizers]
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
        self.average = None if config.average_decay is None else WeightAverage(task, config.average_decay)
        for book in codebooks_of(task):
            book.managed = True  # statistics wait for the update after the optimizer step, from the first forward on
        self._restore()
        self.logs = self._open_logs()

    def go(self) -> Outcome:
        start, begin = self.step, time.perf_counter()
        try:
            self._steps()
        finally:
            for log in self.logs:
                log.close()
        seconds = (time.perf_counter() - begin) / max(1, self.step - start)
        self._settle_weights()
        return Outcome(self.step, self.reason, self.best, self.best_step, seconds if self.step > start else 0.0)

    def _steps(self) -> None:
        config = self.config
        batches = self.task.batches(self.step * config.accumulate, rank(), world_size())
        quiet = not config.progress or rank() > 0
        with tqdm(total=config.steps, initial=min(self.step, config.steps), disable=quiet, unit="step") as bar:
            while self.step < config.steps and not self._patience_lost():
                group = _take(batches, config.accumulate)
                if len(group) < config.accumulate:
                    self.reason = "data"
                    break
                self._step([self.fabric.to_device(batch) for batch in group])
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

    def _step(self, group: Sequence[Any]) -> None:
        """One optimizer step of every phase, on the batches of a group."""
        values: dict[str, Tensor] = {}
        for phase in range(max(1, len(self.optimizers))):
            self._prepare(phase)
            for number, batch in enumerate(group):
                with self._gradients_stay(number + 1 < len(group)):
                    result = self.forward(batch, phase)
                    if result.loss.requires_grad:
                        self.fabric.backward(result.loss / len(group))
                for name, value in {"loss": result.loss, **result.metrics}.items():
                    values[name] = values.get(name, 0.0) + value.detach() / len(group)
            if self.optimizers:
                if self.config.clip_norm is not None:
                    values[f"gradient_norm_{phase}" if phase else "gradient_norm"] = self._clip(phase)
                self.stepping[phase].step()
        self.step += 1
        update(self.task, *self.optimizers)
        if self.average is not None:
            self.average.update(self.step)
        self.pending.append(values)

    def _prepare(self, phase: int) -> None:
        for optimizer in self.optimizers[phase : phase + 1]:
            for settings in optimizer.param_groups:
                settings["lr"] = settings["initial_lr"] * self.config.schedule(self.step)
            optimizer.zero_grad()

    def _gradients_stay(self, stay: bool) -> Any:
        # Only the last batch of a group sums gradients over ranks.
        return self.fabric.no_backward_sync(self.forward) if stay and world_size() > 1 else nullcontext()

    def _clip(self, phase: int) -> Tensor:
        # A norm that is not finite scales nothing usable, and the checks of loss and weights report it with more detail.
        norm = self.fabric.clip_gradients(
            self.forward, self.stepping[phase], max_norm=self.config.clip_norm, error_if_nonfinite=False
        )
        return cast(Tensor, norm).detach()

    def _flush(self, bar: Any) -> None:
        """Read the pending losses from the device, stop if one is not finite, and log their means."""
        if not self.pending:
            return
        names = list(self.pending[0])
        rows = torch.stack([torch.stack([row[name].double() for name in names]) for row in self.pending])
        if world_size() > 1:
            dist.all_reduce(rows)
            rows /= world_size()
        rows = rows.cpu()
        first, count = self.step - len(self.pending), self.config.accumulate
        self.pending = []
        for place, loss in enumerate(rows[:, 0].tolist()):
            if not torch.isfinite(torch.tensor(loss)):
                step = first + place + 1
                batches = f"batch {step - 1}" if count == 1 else f"batches {(step - 1) * count} to {step * count - 1}"
                raise DivergedError(f"the loss became {loss} at step {step}, {batches}: {self._advice()}")
        means = dict(zip(names, rows.mean(0).tolist(), strict=True))
        bar.set_postfix(loss=f"{means['loss']:.4g}", refresh=False)
        if self.optimizers:
            means["learning_rate"] = self.optimizers[0].param_groups[0]["lr"]
        for log in self.logs:
            log.write(self.step, means, "train")

    def _advice(self) -> str:
        path = None if self.folder is None else self.folder / CHECKPOINT
        kept = f"the last good checkpoint is {path}; " if path is not None and path.exists() else ""
        return f"{kept}lower the learning rate, set clip_norm, or look at that data"

    def _validate(self, bar: Any) -> None:
        self._flush(bar)
        self.task.eval()
        swapped = nullcontext() if self.average is None else self.average.swapped()
        with torch.no_grad(), swapped, torch.random.fork_rng():  # training goes on as if nothing had been drawn
            values = dict(self.task.validate())
        self.task.train()
        if not values and self.config.patience is not None:
            raise ValueError(f"patience={self.config.patience} needs a validation: {type(self.task).__name__} has none")
        if not values:
            return
        if "loss" not in values:
            raise ValueError(f"validate of {type(self.task).__name__} must name a 'loss', got {', '.join(values)}")
        figures = torch.tensor(list(values.values()), dtype=torch.float64, device=self.fabric.device)
        if world_size() > 1:
            dist.all_reduce(figures)
            figures /= world_size()
        values = dict(zip(values, figures.tolist(), strict=True))
        for log in self.logs:
            log.write(self.step, values, "validation")
        if self.best is None or values["loss"] < self.best:
            self.best, self.best_step, self.stale = values["loss"], self.step, 0
            if self.config.keep_best:
                self._save(BEST)
        else:
            self.stale += 1

    def _weights(self) -> dict[str, object]:
        average = None if self.average is None else self.average.weights
        return {"module": self.task.state_dict(), "average": average}

    def _checkpoint(self, bar: Any) -> None:
        self._flush(bar)  # it raises before weights that a bad loss has spoilt are written
        self._save(CHECKPOINT)
        self.saved = self.step

    def _save(self, name: str) -> None:
        """Write a checkpoint, unless a weight is not finite: the one before stays the last good one."""
        bad = [n for n, p in self.task.named_parameters() if not torch.isfinite(p).all()]
        bad += [n for n, b in self.task.named_buffers() if b.is_floating_point() and torch.isnan(b).any()]
        if bad:
            raise DivergedError(f"{bad[0]} holds a number that is not finite after step {self.step}: {self._advice()}")
        if self.folder is None:
            if name == BEST:
                self.best_state = _cloned(self._weights())
            return
        states: list[object] = [random_state(self.fabric.device)]
        if world_size() > 1:
            states = [None] * world_size()
            dist.all_gather_object(states, random_state(self.fabric.device))
        if rank() == 0:
            state = {
                "settings": self._settings(),
                "step": self.step,
                "validation": (self.best, self.best_step, self.stale),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "precision": self.fabric.strategy.precision.state_dict(),
                "random": states,
                **self._weights(),
            }
            save_checkpoint(self.folder / name, state)
        self.fabric.barrier()

    def _restore(self) -> None:
        if self.folder is None:
            return
        if rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            for part in self.folder.glob(".*.part"):  # what a kill in the middle of a write has left
                part.unlink()
        self.fabric.barrier()
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        state = cast(dict[str, Any], load_checkpoint(path))
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
        for optimizer, content in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.step = self.saved = state["step"]
        self.best, self.best_step, self.stale = state["validation"]
        set_random_state(state["random"][rank()], self.fabric.device)

    def _settings(self) -> dict[str, str]:
        fixed = {key: getattr(self.config, key) for key in _FIXED}
        return {key: repr(value) for key, value in {**fixed, **self.task.settings()}.items()}

    def _load_weights(self, path: Path | None, state: Mapping[str, Any]) -> None:
        try:
            self.task.load_state_dict(state["module"])
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not fit this task: {' '.join(str(error).split())}") from error
        if self.average is not None:
            for name, value in self.average.weights.items():
                value.copy_(state["average"][name])

    def _settle_weights(self) -> None:
        """Leave the task with the weights that count."""
        if self.config.keep_best and self.best is not None:
            path = None if self.folder is None else self.folder / BEST
            self._load_weights(
                path, self.best_state if path is None else cast(Mapping[str, Any], load_checkpoint(path))
            )
        if self.average is not None:
            self.average.put()
        for book in codebooks_of(self.task):
            book.managed = False
        self.task.eval()

    def _open_logs(self) -> list[Log]:
        if self.folder is None or rank() > 0:
            return []
        logs: list[Log] = [JsonLog(self.folder / LOG, self.step)]
        if self.config.tensorboard:
            logs.append(TensorBoardLog(self.folder / "tensorboard", self.step))
        return logs


def _fabric(config: LoopConfig, phases: int) -> Fabric:
    processes = int(os.environ.get("WORLD_SIZE", config.devices))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    # Codebooks agree over ranks by their own sums; broadcasting buffers at every forward would only cost.
    # With several phases a backward leaves the other phases' parameters without gradient.
    strategy = DDPStrategy(broadcast_buffers=False, find_unused_parameters=phases > 1)
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=local,
        num_nodes=processes // local,
        precision=config.precision,
        strategy=strategy if processes > 1 else "auto",
    )
    fabric.launch()
    return fabric


def _take(batches: Iterator[Any], count: int) -> list[Any]:
    return [batch for _, batch in zip(range(count), batches, strict=False)]


def _cloned(weights: Mapping[str, object]) -> Mapping[str, object]:
    return {
        name: None if part is None else {key: value.clone() for key, value in cast(Mapping[str, Tensor], part).items()}
        for name, part in weights.items()
    }
