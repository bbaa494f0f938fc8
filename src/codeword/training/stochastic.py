"""Training a quantizer on vectors by stochastic gradient steps, through any estimator.

::

    x ──► quantizer ──► output        loss = mean |x - output|^2 / D + the quantizer's own loss

The protocol of the scripts published with NSVQ (2022) and with its product, residual and additive kin (2023): fresh
batches, Adam at a constant 1e-3, unused codewords replaced every 1000 batches but not in the last tenth of the run.
Where the vectors are all there is, the closed-form trainers get lower errors in less time; this one is for streams
without end, for comparisons of estimators, and for quantizers that learn by gradient alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.optim import Adam, Optimizer

from codeword.quantizers.base import Quantizer
from codeword.quantizers.estimator import NoiseSubstitution
from codeword.quantizers.learning import Gradient
from codeword.quantizers.revival import ReplaceUnused
from codeword.quantizers.seeding import Uniform
from codeword.quantizers.vector import VectorQuantizer
from codeword.training.loop import Outcome, train
from codeword.training.loop_config import LoopConfig
from codeword.training.task import StepResult, Task


@runtime_checkable
class Rows(Protocol):
    """Vectors that can be picked by number: a matrix, or a file of ``codeword.data.vectors``."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, places: Int[Tensor, " rows"], /) -> Float[Tensor, "rows dim"]:
        """Some of them."""
        ...


@runtime_checkable
class Source(Protocol):
    """Where batches come from. A batch is a function of its number, which is what makes runs resumable."""

    def batch(self, number: int, size: int) -> Float[Tensor, "size dim"]:
        """Batch ``number``, counted from 0, of ``size`` vectors."""
        ...


@dataclass(frozen=True)
class Fresh:
    """Vectors that are drawn anew for every batch and never seen again.

    Attributes:
        draw: A generator of vectors, called as ``draw(count, seed=...)``.
        seed: Seeds the draws, together with the number of the batch.
    """

    draw: Callable[..., Float[Tensor, "count dim"]]
    seed: int = 0

    def batch(self, number: int, size: int) -> Float[Tensor, "size dim"]:
        return self.draw(size, seed=_mixed(self.seed, number))


class Shuffled:
    """Vectors of a matrix or file, in a new order every epoch; the rest of an epoch that fills no batch is left out.

    Args:
        rows: The vectors.
        seed: Seeds the orders, together with the number of the epoch.
    """

    def __init__(self, rows: Rows, seed: int = 0) -> None:
        self.rows, self.seed = rows, seed
        self._order: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def batch(self, number: int, size: int) -> Float[Tensor, "size dim"]:
        per_epoch = len(self.rows) // size
        if not per_epoch:
            raise ValueError(f"{len(self.rows)} vectors fill no batch of {size}: take a smaller batch")
        epoch, place = divmod(number, per_epoch)
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(_mixed(self.seed, epoch))
            self._order = (epoch, torch.randperm(len(self.rows), generator=generator))
        return self.rows[self._order[1][place * size : (place + 1) * size]]


def _mixed(seed: int, number: int) -> int:
    # 32 bits, because PyTorch's generator on the CPU looks at no more; one seed's numbers give different results.
    return (seed * 0x9E3779B1 + number) % (1 << 32)


class VectorTask(Task[Float[Tensor, "rows dim"]]):
    """A quantizer, alone in the network.

    Args:
        quantizer: What is trained, through its own estimator.
        source: Where batches come from.
        batch_size: Vectors of a batch, over all ranks together.
        learning_rate: Of Adam.
        validation: Held-out vectors, coded as in use; ``None`` for no validation.
    """

    def __init__(
        self,
        quantizer: Quantizer,
        source: Source,
        *,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        validation: Float[Tensor, "rows dim"] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"a batch needs at least 1 vector, got {batch_size}")
        if not learning_rate > 0:
            raise ValueError(f"the learning rate must be positive, got {learning_rate}")
        if validation is not None and validation.shape[1:] != (quantizer.dim,):
            raise ValueError(
                f"the quantizer takes {quantizer.dim} features, the validation vectors have shape "
                f"{tuple(validation.shape)}"
            )
        if validation is not None and not len(validation):
            raise ValueError("there are no validation vectors: pass some, or None for no validation")
        self.quantizer, self.source, self.batch_size = quantizer, source, batch_size
        self.learning_rate, self.validation = learning_rate, validation

    def settings(self) -> Mapping[str, object]:
        return {"batch_size": self.batch_size, "learning_rate": self.learning_rate}

    def optimizers(self) -> Sequence[Optimizer]:
        parameters = list(self.quantizer.parameters())
        return [Adam(parameters, lr=self.learning_rate)] if parameters else []

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[Float[Tensor, "rows dim"]]:
        if self.batch_size % world_size:
            raise ValueError(f"a batch of {self.batch_size} vectors does not divide over {world_size} processes")
        share = self.batch_size // world_size
        number = start
        while True:
            yield self.source.batch(number, self.batch_size)[rank * share : (rank + 1) * share]
            number += 1

    def step(self, batch: Float[Tensor, "rows dim"], phase: int) -> StepResult:
        output = self.quantizer(batch)
        error = F.mse_loss(output.vectors, batch)
        # The distance to the codewords, which the noisy outputs of some estimators do not tell.
        with torch.no_grad():
            distortion = F.mse_loss(self.quantizer.decode(output.codes), batch)
        return StepResult(error + output.loss, {"mse": distortion})

    def validate(self) -> Mapping[str, float]:
        if self.validation is None:
            return {}
        total = 0.0
        device = next(iter(self.quantizer.state_dict().values())).device
        for part in self.validation.split(65536):
            rows = part.to(device)
            total += float(F.mse_loss(self.quantizer.decode(self.quantizer.encode(rows)), rows, reduction="sum"))
        return {"loss": total / self.validation.numel()}


def published_level(dim: int, size: int, *, steps: int = 20_000, seed: int = 0) -> VectorQuantizer:
    """A codebook as the scripts published with NSVQ set it up, to be used alone or as a part of a composed quantizer.

    It starts uniformly in (-1/size, 1/size), learns through the output alone by noise substitution, and has codewords
    that occur in fewer than 1 % of batches replaced every 1000 batches, except in the last tenth of the steps.

    Args:
        dim: Features of a vector.
        size: Number of codewords.
        steps: Length of the run.
        seed: Seeds the start; the levels of a composed quantizer need different ones.
    """
    return VectorQuantizer(
        dim,
        size,
        learning=Gradient(codebook=0.0, commitment=0.0),
        seeding=Uniform(seed=seed),
        revival=ReplaceUnused(period=1000, threshold=0.01, last_step=steps - steps // 10),
        estimator=NoiseSubstitution(),
    )


def train_stochastic(
    task: VectorTask, config: LoopConfig | None = None, folder: Path | None = None, *, dry_run: bool = False
) -> Outcome:
    """Train a quantizer on vectors; by default for the 20 000 steps of the published scripts.

    Args:
        task: The quantizer and its data.
        config: How long and how; a constant learning rate unless it says otherwise.
        folder: Where checkpoints and logs go, and what an interrupted run goes on from; ``None`` keeps nothing.
        dry_run: Two steps and one validation that change nothing.
    """
    return train(task, config or LoopConfig(steps=20_000), folder, dry_run=dry_run)
