"""What a step of every phase is: encoders learn tokens, tokenizers learn from encoders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.optim import Optimizer

from codeword.functional.ranks import mean_count
from codeword.nn.vit import VisionTransformer
from codeword.pretraining.estimator import Estimator
from codeword.pretraining.frozen import Frozen
from codeword.pretraining.phase import Batch, OnlineTokens, PhaseConfig, PhaseTask, Tokens
from codeword.pretraining.predictor import Prediction, Predictor
from codeword.pretraining.samples import Inputs, Samples
from codeword.pretraining.tokenizer import Tokenizer, TrainedTokenizer
from codeword.pretraining.watch import CodeWatch
from codeword.quantizers.config import describe
from codeword.training.task import StepResult


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
        self.predictor, self.tokens, self.made = predictor, tokens, OnlineTokens(tokenizer)

    @property
    def tokenizer(self) -> Frozen[Tokenizer]:
        """Whose tokens are predicted."""
        return self.made.tokenizer

    def identity(self) -> Mapping[str, object]:
        return {"predictor": describe(self.predictor), "tokenizer": self.tokenizer.fingerprint}

    def optimizers(self) -> Sequence[Optimizer]:
        return [self.optimizer([self.predictor], self.config.learning_rate)]

    def step(self, batch: Batch, phase: int) -> StepResult:
        codes = self.made.codes(batch.drawn, batch.inputs) if batch.codes is None else batch.codes
        found = predicted(self, self.predictor, batch, codes, "mask")
        return StepResult(found.loss, {"accuracy": found.accuracy.mean()})

    def validate(self) -> Mapping[str, float]:
        """Loss and accuracy of every level, with masks that are always the same."""
        return predicted_held_out(self, self.predictor, lambda batch: self.made.codes(batch.drawn, batch.inputs))


class TokenizerTask(PhaseTask):
    """A tokenizer learns to keep what a frozen encoder knows of every patch (eq. 5 to 7 of BRIDLE).

    Args:
        tokenizer: What is trained.
        estimator: What predicts the teacher's vectors from quantized ones; trained, and of no use afterwards.
        teacher: Frozen; sees all patches.
        samples: See ``PhaseTask``.
        held: See there.
        config: See there; nothing is masked, and nothing mixed in.
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
        super().__init__(samples, held, replace(config, mixing=()))
        self.tokenizer, self.estimator, self.teacher = tokenizer, estimator, Frozen(teacher)
        self.codebook, self.watch = codebook, CodeWatch(tokenizer.quantizer.sizes)

    def identity(self) -> Mapping[str, object]:
        return {
            "tokenizer": describe(self.tokenizer),
            "estimator": describe(self.estimator.config),
            "teacher": self.teacher.fingerprint,
            "codebook": self.codebook,
        }

    def optimizers(self) -> Sequence[Optimizer]:
        return [self.optimizer([self.tokenizer, self.estimator], self.config.learning_rate)]

    def step(self, batch: Batch, phase: int) -> StepResult:
        found = self._taught(batch.inputs)
        loss = found.cosine + self.codebook * found.codebook
        return StepResult(loss, {"cosine": found.cosine, "codebook": found.codebook})

    def validate(self) -> Mapping[str, float]:
        """The mean cosine distance to the teacher's vectors, and how the codebooks are used."""
        loss = mean_held_out(self, lambda batch: watched(self.watch, self._taught(batch.inputs)))
        return {"loss": loss, **self.watch.figures()}

    def _taught(self, inputs: Inputs) -> "Taught":
        wanted = teaching(self.teacher.beside(inputs.values), inputs)
        return taught(self.tokenizer, self.estimator, wanted, inputs)


class Taught(NamedTuple):
    """What a tokenizer has lost, by what a teacher says.

    Attributes:
        cosine: Mean distance of estimated vectors from the teacher's (eq. 6 of BRIDLE).
        codebook: The quantizer's loss (eq. 5).
        codes: The tokens.
    """

    cosine: Float[Tensor, ""]
    codebook: Float[Tensor, ""]
    codes: Int[Tensor, "batch patches levels"]


def predicted(
    task: PhaseTask,
    predictor: Predictor,
    batch: Batch,
    codes: Int[Tensor, "batch patches levels"],
    purpose: str,
) -> Prediction:
    """Predict the tokens of a batch from what the encoder sees of it, under masks for a purpose."""
    seen = batch.inputs.values if batch.seen is None else batch.seen
    return predictor(seen, codes, task.masking(batch, purpose), batch.inputs.valid)


def predicted_held_out(
    task: PhaseTask, predictor: Predictor, encode: Callable[[Batch], Int[Tensor, "batch patches levels"]]
) -> Mapping[str, float]:
    """Loss and accuracy of every level on held-out samples, every sample weighed alike."""
    loss, right, count = 0.0, torch.zeros(len(predictor.sizes)), len(task.held)
    for batch in task.held_out():
        found = predicted(task, predictor, batch, encode(batch), "held")
        share = len(batch.drawn.samples) / count
        loss += share * float(found.loss)
        right += share * found.accuracy.cpu()
    return {"loss": loss, **{f"accuracy_{level}": float(value) for level, value in enumerate(right)}}


def watched(watch: CodeWatch, found: Taught) -> float:
    """The cosine distance of what was found, whose tokens the watch has counted."""
    watch.add(found.codes)
    return float(found.cosine)


def mean_held_out(task: PhaseTask, figure: Callable[[Batch], float]) -> float:
    """The mean of a figure over held-out samples."""
    return sum(len(batch.drawn.samples) * figure(batch) for batch in task.held_out()) / len(task.held)


@torch.no_grad()
def teaching(teacher: VisionTransformer, inputs: Inputs) -> Float[Tensor, "batch patches dim"]:
    """A teacher's vectors of all patches, without gradient."""
    return teacher(inputs.values, valid=inputs.valid).tokens[:, teacher.config.prefix :]


def taught(
    tokenizer: TrainedTokenizer, estimator: Estimator, wanted: Float[Tensor, "batch patches dim"], inputs: Inputs
) -> Taught:
    """Compare a teacher's vectors with what can be estimated of them from codewords."""
    quantized = tokenizer(inputs.values, inputs.valid)
    made = estimator(quantized.vectors, tokenizer.encoder.grid(inputs.values), inputs.valid)
    distances = 1 - F.cosine_similarity(made.float(), wanted.float(), dim=-1)
    return Taught(_mean(distances, inputs.valid), quantized.loss, quantized.codes)


def _mean(values: Float[Tensor, "batch patches"], valid: Bool[Tensor, "batch patches"] | None) -> Float[Tensor, ""]:
    if valid is None:
        return values.mean()
    # As in quantizers: averaging over ranks gives the mean over the patches of all ranks.
    return torch.where(valid, values, 0.0).sum() / mean_count(valid.sum().float()).clamp_min(1)
