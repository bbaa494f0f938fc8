"""What a training step of an audio model is; the loop is that of every system."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import AdamW, Optimizer

from codeword.codecs.audio.model import AudioModel
from codeword.functional.similarity import si_sdr
from codeword.functional.spectral_distance import MelScales, StftScales, mel_distance
from codeword.losses.adversarial import discriminator_loss, feature_matching_loss, generator_loss
from codeword.losses.audio import mel_loss, stft_loss, waveform_loss
from codeword.losses.balancer import Balancer
from codeword.nn.discriminators import Discriminator, DiscriminatorConfig
from codeword.training.spending import Spending, SpendingDraw
from codeword.training.task import StepResult, Task


@runtime_checkable
class AudioBatches(Protocol):
    """Where batches of waveforms come from; ``codeword.data.audio_excerpts.Excerpts`` is one."""

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[Float[Tensor, "batch channels time"]]:
        """Batches from number ``start`` on, each a function of nothing but its number."""
        ...


class Weights(NamedTuple):
    """How much every loss counts; the defaults are those of DAC and VRVQ."""

    mel: float = 15.0
    stft: float = 0.0
    waveform: float = 0.0
    si_sdr: float = 0.0
    feature: float = 2.0
    adversarial: float = 1.0
    rate: float = 2.0
    quantizer: float = 1.0


@dataclass(frozen=True, kw_only=True)
class AudioTraining(SpendingDraw):
    """How an audio model is trained; the defaults are those of the paper's main runs.

    Attributes:
        draw: With the other fields of ``SpendingDraw``, how many levels items spend.
        weights: Of the losses. Within that of the quantizer, codebook and commitment weigh 1 and 0.25.
        balance: Decay of the balancer that gives every loss of the decoded waveform its weight as a share of their
            gradient (EnCodec), with accumulation averaged over its parts; ``None``: losses are multiplied by their
            weights.
        learning_rate: Of generator and discriminators.
        betas: Of both AdamW.
        mels: Resolutions of the mel loss.
        stfts: Resolutions of the STFT loss.
        discriminator: Shape of the discriminators; ``None`` trains without adversaries.
        adversarial_from: Batch from which on the discriminators take part.
    """

    weights: Weights = field(default_factory=Weights)
    balance: float | None = None
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.8, 0.99)
    mels: MelScales
    stfts: StftScales = field(default_factory=StftScales)
    discriminator: DiscriminatorConfig | None = field(default_factory=DiscriminatorConfig)
    adversarial_from: int = 0


class NumberedBatch(NamedTuple):
    """A batch and its number, from which its scales are drawn."""

    number: int
    audio: Float[Tensor, "batch 1 time"]


class _Made(NamedTuple):
    """What the generator made of a batch: its waveform, the losses of that by name, and those of codes and rate."""

    number: int
    audio: Float[Tensor, "batch 1 time"]
    heard: Mapping[str, Float[Tensor, ""]]
    inner: Float[Tensor, ""]
    metrics: Mapping[str, Float[Tensor, ""]]


class AudioTask(Task[NumberedBatch]):
    """Trains an audio model, with discriminators or without.

    Args:
        model: What is trained; its convolutions get weight norm.
        data: Batches of mono waveforms, a multiple of the hop long.
        config: How.
        held: Waveforms that validation measures.
    """

    def __init__(
        self, model: AudioModel, data: AudioBatches, config: AudioTraining, *, held: Float[Tensor, "items 1 time"]
    ):
        super().__init__()
        if config.constant + config.full < 1 and model.importance is None:
            raise ValueError("a model without importance net needs constant depths: constant + full must be 1")
        model.add_weight_norm()
        self.model, self.data, self.config, self.held = model, data, config, held
        self.discriminator = None if config.discriminator is None else Discriminator(config.discriminator)
        self.balancer = None if config.balance is None else Balancer(_heard(config.weights), decay=config.balance)
        self._made: _Made | None = None

    def optimizers(self) -> Sequence[Optimizer]:
        parts = [self.model] if self.discriminator is None else [self.discriminator, self.model]
        return [AdamW(p.parameters(), lr=self.config.learning_rate, betas=self.config.betas) for p in parts]

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[NumberedBatch]:
        for number, audio in enumerate(self.data.batches(start, rank, world_size), start):
            yield NumberedBatch(number, audio)

    def step(self, batch: NumberedBatch, phase: int) -> StepResult:
        if self.discriminator is None:
            made = self._make(batch)
            return StepResult(self._loss(made, {}), made.metrics)
        if phase == 0:  # the discriminators step first; what they judge is kept for the generator's step
            self._made = self._make(batch)
            return self._judge(batch, self.discriminator, self._made)
        made = self._made if self._made is not None and self._made.number == batch.number else self._make(batch)
        self._made = None
        return self._please(batch, self.discriminator, made)

    def spending(self, batch: NumberedBatch) -> Spending:
        """Scales and depths of a batch, a function of its number."""
        made = self.config.spending(batch.number, len(batch.audio), self.model.levels, self.model.quantizer.scales)
        return made.to(batch.audio.device)

    def _make(self, batch: NumberedBatch) -> _Made:
        """The generator's forward, and the losses that need no discriminator."""
        config, model = self.config, self.model
        latents, importance = model.analyse(batch.audio)
        spending = self.spending(batch)
        gate, rate = model.quantizer.mixed(importance, *spending, latents.shape[:2])
        quantized = model.quantizer.quantizer(latents, None, gate)
        audio = model.synthesise(quantized.vectors)
        mel = mel_loss(audio, batch.audio, config.mels)
        inner = config.weights.quantizer * quantized.loss + config.weights.rate * rate
        heard = {"mel": mel} if config.weights.mel else {}
        if config.weights.stft:
            heard["stft"] = stft_loss(audio, batch.audio, config.stfts)
        if config.weights.waveform:
            heard["waveform"] = waveform_loss(audio, batch.audio)
        if config.weights.si_sdr:
            heard["si_sdr"] = -si_sdr(audio, batch.audio).clamp(-60.0, 60.0).mean()
        spent = (quantized.codes >= 0).float().sum(-1).mean()
        metrics = {"mel": mel, "quantizer": quantized.loss, "rate": rate, "levels": spent}
        return _Made(batch.number, audio, heard, inner, metrics)

    def _judge(self, batch: NumberedBatch, discriminator: Discriminator, made: _Made) -> StepResult:
        if batch.number < self.config.adversarial_from:
            return StepResult(made.inner.detach(), {"discriminator": made.inner.new_zeros(())})
        loss = discriminator_loss(discriminator(made.audio.detach()), discriminator(batch.audio))
        return StepResult(loss, {"discriminator": loss})

    def _please(self, batch: NumberedBatch, discriminator: Discriminator, made: _Made) -> StepResult:
        if batch.number < self.config.adversarial_from:
            zero = made.inner.new_zeros(())
            return StepResult(self._loss(made, {}), {**made.metrics, "adversarial": zero, "feature": zero})
        maps = discriminator.frozen(made.audio)
        with torch.no_grad():
            real = discriminator(batch.audio)
        adversarial, feature = generator_loss(maps), feature_matching_loss(maps, real)
        loss = self._loss(made, {"adversarial": adversarial, "feature": feature})
        return StepResult(loss, {**made.metrics, "adversarial": adversarial, "feature": feature})

    def _loss(self, made: _Made, judged: Mapping[str, Float[Tensor, ""]]) -> Float[Tensor, ""]:
        """All that the generator minimises."""
        heard, weights = {**made.heard, **judged}, self.config.weights
        if self.balancer is not None:
            return made.inner + self.balancer(heard, made.audio)
        return sum((getattr(weights, name) * loss for name, loss in heard.items()), start=made.inner)

    def validate(self) -> Mapping[str, float]:
        """Mel distance and SI-SDR over several rates; ``loss`` is the mean mel distance."""
        model, levels = self.model, self.model.levels
        knobs: list[dict[str, float | int]] = [
            {"depth": max(1, levels // 4)},
            {"depth": levels // 2},
            {"depth": levels},
        ]
        if model.importance is not None:
            knobs = [{"scale": max(1.0, share * levels)} for share in (0.5, 1.0, 2.0, 4.0)]
        values: dict[str, float] = {}
        for knob in knobs:
            mels, ratios, spent = 0.0, 0.0, 0.0
            for clip in self.held.to(next(model.parameters()).device).split(1):
                output = model(clip, **knob)
                mels += float(mel_distance(output.vectors, clip, self.config.mels).mean()) / len(self.held)
                ratios += float(si_sdr(output.vectors, clip).mean()) / len(self.held)
                spent += float((output.codes >= 0).float().sum(-1).mean()) / len(self.held)
            name = "_".join(f"{key}_{value:g}" for key, value in knob.items())
            values |= {f"mel_{name}": mels, f"si_sdr_{name}": ratios, f"levels_{name}": spent}
        return {"loss": sum(v for k, v in values.items() if k.startswith("mel")) / len(knobs), **values}

    def settings(self) -> Mapping[str, object]:
        fixed = asdict(self.config)
        shapes = ("mels", "stfts", "discriminator")  # of which the weights tell
        return {f"audio_{name}": value for name, value in fixed.items() if name not in shapes}


def _heard(weights: Weights) -> dict[str, float]:
    """Weights of the losses of a waveform."""
    return {name: weight for name, weight in weights._asdict().items() if name not in ("rate", "quantizer") and weight}
