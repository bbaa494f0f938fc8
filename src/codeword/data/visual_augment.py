"""What happens to images and clips before a network sees them: each a pure function of pixels and a generator.

Pixels are ``(channels, *positions)`` of which the last two positions are height and width: an image, or a clip, of
which all frames are treated alike. Integers count as 255ths; what comes out is between 0 and 1 until it is
normalised, at the end of all changes.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from codeword.quantizers.config import register

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TRIES = 10
_SNAP = 3  # pixels by which a crop may miss its target to be taken as that, as in the code of TSN


class VisualAugmentation(ABC):
    """A change of an image or a clip."""

    @abstractmethod
    def __call__(
        self, x: Shaped[Tensor, "channels *positions"], generator: torch.Generator
    ) -> Float[Tensor, "channels *_"]:
        """The changed pixels; ``x`` itself stays as it was."""


@register
@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(VisualAugmentation):
    """A part of random area and shape, stretched to a square (Szegedy et al. 2015, section 6), bicubic.

    Where ten draws do not fit into the image, the largest part in its middle whose shape is allowed.

    Attributes:
        size: Side of the square.
        scale: Smallest and largest share of the area.
        ratio: Smallest and largest width over height, drawn evenly in its logarithm.
    """

    size: int
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not 0 < self.scale[0] <= self.scale[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(
                f"scale is within (0, 1] and ratio above 0, both rising: got {self.scale} and {self.ratio}"
            )

    def __call__(
        self, x: Shaped[Tensor, "channels *positions"], generator: torch.Generator
    ) -> Float[Tensor, "channels *_"]:
        top, left, height, width = self._box(x.shape[-2], x.shape[-1], generator)
        return _resized(x[..., top : top + height, left : left + width], self.size, self.size)

    def _box(self, height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
        for _ in range(_TRIES):
            area = height * width * _uniform(*self.scale, generator)
            ratio = math.exp(_uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), generator))
            tall, wide = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < tall <= height and 0 < wide <= width:
                return _below(height - tall, generator), _below(width - wide, generator), tall, wide
        shape = min(max(width / height, self.ratio[0]), self.ratio[1])
        tall, wide = min(height, max(round(width / shape), 1)), min(width, max(round(height * shape), 1))
        return (height - tall) // 2, (width - wide) // 2, tall, wide


@register
@dataclass(frozen=True, kw_only=True)
class MultiScaleCrop(VisualAugmentation):
    """A part of a few sizes, at one of 13 places, stretched to a square, bicubic (Wang et al. 2016, section 3.2).

    Sides are shares of the shorter side of the frame; height and width differ by one step at most. The places are the
    corners, the middle, and those half-way between. The crop of VideoMAE and of BRIDLE for video.

    Attributes:
        size: Side of the square.
        scales: Shares of the shorter side, from large to small.
    """

    size: int
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"scales are shares of the shorter side, above 0 and at most 1: got {self.scales}")

    def __call__(
        self, x: Shaped[Tensor, "channels *positions"], generator: torch.Generator
    ) -> Float[Tensor, "channels *_"]:
        height, width = x.shape[-2:]
        sides = [self._side(min(height, width) * scale, min(height, width)) for scale in self.scales]
        pairs = [
            (tall, wide)
            for first, tall in enumerate(sides)
            for second, wide in enumerate(sides)
            if abs(first - second) <= 1
        ]
        tall, wide = pairs[_below(len(pairs) - 1, generator)]
        down, right = _PLACES[_below(len(_PLACES) - 1, generator)]
        # In quarters of the room, each rounded down, as the code of TSN counts.
        top, left = down * ((height - tall) // 4), right * ((width - wide) // 4)
        return _resized(x[..., top : top + tall, left : left + wide], self.size, self.size)

    def _side(self, length: float, longest: int) -> int:
        side = max(int(length), 1)
        return self.size if abs(side - self.size) < _SNAP and self.size <= longest else side


# Quarters of the room below and to the right of a crop: corners and middle, middles of the sides, between them.
_PLACES = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((2, 0), (2, 4), (4, 2), (0, 2)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)


@register
@dataclass(frozen=True, kw_only=True)
class CentreCrop(VisualAugmentation):
    """The middle, as tests look at it; nothing is drawn.

    Attributes:
        size: Side of the square.
        share: Of the shorter side that remains: 0.875 is 224 of 256 pixels.
    """

    size: int
    share: float = 0.875

    def __post_init__(self) -> None:
        _check_size(self.size)
        if not 0 < self.share <= 1:
            raise ValueError(f"share is above 0 and at most 1, got {self.share}")

    def __call__(
        self, x: Shaped[Tensor, "channels *positions"], generator: torch.Generator
    ) -> Float[Tensor, "channels *_"]:
        height, width = x.shape[-2:]
        side = max(round(min(height, width) * self.share), 1)
        return _resized(_middle(x, side, side), self.size, self.size)


@register
@dataclass(frozen=True, kw_only=True)
class HorizontalFlip(VisualAugmentation):
    """Left becomes right.

    Attributes:
        chance: How often.
    """

    chance: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.chance <= 1:
            raise ValueError(f"chance is from 0 to 1, got {self.chance}")

    def __call__(
        self, x: Shaped[Tensor, "channels *positions"], generator: torch.Generator
    ) -> Float[Tensor, "channels *_"]:
        return _unit(x).flip(-1) if _uniform(0.0, 1.0, generator) < self.chance else _unit(x)


def image_augmentations(size: int = 224) -> tuple[VisualAugmentation, ...]:
    """What BRIDLE's image encoder is pretrained on: crops of 20 to 100 % of the area, flipped or not."""
    return RandomResizedCrop(size=size), HorizontalFlip()


def video_augmentations(size: int = 224) -> tuple[VisualAugmentation, ...]:
    """What BRIDLE's video encoder is pretrained on.

    Note: Its paper names flips, its code has none; where the label is a direction they do harm, so none are here.
    """
    return (MultiScaleCrop(size=size),)


def fitted(x: Shaped[Tensor, "channels *positions"], height: int, width: int) -> Float[Tensor, "channels *_"]:
    """Of a height and a width: the largest part in the middle that has their shape, resized, bicubic."""
    scale = min(x.shape[-2] / height, x.shape[-1] / width)
    part = _middle(x, max(round(height * scale), 1), max(round(width * scale), 1))
    return _resized(part, height, width)


def grey(x: UInt8[Tensor, "3 *positions"]) -> UInt8[Tensor, "1 *positions"]:
    """Brightness of colours, by the weights of ITU-R BT.601."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device)
    return torch.tensordot(weights, x.float(), 1).round().byte().unsqueeze(0)


def normalized_channels(
    x: Shaped[Tensor, "channels *positions"], mean: Sequence[float], deviation: Sequence[float]
) -> Float[Tensor, "channels *positions"]:
    """Minus the mean of every channel, or one for all, and divided by its deviation."""
    shape = (-1, *[1] * (x.ndim - 1))
    return (_unit(x) - torch.tensor(mean).view(shape)) / torch.tensor(deviation).view(shape)


def _middle(x: Shaped[Tensor, "channels *positions"], height: int, width: int) -> Shaped[Tensor, "channels *_"]:
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"size is at least 1 pixel, got {size}")


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _below(most: int, generator: torch.Generator) -> int:
    """A whole number from 0 to ``most``."""
    return int(torch.randint(most + 1, (), generator=generator))


def _unit(x: Shaped[Tensor, "*positions"]) -> Float[Tensor, "*positions"]:
    return x if x.is_floating_point() else x.float() / 255


def _resized(x: Shaped[Tensor, "channels *positions"], height: int, width: int) -> Float[Tensor, "channels *_"]:
    """Bicubic, with the filter widened where it reduces, as Pillow does; overshoots are cut."""
    x = _unit(x)
    if x.shape[-2:] == (height, width):
        return x
    planes = x.reshape(1, -1, *x.shape[-2:])
    resized = F.interpolate(planes, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp(0, 1).reshape(*x.shape[:-2], height, width)
