"""What a training step of an image model is; the loop is that of every system."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.optim import Adam, Optimizer

from codeword.codecs.image.model import ImageModel
from codeword.functional.image_similarity import ms_ssim, psnr, ssim
from codeword.functional.usage import histogram, perplexity, usage_rate
from codeword.training.spending import SpendingDraw
from codeword.training.task import StepResult, Task

_TOGETHER = 256  # held-out images at a time
_LEAST = 1e-6  # added to a relative error: 60 dB
_BEST = 60.0  # dB that an image counts at most: some come back as they were
_SHARES = (0.5, 1.0, 2.0, 4.0)  # scales that validation looks at, in levels


@runtime_checkable
class ImageBatches(Protocol):
    """Where batches of images come from; ``codeword.data.image_crops.ImageCrops`` is one."""

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[UInt8[Tensor, "batch channels height width"]]:
        """Batches from number ``start`` on, each a function of nothing but its number."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImageTraining:
    """How an image model is trained; the defaults are those of the NSVQ paper.

    Attributes:
        learning_rate: Of Adam.
        betas: Of Adam.
        similarity: Weight of 1 - MS-SSIM beside the error.
        scales: Scales of MS-SSIM; small images allow few.
        relative: Whether the error is the logarithm of an image's mean squared error, so that a level is worth as much
            in an image that is easy as in one that is hard, instead of the mean squared error itself.
        rate: Weight of the mean importance, in models of variable depth.
        quantizer: Weight of the quantizer's loss.
        spending: How many levels images spend; ``None``: all, in models of constant depth.
    """

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    similarity: float = 0.0
    scales: int = 2
    relative: bool = False
    rate: float = 0.0
    quantizer: float = 1.0
    spending: SpendingDraw | None = None


class NumberedImages(NamedTuple):
    """A batch and its number, from which its scales are drawn."""

    number: int
    images: UInt8[Tensor, "batch channels height width"]


class ImageTask(Task[NumberedImages]):
    """Trains an image model.

    Args:
        model: What is trained.
        data: Batches of images.
        config: How.
        held: Images that validation measures.
    """

    def __init__(
        self,
        model: ImageModel,
        data: ImageBatches,
        config: ImageTraining,
        *,
        held: UInt8[Tensor, "items channels height width"],
    ):
        super().__init__()
        if (config.spending is None) != (model.importance is None):
            raise ValueError("a model of variable depth, and no other, needs a draw of scales: set spending")
        self.model, self.data, self.config, self.held = model, data, config, held

    def optimizers(self) -> Sequence[Optimizer]:
        return [Adam(self.model.parameters(), lr=self.config.learning_rate, betas=self.config.betas)]

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[NumberedImages]:
        for number, images in enumerate(self.data.batches(start, rank, world_size), start):
            yield NumberedImages(number, images)

    def step(self, batch: NumberedImages, phase: int) -> StepResult:
        config, images = self.config, from_bytes(batch.images)
        latents, importance = self.model.analyse(images)
        gate, rate = None, latents.new_zeros(())
        if config.spending is not None:
            model = self.model
            drawn = config.spending.spending(batch.number, len(images), model.levels, model.allocation.scales)
            gate, rate = model.allocation.mixed(importance, *drawn.to(images.device), latents.shape[:3])
        made = self.model.through(latents, gate, (images.shape[-2], images.shape[-1]))
        errors = (made.vectors - images).square().mean((1, 2, 3))
        error = (errors + _LEAST).log().mean() if config.relative else errors.mean()
        loss = error + config.quantizer * made.loss + config.rate * rate
        metrics = {"mse": errors.mean(), "quantizer": made.loss}
        if config.spending is not None:
            spent = (made.codes >= 0).float().sum(-1).mean()
            metrics |= {"rate": rate, "levels": spent}
        if config.similarity:
            unlike = 1 - ms_ssim(made.vectors, images, scales=config.scales).mean()
            loss, metrics = loss + config.similarity * unlike, {**metrics, "unlike": unlike}
        return StepResult(loss, metrics)

    def validate(self) -> Mapping[str, float]:
        """Error, PSNR and SSIM of held-out images, and how their codes use the codebooks.

        Of a model of variable depth also PSNR and levels at several scales; its ``loss`` is the mean of their errors.
        """
        found = measured(self.model, self.held)
        if self.model.importance is None:
            return found
        errors: list[float] = []
        for share in _SHARES:
            at = measured(self.model, self.held, scale=share * self.model.levels)
            errors.append(at["loss"])
            found |= {f"{name}_scale_{share:g}": at[name] for name in ("psnr", "ssim", "levels")}
        return {**found, "loss": sum(errors) / len(errors)}

    def settings(self) -> Mapping[str, object]:
        return {f"image_{name}": value for name, value in asdict(self.config).items()}


@torch.no_grad()
def measured(
    model: ImageModel, images: UInt8[Tensor, "items channels height width"], *, scale: float | None = None
) -> dict[str, float]:
    """What is lost of images of one size by their codes, rounded to bytes: means over images.

    Args:
        model: What is measured.
        images: What it is measured on.
        scale: Variable depth at this scale; all levels if not given.

    Returns:
        ``loss``, the mean squared error; ``psnr``, at most 60 dB, and ``ssim``; ``levels``, how many a latent spends;
        of every level ``used``, the share of codewords that occur, and ``perplexity``.
    """
    device = next(model.parameters()).device
    sums, codes = torch.zeros(3, dtype=torch.float64), list[Tensor]()
    for part in images.split(_TOGETHER):
        real = from_bytes(part.to(device))
        latents, importance = model.analyse(real)
        depth = None
        if scale is not None and importance is not None:
            depth = model.allocation.depth(importance, scale)
        codes.append(model.quantizer.encode(latents, depth).cpu())
        made = from_bytes(to_bytes(model.decode(codes[-1].to(device), (part.shape[-2], part.shape[-1]))))
        error = (made - real).square().mean((1, 2, 3))
        figures = [error, psnr(made, real).clamp_max(_BEST), ssim(made, real)]
        sums += torch.stack([figure.double().sum().cpu() for figure in figures])
    loss, peak, alike = (sums / len(images)).tolist()
    levels = zip(torch.cat(codes).unbind(-1), model.quantizer.sizes, strict=True)
    counts = [histogram(level[level >= 0], size) for level, size in levels]
    used = {f"used_{level}": float(usage_rate(count)) for level, count in enumerate(counts)}
    spread = {f"perplexity_{level}": float(perplexity(count)) for level, count in enumerate(counts)}
    spent = float((torch.cat(codes) >= 0).float().sum(-1).mean())
    return {"loss": loss, "psnr": peak, "ssim": alike, "levels": spent, **used, **spread}


def from_bytes(pixels: UInt8[Tensor, "*batch channels height width"]) -> Float[Tensor, "*batch channels height width"]:
    """Pixels from 0 to 1."""
    return pixels.float() / 255


def to_bytes(images: Float[Tensor, "*batch channels height width"]) -> UInt8[Tensor, "*batch channels height width"]:
    """The nearest bytes."""
    return (255 * images).round().clamp(0, 255).byte()
