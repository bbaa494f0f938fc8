"""One optimizer step of a task: precision, accumulation, phases, clipping, data-parallel sums."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor
from torch.optim import Adam, Optimizer

from codeword.functional.ranks import world_size
from codeword.quantizers.update import codebooks_of, update
from codeword.training import sharding
from codeword.training.average import WeightAverage
from codeword.training.loop_config import LoopConfig
from codeword.training.task import StepResult, Task


class Stepper:
    """A task with its optimizers, on the device and under the precision of a configuration.

    Args:
        task: What is trained; under sharding it gets its weights at the end.
        config: How.

    Attributes:
        task: What steps and validates: the one above, or under sharding its twin.
    """

    def __init__(self, task: Task[Any], config: LoopConfig) -> None:
        self.config, self._given = config, task
        learns = any(parameter.requires_grad for parameter in task.parameters())
        self._sharded = learns and config.sharding == "full" and _processes(config) > 1
        self._wrapped: Any = None
        if self._sharded:  # before the optimizers, which hold the parts of the weights
            self.fabric = make_fabric(config, phases=1)
            task.zero_grad()
            task = sharding.twin(task).train()
            self._wrapped = self.fabric.setup_module(task, move_to_device=False)
        self.task = task
        self.optimizers: Sequence[Optimizer] = list(task.optimizers())
        if isinstance(config.clip_norm, tuple) and len(config.clip_norm) != len(self.optimizers):
            raise ValueError(
                f"clip_norm has {len(config.clip_norm)} numbers for {len(self.optimizers)} phases: give one for each, "
                "or one for all"
            )
        if self._sharded:
            sharding.check_optimizers(self._given, self.optimizers)
            sharding.step_one_by_one(self.optimizers)
        else:
            self.fabric = make_fabric(config, phases=len(self.optimizers))
        task.train()
        # Wrapped, the forward runs under the precision and sums gradients over ranks; without weights it needs neither.
        if learns and not self._sharded:
            self._wrapped = self.fabric.setup_module(task)
        task.to(self.fabric.device)
        if not self._sharded:
            _fuse(self.optimizers)
        self._stepping = [cast(Optimizer, self.fabric.setup_optimizers(optimizer)) for optimizer in self.optimizers]
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", group["lr"])
        self.average = None if config.average_decay is None else WeightAverage(task, config.average_decay)
        for book in codebooks_of(task):
            book.managed = True  # statistics wait for the update after the optimizer step, from the first forward on

    @property
    def learning_rate(self) -> float | None:
        """Of the first optimizer, at the last step."""
        return self.optimizers[0].param_groups[0]["lr"] if self.optimizers else None

    def step(self, step: int, batches: Sequence[Any]) -> dict[str, Tensor]:
        """Step every phase on the same batches; the means of loss and metrics, still on the device.

        Args:
            step: Steps made so far.
            batches: What one step accumulates.
        """
        forward: Callable[[Any, int], StepResult] = self._wrapped or self.task
        share = 1 / len(batches)
        values: dict[str, Tensor] = {}
        for phase in range(max(1, len(self.optimizers))):
            self._prepare(phase, step)
            for number, batch in enumerate(batches):
                with self._gradients_stay(number + 1 < len(batches)):
                    result = forward(self.fabric.to_device(batch), phase)
                    if result.loss.requires_grad:
                        self.fabric.backward(result.loss * share)
                for name, value in {"loss": result.loss, **result.metrics}.items():
                    values[name] = values.get(name, 0.0) + value.detach() * share
            if self.optimizers:
                if self._sharded:
                    sharding.check_unused(self._given)
                    sharding.mean_whole_gradients_(_weights(self.optimizers[phase]))
                values |= self._clip(phase)
                self._stepping[phase].step()
        update(self.task, *self.optimizers)
        if self.average is not None:
            self.average.update(step + 1)
        return values

    def _prepare(self, phase: int, step: int) -> None:
        for optimizer in self.optimizers[phase : phase + 1]:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * self.config.schedule(step)
            optimizer.zero_grad()

    def _gradients_stay(self, stay: bool) -> AbstractContextManager[None]:
        # Only the last batch of a step sums gradients over ranks.
        together = self._wrapped is None or world_size() == 1 or not stay
        return nullcontext() if together else self.fabric.no_backward_sync(self._wrapped)

    def _clip(self, phase: int) -> Mapping[str, Tensor]:
        if self.config.clip_norm is None or self._wrapped is None:
            return {}
        given = self.config.clip_norm
        most = given[phase] if isinstance(given, tuple) else given
        # A norm that is not finite is left to the checks of loss and weights, which say more about it.
        norm = (
            sharding.clip_(_weights(self.optimizers[phase]), most)
            if self._sharded
            else self.fabric.clip_gradients(
                self._wrapped, self._stepping[phase], max_norm=most, error_if_nonfinite=False
            )
        )
        return {f"gradient_norm_{phase}" if phase else "gradient_norm": cast(Tensor, norm).detach()}

    def whole_weights(self) -> AbstractContextManager[None]:
        """Inside, the weights are whole, for a validation."""
        return sharding.whole_weights(self.task) if self._sharded else nullcontext()

    def non_finite(self) -> str | None:
        """The name of a parameter that holds a number that is not finite, or of a buffer that holds a NaN."""
        found = self._own_non_finite()
        if not self._sharded:
            return found
        names: list[str | None] = [None] * world_size()
        dist.all_gather_object(names, found)
        return next((name for name in names if name is not None), None)

    def _own_non_finite(self) -> str | None:
        for name, parameter in self.task.named_parameters():
            if not torch.isfinite(sharding.own_part(parameter)).all():
                return name
        for name, buffer in self.task.named_buffers():  # minus infinity is what empty places of codebooks hold
            if buffer.is_floating_point() and torch.isnan(buffer).any():
                return name
        return None

    def weights(self) -> dict[str, object]:
        """Weights and their average, for a checkpoint; under sharding this rank's parts."""
        return {"module": self.task.state_dict(), "average": self.average and self.average.weights}

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """The inverse of ``weights``; they may be whole as well.

        Raises:
            RuntimeError: If they do not fit.
        """
        own = self.task.state_dict()
        self.task.load_state_dict(
            {name: sharding.divided(value, own.get(name, value)) for name, value in weights["module"].items()}
        )
        if self.average is not None:
            for name, value in self.average.weights.items():
                value.copy_(sharding.divided(weights["average"][name], value))

    def state(self) -> dict[str, object]:
        """All that a checkpoint needs of this, with whole tensors on the first rank; all ranks must call it."""
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        precision = self.fabric.strategy.precision.state_dict()
        state = {"optimizers": optimizers, "precision": precision, **self.weights()}
        return sharding.gathered(state) if self._sharded else state

    def load_progress(self, state: Mapping[str, Any]) -> None:
        """What ``state`` holds beside the weights."""
        for optimizer, content in zip(self.optimizers, state["optimizers"], strict=True):
            _load_moments(optimizer, sharding.divided_moments(optimizer, content))
        self.fabric.strategy.precision.load_state_dict(state["precision"])

    def finish(self) -> None:
        """Leave the task with the weights that count, in evaluation mode."""
        if self.average is not None:
            self.average.put()
        if self._sharded:
            self._given.to(self.fabric.device)
            self._given.load_state_dict(sharding.gathered(self.task.state_dict(), everywhere=True))
        for book in codebooks_of(self._given):
            book.managed = False
        self._given.eval()


def _weights(optimizer: Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _fuse(optimizers: Sequence[Optimizer]) -> None:
    """Let Adam go over weights once, in a quarter of the time, wherever its task has not said how it steps.

    It goes over memory as it lies there, so weights must lie in one piece: only then their gradients lie alike.
    """
    for optimizer in optimizers:
        if isinstance(optimizer, Adam):
            for group in optimizer.param_groups:
                told = any(group[name] for name in ("foreach", "fused", "capturable", "differentiable"))
                if not told and all(map(_in_one_piece, group["params"])):
                    group["fused"] = True


def _in_one_piece(weight: Tensor) -> bool:
    """Whether it fills a stretch of memory in any order of axes: then what is made like it keeps its strides."""
    return torch.empty_like(weight, device="meta").stride() == weight.stride()


def _load_moments(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Moments of a checkpoint, laid out as their weights are; how to step is not a checkpoint's to say."""
    groups = zip(state["param_groups"], optimizer.param_groups, strict=True)
    kept = [given | {name: own[name] for name in ("foreach", "fused") if name in own} for given, own in groups]
    optimizer.load_state_dict({**state, "param_groups": kept})
    for weight, moments in optimizer.state.items():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                moments[name] = torch.empty_like(weight, dtype=value.dtype, device=value.device).copy_(value)


def start_ranks(config: LoopConfig) -> None:
    """Let the processes of torchrun know one another before the first loop: who writes what depends on it."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and world_size() == 1:
        make_fabric(config, phases=1)


def make_fabric(config: LoopConfig, phases: int) -> Fabric:
    """Fabric for one process, or for those that torchrun or the configuration asks for."""
    processes = _processes(config)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    strategy: DDPStrategy | ModelParallelStrategy
    if config.sharding == "full":
        strategy = ModelParallelStrategy(sharding.shard, data_parallel_size=processes, tensor_parallel_size=1)
    else:
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


def _processes(config: LoopConfig) -> int:
    return int(os.environ.get("WORLD_SIZE", config.devices))
