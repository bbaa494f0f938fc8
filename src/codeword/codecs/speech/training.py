"""What a training step of a speech model is; the loop is that of every system."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.optim import Adam, Optimizer

from codeword.codecs.speech.model import FOLLOWED, SpeechModel
from codeword.functional.usage import histogram, perplexity, usage_rate
from codeword.training.task import StepResult, Task

_STEPS = (-5.0, -2.0, 1.0)  # energies over steps that validation looks at, in octaves


@runtime_checkable
class SpeechBatches(Protocol):
    """Where batches of waveforms come from; ``codeword.data.audio_excerpts.Excerpts`` is one."""

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[Float[Tensor, "batch 1 time"]]:
        """Batches from number ``start`` on, each a function of nothing but its number."""
        ...


@dataclass(frozen=True, kw_only=True)
class SpeechTraining:
    """How a speech model is trained.

    Attributes:
        learning_rate: Of Adam, as in the NSVQ paper.
        betas: Of Adam.
        coarse: Least energy of an item's lines over the square of their steps, in octaves; few bits.
        fine: The greatest; many bits.
        quantizer: Weight of the quantizer's loss, beside bits of a frame.
        every: One of so many neighbouring lines takes part in a step, another one in the next.
        seed: Of steps and lines.
    """

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    coarse: float = -7.0
    fine: float = 1.0
    quantizer: float = 1.0
    every: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.coarse <= self.fine:
            raise ValueError(f"steps go from coarse={self.coarse} up to fine={self.fine}")
        if self.every < 1:
            raise ValueError(f"every line, or one of several, takes part: every is 1 or more, got {self.every}")


class NumberedSpeech(NamedTuple):
    """A batch and its number, from which its steps are drawn."""

    number: int
    audio: Float[Tensor, "batch 1 time"]


class SpeechTask(Task[NumberedSpeech]):
    """Trains a speech model on the bits that lines are expected to cost.

    A step that is too coarse for what is heard would save bits, so what it does to the noise counts, too: an octave of
    noise above the step of the true envelope as much as the half bit that every line that is not zero saves by it.

    Args:
        model: What is trained.
        data: Batches of mono waveforms.
        config: How.
        held: Waveforms that validation measures.
    """

    def __init__(
        self, model: SpeechModel, data: SpeechBatches, config: SpeechTraining, *, held: Float[Tensor, "items 1 time"]
    ):
        super().__init__()
        self.model, self.data, self.config, self.held = model, data, config, held

    def optimizers(self) -> Sequence[Optimizer]:
        return [Adam(self.model.parameters(), lr=self.config.learning_rate, betas=self.config.betas)]

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[NumberedSpeech]:
        for number, audio in enumerate(self.data.batches(start, rank, world_size), start):
            yield NumberedSpeech(number, audio)

    def step(self, batch: NumberedSpeech, phase: int) -> StepResult:
        config = self.config
        generator = torch.Generator().manual_seed(zlib.crc32(f"{config.seed} {batch.number}".encode()))
        draw = torch.rand(len(batch.audio), generator=generator).to(batch.audio.device)
        lines = self.model.analyse(batch.audio.squeeze(1))
        first = torch.arange(0, lines.shape[-1], config.every)
        some = (first + torch.randint(config.every, first.shape, generator=generator)).clamp_max(lines.shape[-1] - 1)
        over = config.coarse + draw * (config.fine - config.coarse)
        cost = self._cost(lines, over, some.to(lines.device))
        loss = cost.bits + cost.noise + config.quantizer * cost.quantizer
        return StepResult(loss, {"bits": cost.bits, "noise": cost.noise, "quantizer": cost.quantizer})

    @torch.no_grad()
    def validate(self) -> Mapping[str, float]:
        """Bits and noise of a frame at several steps; ``loss`` is the mean of their sums."""
        lines = self.model.analyse(self.held.squeeze(1).to(self.model.band.device))
        found: dict[str, float] = {}
        for over in _STEPS:
            cost = self._cost(lines, torch.full((len(lines),), over, device=lines.device))
            found |= {f"bits_{over:g}": float(cost.bits), f"noise_{over:g}": float(cost.noise)}
        found["loss"] = sum(found.values()) / len(_STEPS)
        codes = self.model.encode_envelope(lines)
        for level, size in enumerate(self.model.quantizer.sizes):
            counts = histogram(codes[..., level], size)
            found |= {f"used_{level}": float(usage_rate(counts)), f"perplexity_{level}": float(perplexity(counts))}
        return found

    def settings(self) -> Mapping[str, object]:
        quantizer = self.model.quantizer
        described = f"{type(quantizer).__name__} of {quantizer.sizes}"
        return {"quantizer": described, **{f"speech_{name}": value for name, value in asdict(self.config).items()}}

    def _cost(
        self,
        lines: Float[Tensor, "batch frames lines"],
        over: Float[Tensor, " batch"],
        some: Int64[Tensor, " some"] | None = None,
    ) -> "_Cost":
        """What frames cost at steps so fine that energies exceed them by so many octaves on the average."""
        true = self.model.envelope.energies(self.model.envelope(lines))
        step = (1 - FOLLOWED) * true.mean((1, 2)) - over
        coded = self.model.code(lines, step, some)
        if some is not None:
            true = true[..., some]
        active = 1 - torch.exp2(-coded.bits_of_zero.detach())
        noise = 0.5 * active * FOLLOWED * (coded.energies - true)
        whole = lines.shape[-1]
        return _Cost(whole * coded.bits.mean(), whole * noise.mean(), coded.envelope.loss)


class _Cost(NamedTuple):
    bits: Float[Tensor, ""]
    noise: Float[Tensor, ""]
    quantizer: Float[Tensor, ""]
