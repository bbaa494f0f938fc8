"""Rate and quality of an image codec beside JPEG and WebP: whole files, every byte counted, decoded again."""

import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import UInt8
from torch import Tensor

from codeword.codecs.image.codec import BitsPerPixel, EncodedImage, ImageCodec, ImageRate
from codeword.codecs.rates import Levels, Scale
from codeword.data.image_arrays import ImageError
from codeword.data.image_files import image_bytes, read_image
from codeword.evaluation.intervals import Interval, interval
from codeword.evaluation.rate_figures import RateFigures, RatePoint
from codeword.formats.atomic import atomic_write
from codeword.formats.image import ImageFileReader
from codeword.functional.image_similarity import WINDOW, psnr, ssim, ssim_and_ms_ssim

_SHARES = (0.15, 0.3, 0.6, 1.0, 1.5, 2.5, 4.0, 6.0)  # scales measured when nothing is said, in levels
_QUALITIES = {"jpeg": (5, 10, 20, 30, 45, 60, 75, 90), "webp": (0, 5, 15, 30, 50, 70, 85, 95)}
_OPTIONS: Mapping[str, dict[str, Any]] = {"jpeg": {"optimize": True}, "webp": {"method": 6, "lossless": False}}
PEERS = tuple(_QUALITIES)
_LEAST = 176  # pixels of the shorter side below which MS-SSIM has no five scales
_CONSTANT = "constant depth"
VARIABLE = "variable depth"


class Measure(NamedTuple):
    """A measure of images.

    Attributes:
        title: Its usual name.
        unit: What it is measured in; empty for a number.
        digits: How many to print after the point.
        rising: Whether more is better.
    """

    title: str
    unit: str = ""
    digits: int = 4
    rising: bool = True


MEASURES: Mapping[str, Measure] = {
    "psnr": Measure("PSNR", "dB", 2),
    "ssim": Measure("SSIM"),
    "ms_ssim": Measure("MS-SSIM"),
}


class NamedPicture(NamedTuple):
    """An image and where it comes from."""

    name: str
    pixels: UInt8[Tensor, "channels height width"]


class CodedPicture(NamedTuple):
    """What came back, and what the file took."""

    num_bytes: int
    pixels: UInt8[Tensor, "channels height width"]


@dataclass(frozen=True, kw_only=True)
class ImagePoint:
    """One system at one setting, over all images.

    Attributes:
        system: The line that it is on, such as ``variable depth`` or ``jpeg``.
        setting: What was asked for.
        bits_per_pixel: Of the files.
        metrics: By the names of ``MEASURES``.
        per_image: ``bits_per_pixel`` and the measures of every image, in order.
    """

    system: str
    setting: str
    bits_per_pixel: Interval
    metrics: dict[str, Interval]
    per_image: tuple[dict[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class ImageEvaluation:
    """A model, and perhaps other codecs, on a set of images.

    Attributes:
        model: Fingerprint of the model.
        images: Name, width and height of what was coded.
        points: Of the model, then of every other codec; each from few bits to many.
        command: How to do it again.
        machine: Processor, threads and versions.
        skipped: Images that were left out, and why.
    """

    model: str
    images: tuple[tuple[str, int, int], ...]
    points: tuple[ImagePoint, ...]
    command: str = ""
    machine: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Write a JSON file; NaN and infinity are nowhere in it."""
        content = asdict(self)
        for point, told in zip(self.points, content["points"], strict=True):
            told["bits_per_pixel"] = point.bits_per_pixel._asdict()
            told["metrics"] = {name: value._asdict() for name, value in point.metrics.items()}
        with atomic_write(path) as file:
            file.write(json.dumps({"version": 1, **content}, indent=1, allow_nan=False).encode() + b"\n")

    def figures(self) -> RateFigures:
        """Charts and tables."""
        lines: dict[str, list[RatePoint]] = {}
        for point in self.points:
            lines.setdefault(point.system, []).append(RatePoint(point.setting, point.bits_per_pixel, point.metrics))
        for points in lines.values():
            points.sort(key=lambda point: point.rate.mean)
        own = VARIABLE if VARIABLE in lines else _CONSTANT
        plain = sum(name in (VARIABLE, _CONSTANT) for name in lines)
        return RateFigures(lines, MEASURES, unit="bits per pixel", own=own, plain=plain, digits=3)


def evaluate(
    codec: ImageCodec,
    pictures: Iterable[NamedPicture],
    *,
    rates: Sequence[ImageRate] = (),
    peers: Sequence[str] = (),
    command: str = "",
    machine: Mapping[str, Any] | None = None,
    skipped: Sequence[str] = (),
    progress: Callable[[float, float | None], None] | None = None,
) -> ImageEvaluation:
    """Code images at several rates and measure what comes back.

    Args:
        codec: The model.
        pictures: Images, read one after another.
        rates: What the model spends; a usual set if there are none.
        peers: Of ``PEERS``.
        command: For the result.
        machine: Likewise.
        skipped: Likewise.
        progress: Called with the images done.

    Raises:
        ValueError: If there are no images, no such peer, or the model cannot spend a rate.
    """
    if strange := [name for name in peers if name not in PEERS]:
        raise ValueError(f"there is no codec {strange[0]!r} to compare with: choose from {', '.join(PEERS)}")
    chosen = tuple(rates) or _usual(codec)
    for rate in chosen:
        codec.check_rate(rate)
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    images: list[tuple[str, int, int]] = []
    for number, picture in enumerate(pictures, 1):
        height, width = picture.pixels.shape[1:]
        encoded = codec.encode(picture.pixels)
        systems: dict[tuple[str, str], Callable[[], CodedPicture]] = {
            **{_named(codec, rate): partial(through, codec, encoded, rate) for rate in chosen},
            **{
                (name, f"quality={quality}"): partial(coded_by, name, quality, picture.pixels)
                for name in peers
                for quality in _QUALITIES[name]
            },
        }
        found: dict[tuple[str, str], dict[str, float]] = {}
        try:
            for key, system in systems.items():
                coded = system()
                rate = 8 * coded.num_bytes / (width * height)
                found[key] = {"bits_per_pixel": rate, **measures(coded.pixels, picture.pixels)}
        except ImageError as error:  # JPEG and WebP end at 65,500 and 16,383 pixels a side
            skipped = (*skipped, f"{picture.name}: {error}")
            continue
        images.append((picture.name, width, height))
        for key, row in found.items():
            rows.setdefault(key, []).append(row)
        if progress is not None:
            progress(number, None)
    if not images:
        raise ValueError("there are no images to measure")
    return ImageEvaluation(
        model=codec.fingerprint,
        images=tuple(images),
        points=tuple(_point(*key, found) for key, found in rows.items()),
        command=command,
        machine=dict(machine or {}),
        skipped=tuple(skipped),
    )


def measures(
    found: UInt8[Tensor, "channels height width"], wanted: UInt8[Tensor, "channels height width"]
) -> dict[str, float]:
    """All measures that an image is large enough for; none of an image that came back as it was but SSIM."""
    a, b = (image.float() / 255 for image in (found, wanted))
    values = {"psnr": float(psnr(a, b))}
    shorter = min(found.shape[1:])
    if shorter >= _LEAST:
        values |= zip(("ssim", "ms_ssim"), map(float, ssim_and_ms_ssim(a, b)), strict=True)
    elif shorter >= WINDOW:
        values["ssim"] = float(ssim(a, b))
    return {name: value for name, value in values.items() if math.isfinite(value)}


def through(codec: ImageCodec, image: EncodedImage, rate: ImageRate) -> CodedPicture:
    """An image to a file and back."""
    file = io.BytesIO()
    done = codec.write(image, file, rate)
    file.seek(0)
    with ImageFileReader(file, tables=codec.tables) as reader:
        return CodedPicture(done.num_bytes, codec.decompress(reader))


def coded_by(name: str, quality: int, pixels: UInt8[Tensor, "channels height width"]) -> CodedPicture:
    """An image to a file of one of ``PEERS`` and back."""
    data = image_bytes(pixels, name.upper(), quality=quality, **_OPTIONS[name])
    return CodedPicture(len(data), read_image(io.BytesIO(data), channels=pixels.shape[0]))


def _usual(codec: ImageCodec) -> tuple[ImageRate, ...]:
    levels = codec.model.levels
    depths = tuple(Levels(count) for count in sorted({1, 2, *range(4, levels, 4), levels} & set(codec.counts)))
    if codec.model.importance is None:
        return depths
    least, most = codec.model.allocation.scales
    return (*(Scale(min(max(least, share * levels), most)) for share in _SHARES), *depths)


def _named(codec: ImageCodec, rate: ImageRate) -> tuple[str, str]:
    match rate:
        case Scale(value):
            return VARIABLE, f"scale={value:g}"
        case Levels(count):
            return _CONSTANT, f"levels={count}"
        case BitsPerPixel(value):
            varies = codec.model.importance is not None
            return VARIABLE if varies else _CONSTANT, f"{value:g} bits per pixel"


def _point(system: str, setting: str, rows: Sequence[dict[str, float]]) -> ImagePoint:
    metrics = {
        name: interval([row[name] for row in rows if name in row])
        for name in MEASURES
        if any(name in row for row in rows)
    }
    return ImagePoint(
        system=system,
        setting=setting,
        bits_per_pixel=interval([row["bits_per_pixel"] for row in rows]),
        metrics=metrics,
        per_image=tuple(rows),
    )
