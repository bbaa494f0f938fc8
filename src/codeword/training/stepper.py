"""One optimizer step of a task: precision, accumulation, phases, clipping, data-parallel sums."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor
from torch.optim import Optimizer

from codeword.functional.ranks import world_size
from codeword.quantizers.update import codebooks_of, update
from codeword.training.average import WeightAverage
from codeword.training.loop_config import LoopConfig
from codeword.training.task import StepResult, Task


class Stepper:
    """A task with its optimizers, on the device and under the precision of a configuration.

    Args:
        task: What is trained.
        config: How.
    """

    def __init__(self, task: Task[Any], config: LoopConfig) -> None:
        self.task, self.config = task, config
        self.optimizers: Sequence[Optimizer] = list(task.optimizers())
        if isinstance(config.clip_norm, tuple) and len(config.clip_norm) != len(self.optimizers):
            raise ValueError(
                f"clip_norm has {len(config.clip_norm)} numbers for {len(self.optimizers)} phases: give one for each, "
                "or one for all"
            )
        self.fabric = make_fabric(config, phases=len(self.optimizers))
        task.train()
        # Wrapped, the forward runs under the precision and sums gradients over ranks; without weights it needs neither.
        self._wrapped: Any = None
        if any(parameter.requires_grad for parameter in task.parameters()):
            self._wrapped = self.fabric.setup_module(task)
        task.to(self.fabric.device)
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
        most = self.config.clip_norm
        # A norm that is not finite is left to the checks of loss and weights, which say more about it.
        norm = self.fabric.clip_gradients(
            self._wrapped,
            self._stepping[phase],
            max_norm=most[phase] if isinstance(most, tuple) else most,
            error_if_nonfinite=False,
        )
        return {f"gradient_norm_{phase}" if phase else "gradient_norm": cast(Tensor, norm).detach()}

    def non_finite(self) -> str | None:
        """The name of a parameter that holds a number that is not finite, or of a buffer that holds a NaN."""
        for name, parameter in self.task.named_parameters():
            if not torch.isfinite(parameter).all():
                return name
        for name, buffer in self.task.named_buffers():  # minus infinity is what empty places of codebooks hold
            if buffer.is_floating_point() and torch.isnan(buffer).any():
                return name
        return None

    def weights(self) -> dict[str, object]:
        """Weights and their average, for a checkpoint."""
        return {"module": self.task.state_dict(), "average": self.average and self.average.weights}

    def load_weights(self, weights: Mapping[str, Any]) -> None:
        """The inverse of ``weights``.

        Raises:
            RuntimeError: If they do not fit.
        """
        self.task.load_state_dict(weights["module"])
        if self.average is not None:
            for name, value in self.average.weights.items():
                value.copy_(weights["average"][name])

    def finish(self) -> None:
        """Leave the task with the weights that count, in evaluation mode."""
        if self.average is not None:
            self.average.put()
        for book in codebooks_of(self.task):
            book.managed = False
        self.task.eval()


def start_ranks(config: LoopConfig) -> None:
    """Let the processes of torchrun know one another before the first loop: who writes what depends on it."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and world_size() == 1:
        make_fabric(config, phases=1)


def make_fabric(config: LoopConfig, phases: int) -> Fabric:
    """Fabric for one process, or for those that torchrun or the configuration asks for."""
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
