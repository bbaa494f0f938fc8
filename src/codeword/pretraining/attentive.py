"""How much a frozen encoder knows of single patches: a query that learns where to look, on its features.

::

    patches of a frozen encoder ──► attentive pooling ─ norm ─ linear ──► scores
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from codeword.metrics.classification import Labels, figures, multi_hot, num_classes
from codeword.nn.pooling import AttentivePooling
from codeword.pretraining.probes import PatchFeatures, ProbeResult
from codeword.pretraining.samples import Order
from codeword.training.loop import train as run
from codeword.training.loop_config import LoopConfig
from codeword.training.schedule import Cosine
from codeword.training.task import StepResult, Task


@dataclass(frozen=True, kw_only=True)
class AttentiveConfig:
    """How an attentive probe is trained.

    Attributes:
        heads: Of the query.
        steps: At most.
        batch: Samples of a step.
        learning_rates: Of AdamW, to choose from.
        weight_decay: Of AdamW, on matrices alone.
        validate_every: Steps between validations.
        patience: Stop after so many of them without a better loss.
        seed: Of weights and order.
        accelerator: ``cpu``, ``cuda`` or ``auto``.
    """

    heads: int = 4
    steps: int = 1000
    batch: int = 64
    learning_rates: tuple[float, ...] = (1e-4, 1e-3)
    weight_decay: float = 0.05
    validate_every: int = 50
    patience: int = 5
    seed: int = 0
    accelerator: str = "auto"


class LabelledPatches(NamedTuple):
    """Features of patches with the labels of their samples.

    Attributes:
        features: Of all patches.
        labels: The number of a sample's class, or 1 for each of its classes and 0 for others.
    """

    features: PatchFeatures
    labels: Labels


class PatchBatch(NamedTuple):
    """What a step gets.

    Attributes:
        patches: Features.
        valid: Which are no padding.
        targets: Labels, as 1 and 0.
    """

    patches: Float[Tensor, "batch patches dim"]
    valid: Bool[Tensor, "batch patches"] | None
    targets: Float[Tensor, "batch classes"]


class AttentiveTask(Task[PatchBatch]):
    """The training of one probe.

    Args:
        train: To learn from.
        validation: Says when to stop.
        classes: How many there are.
        learning_rate: Of AdamW.
        config: All else.
    """

    def __init__(
        self,
        train: LabelledPatches,
        validation: LabelledPatches,
        classes: int,
        learning_rate: float,
        config: AttentiveConfig,
    ):
        super().__init__()
        self.train_set, self.validation, self.classes = train, validation, classes
        self.learning_rate, self.config = learning_rate, config
        dim = train.features.patches.shape[-1]
        self.pool = AttentivePooling(dim, config.heads)
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))
        self.order = Order(len(train.labels), 1, config.batch, config.seed)

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[PatchBatch]:
        number = start
        while True:
            yield self._rows(self.train_set, self.order.drawn(number, rank, world_size).samples)
            number += 1

    def step(self, batch: PatchBatch, phase: int) -> StepResult:
        return StepResult(self._loss(self.head(self.pool(batch.patches, batch.valid)), batch.targets), {})

    def validate(self) -> Mapping[str, float]:
        scores = self.scores(self.validation.features)
        return {"loss": float(self._loss(scores, multi_hot(self.validation.labels, self.classes)))}

    @torch.no_grad()
    def scores(self, features: PatchFeatures) -> Float[Tensor, "count classes"]:
        """Scores of all classes; in evaluation mode nothing is drawn."""
        device, parts = self.pool.query.device, list[Tensor]()
        for start in range(0, len(features.patches), self.config.batch):
            rows = slice(start, start + self.config.batch)
            valid = None if features.valid is None else features.valid[rows].to(device)
            parts.append(self.head(self.pool(features.patches[rows].to(device), valid)).cpu())
        return torch.cat(parts)

    def optimizers(self) -> Sequence[Optimizer]:
        matrices = [p for p in self.parameters() if p.ndim > 1 and p is not self.pool.query]
        others = [p for p in self.parameters() if p.ndim <= 1 or p is self.pool.query]
        groups = [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return [AdamW(groups, lr=self.learning_rate)]

    def _rows(self, data: LabelledPatches, rows: Sequence[int]) -> PatchBatch:
        valid = None if data.features.valid is None else data.features.valid[rows]
        return PatchBatch(data.features.patches[rows], valid, multi_hot(data.labels[rows], self.classes))

    def _loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        if self.train_set.labels.is_floating_point():
            return F.binary_cross_entropy_with_logits(scores, targets)
        return F.cross_entropy(scores, targets)


def attentive_probe(
    train: LabelledPatches, validation: LabelledPatches, test: LabelledPatches, config: AttentiveConfig | None = None
) -> ProbeResult:
    """Train a query and a linear classifier on features of patches.

    Features are standardised by the mean and deviation of the training samples' patches.

    Args:
        train: To learn from.
        validation: Says when to stop, and chooses the learning rate.
        test: Looked at once.
        config: How.
    """
    config = AttentiveConfig() if config is None else config
    patches, valid = train.features
    rows = patches.flatten(0, 1) if valid is None else patches[valid]
    mean, deviation = rows.mean(0), rows.std(0, correction=0).clamp_min(1e-6)

    def scaled(part: LabelledPatches) -> LabelledPatches:
        found = (part.features.patches - mean) / deviation
        return LabelledPatches(PatchFeatures(found, part.features.valid), part.labels)

    learned, chooses = scaled(train), scaled(validation)
    classes = num_classes(train.labels, validation.labels, test.labels)
    best: tuple[float, float, AttentiveTask] | None = None
    for rate in config.learning_rates:
        with torch.random.fork_rng():
            torch.manual_seed(zlib.crc32(f"{config.seed} probe".encode()))
            task = AttentiveTask(learned, chooses, classes, rate, config)
            run(task, _loop(config))
        found = figures(task.scores(chooses.features), validation.labels).figure
        if best is None or found > best[0]:
            best = found, rate, task
    if best is None:
        raise ValueError("a probe chooses from one learning rate at least, got none")
    tested = figures(best[2].scores(scaled(test).features), test.labels)
    return ProbeResult(tested.figure, best[1], best[0], tested)


def _loop(config: AttentiveConfig) -> LoopConfig:
    warmup = min(config.steps // 10, config.validate_every)
    return LoopConfig(
        steps=config.steps,
        schedule=Cosine(steps=config.steps, warmup=warmup),
        validate_every=min(config.validate_every, config.steps),
        patience=config.patience,
        seed=config.seed,
        accelerator=config.accelerator,
        progress=False,
    )
