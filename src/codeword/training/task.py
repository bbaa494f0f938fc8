"""What a system tells the training loop: its modules, its batches and what a step is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

Batch = TypeVar("Batch")


class StepResult(NamedTuple):
    """What one forward of a task gives the loop.

    Attributes:
        loss: What is minimised; without a gradient where nothing learns by gradient.
        metrics: Further scalars for the logs, by name.
    """

    loss: Float[Tensor, ""]
    metrics: Mapping[str, Float[Tensor, ""]]


class Task(nn.Module, ABC, Generic[Batch]):
    """The contract of a task. Everything that has weights is a submodule, so that the checkpoint holds it.

    ::

        batches(start) ──► batch ──► step(batch, phase) ──► loss ──► backward ──► optimizers[phase]
                                                                                        │
        validate() ◄──────────────────── every so often ──────────────────── codebooks settle

    A task with adversaries has several phases: for every batch, phase 0 steps optimizer 0, then phase 1 optimizer 1.
    """

    @abstractmethod
    def optimizers(self) -> Sequence[Optimizer]:
        """One optimizer per phase, made once at the start; none where nothing learns by gradient."""

    @abstractmethod
    def batches(self, start: int, rank: int, world_size: int) -> Iterator[Batch]:
        """The batches from number ``start`` on; they end when the data does.

        What batch number n holds must depend on nothing but n (and the seeds of the task): then the number of consumed
        batches is all that a checkpoint needs to go on. Every rank gets its own share of every batch.
        """

    @abstractmethod
    def step(self, batch: Batch, phase: int) -> StepResult:
        """The loss of a batch, in training mode and under the loop's precision."""

    @abstractmethod
    def validate(self) -> Mapping[str, float]:
        """Figures on held-out data, in evaluation mode and without gradient; ``loss`` decides. Empty for none.

        With several ranks each may see its share: the loop averages.
        """

    def settings(self) -> Mapping[str, object]:
        """What changes the numbers of a run, such as the batch size: a checkpoint goes on only under the same."""
        return {}

    def forward(self, batch: Batch, phase: int) -> StepResult:
        return self.step(batch, phase)
