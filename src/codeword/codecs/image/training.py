"""What a training step of an image model is; the loop is that of every system."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.optim import Adam, Optimizer

from codeword.codecs.image.model import ImageModel
from codeword.functional.image_similarity import ms_ssim, psnr, ssim
from codeword.functional.usage import histogram, perplexity, usage_rate
from codeword.training.task import StepResult, Task

_TOGETHER = 256  # held-out images at a time


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
        similarity: Weight of 1 - MS-SSIM beside the mean squared error.
        scales: Scales of MS-SSIM; small images allow few.
    """

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    similarity: float = 0.0
    scales: int = 2


class ImageTask(Task[Tensor]):
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
        self.model, self.data, self.config, self.held = model, data, config, held

    def optimizers(self) -> Sequence[Optimizer]:
        return [Adam(self.model.parameters(), lr=self.config.learning_rate, betas=self.config.betas)]

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[Tensor]:
        return self.data.batches(start, rank, world_size)

    def step(self, batch: UInt8[Tensor, "batch channels height width"], phase: int) -> StepResult:
        images = from_bytes(batch)
        made = self.model(images)
        error = (made.vectors - images).square().mean()
        loss, metrics = error + made.loss, {"mse": error, "quantizer": made.loss}
        if self.config.similarity:
            unlike = 1 - ms_ssim(made.vectors, images, scales=self.config.scales).mean()
            loss, metrics = loss + self.config.similarity * unlike, {**metrics, "unlike": unlike}
        return StepResult(loss, metrics)

    def validate(self) -> Mapping[str, float]:
        """Error, PSNR and SSIM of held-out images, and how their codes use the codebooks."""
        return measured(self.model, self.held)

    def settings(self) -> Mapping[str, object]:
        return {f"image_{name}": value for name, value in asdict(self.config).items()}


@torch.no_grad()
def measured(model: ImageModel, images: UInt8[Tensor, "items channels height width"]) -> dict[str, float]:
    """What is lost of images of one size by their codes, rounded to bytes: means over images.

    Returns:
        ``loss``, the mean squared error; ``psnr`` and ``ssim``; of every level ``used``, the share of codewords that
        occur, and ``perplexity``.
    """
    device = next(model.parameters()).device
    sums, codes = torch.zeros(3, dtype=torch.float64), list[Tensor]()
    for part in images.split(_TOGETHER):
        real = from_bytes(part.to(device))
        codes.append(model.encode(real).cpu())
        made = from_bytes(to_bytes(model.decode(codes[-1].to(device), (part.shape[-2], part.shape[-1]))))
        error = (made - real).square().mean((1, 2, 3))
        figures = [error, psnr(made, real), ssim(made, real)]
        sums += torch.stack([figure.double().sum().cpu() for figure in figures])
    loss, peak, alike = (sums / len(images)).tolist()
    levels = zip(torch.cat(codes).unbind(-1), model.quantizer.sizes, strict=True)
    counts = [histogram(level, size) for level, size in levels]
    used = {f"used_{level}": float(usage_rate(count)) for level, count in enumerate(counts)}
    spread = {f"perplexity_{level}": float(perplexity(count)) for level, count in enumerate(counts)}
    return {"loss": loss, "psnr": peak, "ssim": alike, **used, **spread}


def from_bytes(pixels: UInt8[Tensor, "*batch channels height width"]) -> Float[Tensor, "*batch channels height width"]:
    """Pixels from 0 to 1."""
    return pixels.float() / 255


def to_bytes(images: Float[Tensor, "*batch channels height width"]) -> UInt8[Tensor, "*batch channels height width"]:
    """The nearest bytes."""
    return (255 * images).round().clamp(0, 255).byte()
