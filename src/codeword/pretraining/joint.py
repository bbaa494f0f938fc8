"""An encoder and its tokenizer, trained at the same time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.optim import Optimizer

from codeword.pretraining.estimator import Estimator
from codeword.pretraining.phase import Batch, PhaseConfig, PhaseTask
from codeword.pretraining.predictor import Predictor
from codeword.pretraining.samples import Samples
from codeword.pretraining.tasks import Taught, mean_held_out, predicted, predicted_held_out, taught, teaching, watched
from codeword.pretraining.tokenizer import TrainedTokenizer
from codeword.pretraining.watch import CodeWatch
from codeword.quantizers.config import describe
from codeword.training.task import StepResult

_TOKENIZER = 0  # the phase of a step


@dataclass(frozen=True, kw_only=True)
class JointConfig:
    """How much and how often the tokenizer learns.

    Attributes:
        weight: Of its loss; BRIDLE's script has 0.2.
        every: Steps from one of its updates to the next; the script has 4, the paper 5.
        learning_rate: Of its optimizer. BRIDLE's script has 2e-4, as in a phase of the tokenizer alone; tokens then
            change faster than an encoder learns them, and its vectors become alike.
        codebook: Weight of the codebook's loss beside the cosine loss.
        accumulate: Batches of a step, as in the configuration of the loop.
    """

    weight: float = 0.2
    every: int = 4
    learning_rate: float = 2e-5
    codebook: float = 1.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        for name in ("every", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a JointConfig must be at least 1, got {getattr(self, name)}")


class JointTask(PhaseTask):
    r"""Encoder and tokenizer learn from each other in one run (eq. 8 of BRIDLE).

    .. math:: L = L_{enc} + \lambda\, [s \mid t]\, L_{tok}

    with t the step and s the update interval.

    ::

        x ──┬──► encoder, all patches, no gradient ──────────► wanted vectors ─┐
            ├──► tokenizer ──► codewords ──► estimator ──────────────────────────┴─► L_tok    every s-th step
            ├──► tokenizer, no gradient ──► tokens ────────────┐
            └──► encoder, visible patches ──► decoder, head ──┴─► L_enc                       every step

    Neither loss reaches what the other trains, so each has an optimizer with a learning rate of its own. In a step the
    tokenizer comes first: the first one gives its codebooks their start. The loss in the logs is their sum.

    Args:
        predictor: Encoder, decoder and head.
        tokenizer: What makes the tokens, and what the encoder teaches.
        estimator: Predicts the encoder's vectors from codewords.
        samples: See ``PhaseTask``.
        held: See there.
        config: See there; its learning rate is the predictor's.
        joint: How the tokenizer learns.

    Note:
        Tokens that say less are predicted better, so the loss of a validation is no figure to choose the best weights
        by: train with ``keep_best=False``.
    """

    def __init__(
        self,
        predictor: Predictor,
        tokenizer: TrainedTokenizer,
        estimator: Estimator,
        samples: Samples,
        held: Samples,
        config: PhaseConfig,
        joint: JointConfig | None = None,
    ):
        super().__init__(samples, held, config)
        self.predictor, self.tokenizer, self.estimator = predictor, tokenizer, estimator
        self.joint, self.watch = joint or JointConfig(), CodeWatch(tokenizer.quantizer.sizes)

    def identity(self) -> Mapping[str, object]:
        return {
            "predictor": describe(self.predictor),
            "tokenizer": describe(self.tokenizer),
            "estimator": describe(self.estimator.config),
            **{f"joint {name}": value for name, value in asdict(self.joint).items()},
        }

    def optimizers(self) -> Sequence[Optimizer]:
        return [
            self.optimizer([self.tokenizer, self.estimator], self.joint.learning_rate),
            self.optimizer([self.predictor], self.config.learning_rate),
        ]

    def step(self, batch: Batch, phase: int) -> StepResult:
        return self._tokenizer_step(batch) if phase == _TOKENIZER else self._encoder_step(batch)

    def validate(self) -> Mapping[str, float]:
        """Both losses, the accuracy of every level, and the distance to the encoder's vectors."""
        figures = predicted_held_out(self, self.predictor, self._tokens)
        cosine = mean_held_out(self, lambda batch: watched(self.watch, self._taught(batch)))
        return {
            **figures,
            "loss": figures["loss"] + self.joint.weight * cosine,
            "cosine": cosine,
            **self.watch.figures(),
        }

    def _tokenizer_step(self, batch: Batch) -> StepResult:
        if (batch.drawn.number // self.joint.accumulate) % self.joint.every:
            return StepResult(torch.zeros((), device=batch.inputs.values.device), {})
        found = self._taught(batch)
        return StepResult(self.joint.weight * (found.cosine + self.joint.codebook * found.codebook), {})

    def _encoder_step(self, batch: Batch) -> StepResult:
        found = predicted(self, self.predictor, batch, self._tokens(batch), "mask")
        return StepResult(found.loss, {"encoder": found.loss, "accuracy": found.accuracy.mean()})

    def _taught(self, batch: Batch) -> Taught:
        with _at_rest(self.predictor.encoder):
            wanted = teaching(self.predictor.encoder, batch.inputs)
        return taught(self.tokenizer, self.estimator, wanted, batch.inputs)

    def _tokens(self, batch: Batch) -> Int[Tensor, "batch patches levels"]:
        with _at_rest(self.tokenizer):
            return self.tokenizer.encode(batch.inputs.values, batch.inputs.valid)


@contextmanager
def _at_rest(module: nn.Module) -> Iterator[None]:
    """Inside, a module is in evaluation mode and gets no gradient."""
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(training)
