"""Images to ``.cw`` files and back."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from huggingface_hub import ModelHubMixin
from jaxtyping import Float32, Int32, Int64, UInt8
from torch import Tensor

from codeword.codecs.folders import FILES
from codeword.codecs.image.model import ImageModel
from codeword.codecs.image.storage import fingerprint, located, read_image_model, write_image
from codeword.codecs.image.transform import ImageTransform
from codeword.codecs.rates import Levels, Scale, check_depth, unmet
from codeword.entropy.counting import GridCounter
from codeword.entropy.frames import FrameTables
from codeword.formats.container import BinaryWriter
from codeword.formats.counted import Counted
from codeword.formats.errors import FormatError
from codeword.formats.fields import check_model, short_fingerprint
from codeword.formats.image import ImageFileReader, ImageFileWriter
from codeword.formats.image_payload import ImageHeader
from codeword.formats.salvage import SalvageReport
from codeword.formats.source import FREE_CODES
from codeword.functional.rate import codes_at, depth_for_bits, depths_at, scale_for_bits
from codeword.quantizers.storage import card, fetched

MAX_PIXELS = 2**28
_MOST = 1_000_000  # of a pixel: even an image of one has less
_UNIT = "bits per pixel"


@dataclass(frozen=True)
class BitsPerPixel:
    """The scale, or for a model of constant depth the depth, that brings the file to so many bits for a pixel.

    Raises:
        ValueError: If it is not positive, or beyond a million.
    """

    value: float

    def __post_init__(self) -> None:
        if not 0 < self.value <= _MOST:
            raise ValueError(f"a rate in bits per pixel is positive and at most {_MOST}, got {self.value}")


ImageRate: TypeAlias = Scale | Levels | BitsPerPixel


class CompressedImage(NamedTuple):
    """What was written.

    Attributes:
        pixels: Of the image.
        num_bytes: Length of the file.
        levels: Levels of a latent, on the average.
        note: Empty, or why a rate was not met.
    """

    pixels: int
    num_bytes: int
    levels: float
    note: str

    @property
    def bits_per_pixel(self) -> float:
        """Of the file, headers included."""
        return 8 * self.num_bytes / self.pixels


class SalvagedImage(NamedTuple):
    """What is left of a damaged file.

    Attributes:
        image: All of it, middle grey where rows were lost.
        report: What was lost.
    """

    image: UInt8[Tensor, "_ height width"]
    report: SalvageReport


class EncodedImage(NamedTuple):
    """An image of which no file was written yet.

    Attributes:
        header: Of its files.
        codes: Of all levels.
        importance: How many of them a place needs, from 0 to 1; ``None`` where all are alike.
    """

    header: ImageHeader
    codes: Int32[np.ndarray, "rows columns levels"]
    importance: Float32[np.ndarray, "rows columns"] | None


_CARD = card(
    "An image codec",
    "A codec of images that spends as many codebooks on every place as it needs, written by codeword. `config.json` "
    "has its networks.",
    "from codeword.codecs.image.codec import ImageCodec\n\n"
    'codec = ImageCodec.from_pretrained("this folder")\n# or: codeword compress --model FOLDER in.png out.cw',
)


class ImageCodec(ModelHubMixin, library_name="codeword", model_card_template=_CARD):
    """An image model with what files need.

    ::

        image ──► tiles ──► codes, importance ──► depths for a rate ──► chunks of a .cw file
        image ◄── tiles ◄── codes ◄─────────────────────────────────────────┘

    Args:
        model: A trained model.
        tables: Its entropy tables; without them codes are packed.
    """

    def __init__(self, model: ImageModel, tables: FrameTables | None = None):
        self.model, self.tables, self.transform = model, tables, ImageTransform(model)
        self.fingerprint = fingerprint(model)

    @classmethod
    def open(cls, folder: Path) -> "ImageCodec":
        """The codec in a folder, or the one that comes with the package under a name, without a look at any hub.

        Raises:
            ValueError: In one line that names the folder, if it holds no model or a damaged one.
        """
        return cls(*read_image_model(folder))

    def learn_tables(self, images: Iterable[UInt8[Tensor, "_ _ _"]], scales: Iterable[float]) -> None:
        """Count the codes of training images at the scales in use, for range coding.

        Args:
            images: Of the model's number of channels.
            scales: Scales, taken in turn; not used by a model of constant depth.
        """
        counter = GridCounter(self.model.quantizer.sizes, variable_depth=self.model.importance is not None)
        scales = list(scales)
        if self.model.importance is not None and not scales:
            raise ValueError("a model of variable depth learns tables at the scales in use: give one at least")
        for number, image in enumerate(images):
            _, codes, importance = self.encode(image)
            if importance is not None:
                codes = codes_at(codes, depths_at(importance, scales[number % len(scales)], self.model.levels))
            counter.add(codes)
        self.tables = counter.tables()

    def compress(
        self, image: UInt8[Tensor, "_ height width"], target: BinaryWriter, rate: ImageRate
    ) -> CompressedImage:
        """Write the codes of an image.

        Args:
            image: Grey or in colour, of any size; what the model is not made for is converted.
            target: Where the file goes.
            rate: What to spend.

        Raises:
            ValueError: If the rate does not suit the model, or this is no image.
        """
        self.check_rate(rate)
        return self.write(self.encode(image), target, rate)

    def encode(self, image: UInt8[Tensor, "_ height width"]) -> EncodedImage:
        """The codes of an image, of which files at several rates can be written.

        Raises:
            ValueError: If this is no image.
        """
        if image.dtype != torch.uint8:
            raise ValueError(f"pixels are bytes, got {image.dtype}: make them so with codecs.image.training.to_bytes")
        if image.ndim != 3 or 0 in image.shape or image.shape[0] not in (1, 3):
            raise ValueError(f"an image has 1 or 3 channels and a pixel at least, got shape {tuple(image.shape)}")
        channels, height, width = image.shape
        header = ImageHeader(
            model=short_fingerprint(self.fingerprint),
            width=width,
            height=height,
            channels=channels,
            step=self.model.step,
            sizes=self.model.quantizer.sizes,
        )
        codes, importance = self.transform.encode(recoloured(image, self.model.channels))
        return EncodedImage(header, codes.numpy(), None if importance is None else importance.numpy())

    def write(self, image: EncodedImage, target: BinaryWriter, rate: ImageRate) -> CompressedImage:
        """Write an image that ``encode`` has made; see ``compress``."""
        self.check_rate(rate)
        depths, note = self._depths(rate, image)
        counted = Counted(target)
        self._write(counted, image, depths)
        return CompressedImage(
            image.header.width * image.header.height, counted.num_bytes, float(np.mean(depths)), note
        )

    def decompress(self, reader: ImageFileReader, *, max_pixels: int = MAX_PIXELS) -> UInt8[Tensor, "_ height width"]:
        """The image of a file, grey or in colour as it was.

        Args:
            reader: The file, of this model.
            max_pixels: That may be held in memory; a small hostile file may promise any number.

        Raises:
            ValueError: If the file is of another model.
            FormatError: If it is damaged, or has more pixels.
        """
        self.check_reader(reader)
        header = reader.header
        check_pixels(header, max_pixels)
        return self._image(reader.read_all(max_codes=header.rows * header.columns * header.levels), header)

    def salvage(self, reader: ImageFileReader, *, max_pixels: int = MAX_PIXELS) -> SalvagedImage:
        """The image of a damaged file, middle grey where rows were lost.

        Args:
            reader: The file, of this model.
            max_pixels: As in ``decompress``.
        """
        self.check_reader(reader)
        header = reader.header
        check_pixels(header, max_pixels)
        whole = np.full((header.rows, header.columns, header.levels), -1, dtype=np.int64)
        codes, report = reader.salvage(max_codes=max(whole.size, FREE_CODES))
        kept = codes[: header.rows]
        whole[: len(kept)] = kept
        image = self._image(whole, header)
        lost = torch.from_numpy((whole < 0).all((1, 2))).repeat_interleave(header.step)[: header.height]
        image[:, lost] = 128
        return SalvagedImage(image, report)

    def check_rate(self, rate: ImageRate) -> None:
        """Refuse what the model cannot spend.

        Raises:
            ValueError: Naming what it can.
        """
        if isinstance(rate, BitsPerPixel):
            return
        varies = self.model.importance is not None
        check_depth(rate, self.model.levels, self.model.allocation.check_scale if varies else None)
        if isinstance(rate, Levels) and rate.count not in self.counts:
            name = type(self.model.quantizer).__name__
            raise ValueError(f"codes of a {name} stand together, {self.model.levels} levels: got {rate.count}")

    def check_reader(self, reader: ImageFileReader) -> None:
        """Refuse a file of another model.

        Raises:
            ValueError: Naming both fingerprints.
            FormatError: If it claims what this model does not write.
        """
        check_model(reader.header, self.fingerprint, step=self.model.step, sizes=self.model.quantizer.sizes)

    @property
    def counts(self) -> range:
        """Constant depths that there are: codes that do not refine one another stand all together."""
        levels = self.model.levels
        return range(1 if self.model.quantizer.gates == levels else levels, levels + 1)

    def _image(
        self, codes: Int64[np.ndarray, "rows columns levels"], header: ImageHeader
    ) -> UInt8[Tensor, "_ height width"]:
        image = torch.empty(header.channels, header.height, header.width, dtype=torch.uint8)
        done = 0
        for band in self.transform.decode(torch.from_numpy(codes), (header.height, header.width)):
            image[:, done : done + band.shape[1]] = recoloured(band, header.channels)
            done += band.shape[1]
        return image

    def _depths(self, rate: ImageRate, image: EncodedImage) -> tuple[Int64[np.ndarray, "rows columns"] | int, str]:
        """Depths of an image, one number for all if they are constant; and a note."""
        header, _, importance = image
        levels = self.model.levels
        match rate:
            case Levels(count):
                return count, ""
            case Scale(value):
                assert importance is not None
                return depths_at(importance, value, levels), ""
            case BitsPerPixel(value):
                pixels = header.width * header.height
                bits = int(value * pixels)
                if importance is None:
                    sizes = [self._size(image, depth) for depth in self.counts]
                    place = depth_for_bits(sizes, bits) - 1
                    return self.counts[place], unmet(value, _UNIT, 8 / pixels, sizes[place], (sizes[0], sizes[-1]))
                scales = self.model.allocation.scales
                found = scale_for_bits(importance, levels, bits, partial(self._size, image), scales=scales)
                return found.depths, unmet(value, _UNIT, 8 / pixels, found.num_bytes, found.reach)

    def _size(self, image: EncodedImage, depths: Int64[np.ndarray, "rows columns"] | int) -> int:
        """Exact bytes of the file at depths."""
        counted = Counted()
        self._write(counted, image, depths)
        return counted.num_bytes

    def _write(self, target: Counted, image: EncodedImage, depths: Int64[np.ndarray, "rows columns"] | int) -> None:
        header = replace(image.header, depth=depths) if isinstance(depths, int) else image.header
        with ImageFileWriter(target, header, tables=self.tables) as writer:
            writer.write(codes_at(image.codes, depths))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "ImageCodec":
        """The codec in a folder, in a repository of a hub, or under the name of the one that comes with the package."""
        return super().from_pretrained(located(Path(pretrained_model_name_or_path)), **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_image(save_directory, self.model, self.tables)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "ImageCodec":
        return cls(*read_image_model(fetched(model_id, FILES, **options)))


_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue, as JPEG has them


def recoloured(image: UInt8[Tensor, "_ height width"], channels: int) -> UInt8[Tensor, "channels height width"]:
    """An image as a model needs it: grey repeated, or colours as their brightness."""
    if image.shape[0] == channels:
        return image
    if channels == 3:
        return image.expand(3, -1, -1)
    weights = torch.tensor(_LUMA).view(3, 1, 1)
    return (image.float() * weights).sum(0, keepdim=True).round().clamp(0, 255).byte()


def check_pixels(header: ImageHeader, most: int) -> None:
    """Refuse an image that would not fit.

    Raises:
        FormatError: If it has more than so many pixels.
    """
    if (pixels := header.width * header.height) > most:
        raise FormatError("header", f"an image of {pixels} pixels, more than max_pixels={most}: raise it if this is so")
