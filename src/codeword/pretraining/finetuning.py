"""Training a classifier on labelled samples, from pretrained weights or from random ones.

::

    order ─► samples (SpecAugment, crops ... of their views) ─► mixed, labels too ─► masked ─► classifier ─► loss
                                                                                        ▲          │
                                                                       drop path in it ─┘   learning rate by layer

What a batch holds is a function of its number and the seed, whatever the number of ranks.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from codeword.data.mel_augment import SpecAugment
from codeword.metrics.classification import Labels, figures, multi_hot
from codeword.nn.transformer import TransformerBlock
from codeword.pretraining.classifier import Classifier
from codeword.pretraining.label_mixing import CutMix, LabelMixing, spec_augmented
from codeword.pretraining.masking import MaskRule
from codeword.pretraining.samples import Drawn, Inputs, Order, Samples
from codeword.pretraining.weighted import WeightedOrder, class_weights
from codeword.quantizers.config import describe, register
from codeword.training.task import StepResult, Task


@register
@dataclass(frozen=True, kw_only=True)
class WeightedSampling:
    """Rare classes more often, as AST samples AudioSet.

    Attributes:
        replacement: Whether a sample may come twice in an epoch.
        epoch: Samples of an epoch, BRIDLE's 200,000 for instance; as many as there are unless given.
    """

    replacement: bool = False
    epoch: int | None = None


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """How a classifier is trained.

    Attributes:
        batch: Samples of a batch, all ranks together.
        views: Augmented views of a sample that its epochs show in turn.
        learning_rate: Of AdamW, for the head.
        layer_decay: What it is multiplied with from layer to layer, down from the head.
        betas: Of AdamW.
        weight_decay: Of AdamW, on matrices alone.
        drop_path: Of the last block; that of the others rises to it evenly from 0.
        loss: Cross-entropy of a softmax (``ce``), or binary cross-entropies of all classes (``bce``), as the only one
            for samples with several classes.
        smoothing: Share of a label that is spread evenly over all classes.
        mixing: Rules, of which a mixed sample is made by one that is drawn.
        mixed: Share of samples that are mixed.
        spec_augment: Masks frames and bins of log-mels, after mixing; ``None``: it does not.
        mask: Which patches are left out in training; ``None``: none.
        sampling: ``None``: every sample once in an epoch.
        seed: Of all that is drawn.
    """

    batch: int = 64
    views: int = 1000
    learning_rate: float = 5e-4
    layer_decay: float = 0.75
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-4
    drop_path: float = 0.1
    loss: Literal["ce", "bce"] = "ce"
    smoothing: float = 0.1
    mixing: tuple[LabelMixing, ...] = ()
    mixed: float = 0.5
    spec_augment: SpecAugment | None = None
    mask: MaskRule | None = None
    sampling: WeightedSampling | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "views"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a FineTuneConfig must be at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate of a FineTuneConfig must be above 0, got {self.learning_rate}")
        for name in ("smoothing", "mixed"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} of a FineTuneConfig is a share from 0 to 1, got {getattr(self, name)}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay of a FineTuneConfig is above 0 and at most 1, got {self.layer_decay}")


class LabelledSamples(NamedTuple):
    """Samples with their labels.

    Attributes:
        samples: What is seen.
        labels: The number of every sample's class, or 1 for each of its classes and 0 for others.
    """

    samples: Samples
    labels: Labels


class LabelledBatch(NamedTuple):
    """What a step gets.

    Attributes:
        drawn: Which samples and views.
        inputs: Those, mixed with others.
        targets: Their labels, mixed likewise and not yet smoothed.
    """

    drawn: Drawn
    inputs: Inputs
    targets: Float[Tensor, "batch classes"]


class FineTuneTask(Task[LabelledBatch]):
    """A classifier learns labels.

    Args:
        classifier: What is trained; its rates of dropped paths are set.
        train: To learn from.
        validation: Chooses the best weights; whole, without augmentation of view 0, mixing or masks.
        config: How.

    Raises:
        ValueError: If labels do not fit samples, classes or the loss.
    """

    def __init__(
        self, classifier: Classifier, train: LabelledSamples, validation: LabelledSamples, config: FineTuneConfig
    ):
        super().__init__()
        for part in (train, validation):
            _check(part, len(classifier.classes), config)
        self.classifier, self.train_set, self.validation, self.config = classifier, train, validation, config
        set_drop_path(classifier, config.drop_path)
        count, rule = len(train.samples), config.sampling
        self.order: Order | WeightedOrder = (
            Order(count, config.views, config.batch, config.seed)
            if rule is None
            else WeightedOrder(
                class_weights(train.labels),
                config.views,
                config.batch,
                config.seed,
                replacement=rule.replacement,
                epoch=rule.epoch,
            )
        )

    @property
    def epoch(self) -> int:
        """Samples of an epoch."""
        return self.order.epoch if isinstance(self.order, WeightedOrder) else len(self.train_set.samples)

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[LabelledBatch]:
        number = start
        while True:
            yield self._batch(number, rank, world_size)
            number += 1

    def step(self, batch: LabelledBatch, phase: int) -> StepResult:
        values, valid = batch.inputs
        visible = None
        if self.config.mask is not None:
            key = torch.tensor(zlib.crc32(f"{self.config.seed} mask".encode()), device=values.device)
            first = batch.drawn.number * self.config.batch + batch.drawn.first_row
            grid = self.classifier.network.grid(values)
            visible = self.config.mask.draw(grid, len(values), key, first_row=first).visible
        scores = self.classifier(values, valid, visible)
        return StepResult(self.loss(scores, smoothed(batch.targets, self.config.smoothing)), {})

    def loss(
        self, scores: Float[Tensor, "batch classes"], targets: Float[Tensor, "batch classes"]
    ) -> Float[Tensor, ""]:
        """The mean over the batch; of binary cross-entropies, over classes as well."""
        if self.config.loss == "ce":
            return F.cross_entropy(scores.float(), targets)
        return F.binary_cross_entropy_with_logits(scores.float(), targets)

    def validate(self) -> Mapping[str, float]:
        """The loss without smoothing, and top-1 or, where samples have several classes, mean average precision."""
        labels = self.validation.labels.cpu()
        scores = self.classifier.scores(self.validation.samples, batch=self.config.batch)
        loss = float(self.loss(scores, multi_hot(labels, scores.shape[1])))
        found = figures(scores, labels)
        if not labels.is_floating_point():
            return {"loss": loss, "accuracy": found.top1}
        judged = len(found.missing) < len(found.per_class)
        return {"loss": loss, **({"mean_average_precision": found.mean_average_precision} if judged else {})}

    def optimizers(self) -> Sequence[Optimizer]:
        config = self.config
        groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
        depth = self.classifier.config.depth
        for name, parameter in self.classifier.named_parameters():
            plain = parameter.ndim > 1 and name not in ("network.prefix", "pool.attention.query")
            groups.setdefault((layer_of(name, depth), plain), []).append(parameter)
        return [
            AdamW(
                [
                    {
                        "params": parameters,
                        "lr": config.learning_rate * config.layer_decay ** (depth + 1 - layer),
                        "weight_decay": config.weight_decay if plain else 0.0,
                    }
                    for (layer, plain), parameters in sorted(groups.items(), reverse=True)
                ],
                lr=config.learning_rate,
                betas=config.betas,
            )
        ]

    def settings(self) -> Mapping[str, object]:
        data = {f"data {name}": value for name, value in self.train_set.samples.configuration().items()}
        config = {name: describe(value) for name, value in vars(self.config).items()}
        labels = zlib.crc32(self.train_set.labels.contiguous().cpu().numpy().tobytes())
        return {**data, **config, "labels": labels, "classifier": describe(self.classifier)}

    def _batch(self, number: int, rank: int, world_size: int) -> LabelledBatch:
        """A rank's share; samples that are mixed into it may be those of other ranks, and are read here as well."""
        drawn = self.order.drawn(number, rank, world_size)
        numbers, views, count = list(drawn.samples), list(drawn.views), len(drawn.samples)
        partners = self._partners(drawn)
        if partners:
            whole = self.order.drawn(number)
            last = drawn.first_row + count
            missing = sorted({row for row in partners.values() if not drawn.first_row <= row < last})
            places = {row: row - drawn.first_row for row in range(drawn.first_row, last)}
            places |= {row: count + place for place, row in enumerate(missing)}
            numbers += [whole.samples[row] for row in missing]
            views += [whole.views[row] for row in missing]
            partners = {row: places[other] for row, other in partners.items()}
        inputs = self.train_set.samples.inputs(numbers, views)
        targets = multi_hot(self.train_set.labels[numbers], len(self.classifier.classes))
        return self._mixed(drawn, inputs, targets, partners)

    def _partners(self, drawn: Drawn) -> dict[int, int]:
        """For each row of the share that is mixed, counted from 0, the row of the whole batch that it is mixed with."""
        if not self.config.mixing or self.config.batch < 2:
            return {}
        generator = self._generator(f"partners {drawn.number}")
        shift = int(torch.randint(1, self.config.batch, (), generator=generator))
        mixed = torch.rand(self.config.batch, generator=generator, dtype=torch.float64) < self.config.mixed
        rows = range(len(drawn.samples))
        places = [row + drawn.first_row for row in rows]
        return {
            row: (place + shift) % self.config.batch for row, place in zip(rows, places, strict=True) if mixed[place]
        }

    def _mixed(
        self, drawn: Drawn, inputs: Inputs, targets: Float[Tensor, "rows classes"], partners: Mapping[int, int]
    ) -> LabelledBatch:
        config, count = self.config, len(drawn.samples)
        values, labels = inputs.values[:count].clone(), targets[:count].clone()
        valid = None if inputs.valid is None else inputs.valid[:count].clone()
        for row in range(count):
            generator = self._generator(f"row {drawn.number} {drawn.first_row + row}")
            if row in partners:
                other = partners[row]
                rule = config.mixing[int(torch.randint(len(config.mixing), (), generator=generator))]
                if valid is not None and isinstance(rule, CutMix):
                    raise ValueError("CutMix does not know padding: mix recordings by MelLabelMixup, or Mixup")
                values[row], share = rule(inputs.values[row], inputs.values[other], generator)
                labels[row] = share * targets[row] + (1 - share) * targets[other]
                if valid is not None and inputs.valid is not None:
                    valid[row] |= inputs.valid[other]
            if config.spec_augment is not None:
                values[row] = spec_augmented(config.spec_augment, values[row], generator)
        return LabelledBatch(drawn, Inputs(values, valid), labels)

    def _generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(zlib.crc32(f"{self.config.seed} {purpose}".encode()))


def smoothed(targets: Float[Tensor, "batch classes"], share: float) -> Float[Tensor, "batch classes"]:
    r"""Labels of which a share is spread evenly over all K classes: :math:`(1 - \epsilon) t + \epsilon / K`."""
    return (1 - share) * targets + share / targets.shape[1]


def set_drop_path(classifier: Classifier, rate: float) -> None:
    """Leave out branches in training at rates that rise evenly from 0 to that of the last block."""
    blocks = [block for block in classifier.network.transformer.blocks if isinstance(block, TransformerBlock)]
    for place, block in enumerate(blocks):
        block.drop.rate = rate * place / max(1, len(blocks) - 1)


def layer_of(name: str, depth: int) -> int:
    """The layer of a parameter of a classifier: 0 for patches and prefix, 1 to ``depth`` for blocks, then the head."""
    blocks = "network.transformer.blocks."
    if name.startswith(blocks):
        return 1 + int(name[len(blocks) :].split(".", 1)[0])
    return 0 if name.startswith("network.") else depth + 1


def _check(part: LabelledSamples, classes: int, config: FineTuneConfig) -> None:
    labels = part.labels
    if len(labels) != len(part.samples) or not len(labels):
        raise ValueError(f"{len(part.samples)} samples have {len(labels)} labels: give one for each, one at least")
    if labels.is_floating_point():
        if labels.shape[1] != classes or config.loss == "ce":
            raise ValueError(
                f"samples with several classes need labels of {classes} flags and loss='bce': got {labels.shape[1]} "
                f"and loss={config.loss!r}"
            )
    elif not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"classes are numbered 0 to {classes - 1}: got labels from {labels.min()} to {labels.max()}")
