"""What a step of every phase is: encoders learn tokens, tokenizers learn from encoders, or both at once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from codeword.nn.vit import VisionTransformer
from codeword.pretraining.cache import TokenCache
from codeword.pretraining.estimator import Estimator
from codeword.pretraining.masking import MaskRule, RandomMask
from codeword.pretraining.predictor import Prediction, Predictor
from codeword.pretraining.samples import Drawn, Inputs, Order, Samples
from codeword.pretraining.tokenizer import Tokenizer, TrainedTokenizer
from codeword.quantizers.config import describe
from codeword.training.task import StepResult, Task

M = TypeVar("M", bound=nn.Module)


class Frozen(Generic[M]):
    """A module that a phase uses and cannot change: no module itself, so that no mode, optimizer or checkpoint has it.

    Args:
        module: Set to evaluation.
    """

    def __init__(self, module: M):
        self.module = module.eval().requires_grad_(False)


class Batch(NamedTuple):
    """What a step gets.

    Attributes:
        drawn: Which samples and views.
        inputs: Those.
        codes: Their tokens; ``None`` where the phase has no use for them.
    """

    drawn: Drawn
    inputs: Inputs
    codes: Int[Tensor, "batch patches levels"] | None


class Tokens(ABC):
    """Where the tokens of a phase come from."""

    @abstractmethod
    def codes(self, drawn: Drawn, inputs: Inputs) -> Int[Tensor, "batch patches levels"]:
        """Tokens of the samples of a batch."""


class CachedTokens(Tokens):
    """Read from a cache."""

    def __init__(self, cache: TokenCache):
        self.cache = cache

    def codes(self, drawn: Drawn, inputs: Inputs) -> Int[Tensor, "batch patches levels"]:
        return self.cache.read(drawn.samples, drawn.views)


class OnlineTokens(Tokens):
    """Made for every batch."""

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = Frozen(tokenizer)

    def codes(self, drawn: Drawn, inputs: Inputs) -> Int[Tensor, "batch patches levels"]:
        return self.tokenizer.module.encode(inputs.values, inputs.valid)


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """How a phase is trained.

    Attributes:
        batch: Samples of a batch, all ranks together.
        views: Fixed views of a sample.
        learning_rate: Of AdamW.
        betas: Of AdamW.
        weight_decay: Of AdamW, on matrices alone.
        mask: Which patches the encoder sees.
        seed: Of the order and of masks.
    """

    batch: int = 64
    views: int = 4
    learning_rate: float = 5e-4
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 1e-4
    mask: MaskRule = field(default_factory=RandomMask)
    seed: int = 0


class PhaseTask(Task[Batch]):
    """What all phases share: an order of samples, and held-out ones to validate on.

    Args:
        samples: To learn from.
        held: To validate on.
        config: How.
    """

    tokens: Tokens | None = None

    def __init__(self, samples: Samples, held: Samples, config: PhaseConfig):
        super().__init__()
        self.samples, self.held, self.config = samples, held, config
        self.order = Order(len(samples), config.views, config.batch, config.seed)

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[Batch]:
        number = start
        while True:
            drawn = self.order.drawn(number, rank, world_size)
            inputs = self.samples.inputs(drawn.samples, drawn.views)
            yield Batch(drawn, inputs, None if self.tokens is None else self.tokens.codes(drawn, inputs))
            number += 1

    def held_out(self) -> Iterator[tuple[Drawn, Inputs]]:
        """All held-out samples as they are, in batches."""
        for number, start in enumerate(range(0, len(self.held), self.config.batch)):
            samples = list(range(start, min(start + self.config.batch, len(self.held))))
            drawn = Drawn(number, 0, samples, [0] * len(samples))
            yield drawn, _moved(self.held.inputs(drawn.samples, drawn.views), self)

    def optimizers(self) -> Sequence[Optimizer]:
        decay = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": self.config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return [AdamW(groups, lr=self.config.learning_rate, betas=self.config.betas)]

    def settings(self) -> Mapping[str, object]:
        data = {f"data {name}": value for name, value in self.samples.configuration().items()}
        return {**data, **asdict(self.config), "mask": describe(self.config.mask)}


class EncoderTask(PhaseTask):
    """An encoder learns to predict the tokens of masked patches (eq. 4 of BRIDLE).

    Args:
        predictor: What is trained.
        tokens: Of the training samples.
        tokenizer: Frozen; for the tokens of held-out samples.
        samples: See ``PhaseTask``.
        held: See there.
        config: See there.
    """

    def __init__(
        self,
        predictor: Predictor,
        tokens: Tokens,
        tokenizer: Tokenizer,
        samples: Samples,
        held: Samples,
        config: PhaseConfig,
    ):
        super().__init__(samples, held, config)
        self.predictor, self.tokens, self.tokenizer = predictor, tokens, Frozen(tokenizer)

    def step(self, batch: Batch, phase: int) -> StepResult:
        assert batch.codes is not None
        found = self._predicted(batch.drawn, batch.inputs, batch.codes, "mask")
        return StepResult(found.loss, {"accuracy": found.accuracy.mean()})

    def validate(self) -> Mapping[str, float]:
        """Loss and accuracy of every level, with masks that are always the same."""
        loss, count, right = 0.0, 0, torch.zeros(len(self.predictor.sizes))
        for drawn, inputs in self.held_out():
            codes = self.tokenizer.module.encode(inputs.values, inputs.valid)
            found = self._predicted(drawn, inputs, codes, "held")
            share = len(drawn.samples)
            loss, count = loss + share * float(found.loss), count + share
            right += share * found.accuracy.cpu()
        levels = {f"accuracy_{level}": float(value) / count for level, value in enumerate(right)}
        return {"loss": loss / count, **levels}

    def _predicted(self, drawn: Drawn, inputs: Inputs, codes: Tensor, purpose: str) -> Prediction:
        key = drawn.key(self.config.seed, purpose).to(inputs.values.device)
        masking = self.config.mask.draw(self.samples.grid, len(inputs.values), key, first_row=drawn.first_row)
        return self.predictor(inputs.values, codes, masking, inputs.valid)


class TokenizerTask(PhaseTask):
    """A tokenizer learns to keep what a frozen encoder knows of every patch (eq. 5 to 7 of BRIDLE).

    Args:
        tokenizer: What is trained.
        estimator: What predicts the teacher's vectors from quantized ones; trained, and of no use afterwards.
        teacher: Frozen; sees all patches.
        samples: See ``PhaseTask``.
        held: See there.
        config: See there; nothing is masked.
        codebook: Weight of the quantizer's loss, which is a mean over features of vectors of length 1.
    """

    def __init__(
        self,
        tokenizer: TrainedTokenizer,
        estimator: Estimator,
        teacher: VisionTransformer,
        samples: Samples,
        held: Samples,
        config: PhaseConfig,
        *,
        codebook: float = 1.0,
    ):
        super().__init__(samples, held, config)
        self.tokenizer, self.estimator, self.teacher = tokenizer, estimator, Frozen(teacher)
        self.codebook = codebook

    def step(self, batch: Batch, phase: int) -> StepResult:
        distance, quantized = self._distance(batch.inputs)
        return StepResult(distance + self.codebook * quantized, {"cosine": distance, "codebook": quantized})

    def validate(self) -> Mapping[str, float]:
        """The mean cosine distance to the teacher's vectors."""
        total = sum(len(drawn.samples) * float(self._distance(inputs)[0]) for drawn, inputs in self.held_out())
        return {"loss": total / len(self.held)}

    def _distance(self, inputs: Inputs) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        quantized = self.tokenizer(inputs.values, inputs.valid)
        with torch.no_grad():
            teacher = self.teacher.module
            wanted = teacher(inputs.values, valid=inputs.valid).tokens[:, teacher.config.prefix :]
        made = self.estimator(quantized.vectors, self.tokenizer.encoder.grid(inputs.values), inputs.valid)
        distances = 1 - F.cosine_similarity(made.float(), wanted.float(), dim=-1)
        return _mean(distances, inputs.valid), quantized.loss


def _mean(values: Float[Tensor, "batch patches"], valid: Bool[Tensor, "batch patches"] | None) -> Float[Tensor, ""]:
    return values.mean() if valid is None else values[valid].mean()


def _moved(inputs: Inputs, module: nn.Module) -> Inputs:
    device = next(module.parameters()).device
    return Inputs(inputs.values.to(device), None if inputs.valid is None else inputs.valid.to(device))
