"""Images from files: a picture of its own (through Pillow), one of a file of many, or one in a tar file."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from codeword.data.image_arrays import ImageError, array_image, holds_many
from codeword.data.listing import Item
from codeword.data.tar_members import MemberFile, is_tar

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"})
_OPTIONS: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}
_SIDES = {"WEBP": 16_383, "JPEG": 65_500}
_BAND = 512  # rows that are copied at once
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's names for 16 bits of grey
_BITS, _PHOTOMETRIC, _ORIENTATION = 258, 262, 274  # tags of TIFF and of EXIF
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_SHALLOW = {"1": 255, "L;2": 85, "L;4": 17}  # what Pillow multiplies values of few bits by


def read_image(
    item: Item | Path | str | io.BytesIO, *, channels: int | None = None, name: str = "an image", as_seen: bool = False
) -> UInt8[Tensor, "channels height width"]:
    """An image, upright, of 8 bits; of a film of images the first.

    Args:
        item: An item of a listing, a file, or the bytes of one.
        channels: 1 for grey, 3 for colour; by default what the file has.
        name: What errors call bytes.
        as_seen: Whether transparency lets white through, and colours of a profile become those of sRGB, instead of the
            values that are stored.

    Raises:
        ImageError: In one line, if it is missing, damaged or no image.
        TarError: If it is in a tar file that is damaged.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"an image has 1 channel or 3, got {channels}")
    if isinstance(item, io.BytesIO):
        return torch.from_numpy(_decode(item, name, channels, as_seen=as_seen))
    item = item if isinstance(item, Item) else Item(path=Path(item))
    if is_tar(item.path):
        member = MemberFile(item.path, item.place)
        pixels = _decode(member, str(member), channels, as_seen=as_seen)
    elif holds_many(item.path):
        pixels = _recolour(array_image(item.path, item.place), channels)
    else:
        pixels = _decode(item.path, str(item.path), channels, as_seen=as_seen)
    return torch.from_numpy(pixels)


def image_bytes(pixels: UInt8[Tensor, "channels height width"], kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file of an image of 1 channel or 3; lossless where the format can be.

    Args:
        pixels: The image.
        kind: Pillow's name of the format.
        options: Of Pillow's writer, in place of our own.

    Raises:
        ImageError: If the format has no images of this size.
    """
    height, width = pixels.shape[1:]
    if (most := _SIDES.get(kind)) is not None and max(height, width) > most:
        raise ImageError(f"{kind} ends at {most} pixels a side, the image has {width} x {height}: take PNG")
    pillow = _pillow(f"a {kind} file")
    array = pixels.permute(1, 2, 0).numpy(force=True)
    file = io.BytesIO()
    pillow.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(
        file, kind, **(_OPTIONS.get(kind, {}) | options)
    )
    return file.getvalue()


@contextmanager
def opened_image(source: Path | io.BytesIO, name: str) -> Iterator["Image"]:
    """A Pillow image; whatever goes wrong with it is one line.

    Raises:
        ImageError: If it is missing, damaged or no image.
    """
    pillow = _pillow(name)
    try:
        with warnings.catch_warnings():
            # About metadata and sizes; what makes an image unusable is an exception.
            warnings.simplefilter("ignore")
            with pillow.open(source) as image:
                yield image
    except (ImageError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist") from error
    except pillow.DecompressionBombError as error:
        raise ImageError(f"{name} has more than {2 * pillow.MAX_IMAGE_PIXELS} pixels: cut it into pieces") from error
    except pillow.UnidentifiedImageError as error:
        raise ImageError(f"{name} is damaged or no image: it is empty, or its format is not known") from error
    except Exception as error:  # decoders fail in any way at damaged files
        told = str(error).replace(repr(source), "it").replace(repr(str(source)), "it")
        raise ImageError(f"{name} is damaged or no image: {' '.join(told.split()) or type(error).__name__}") from error


class UprightImage(NamedTuple):
    """Pixels of 8 bits, and what was changed to get them, in words."""

    pixels: UInt8[np.ndarray, "channels height width"]
    notes: tuple[str, ...]


def upright(image: "Image", name: str, channels: int | None, *, as_seen: bool) -> UprightImage:
    """What ``read_image`` makes of an image that is open.

    Raises:
        ImageError: In one line, if its values are not those of a picture.
    """
    from codeword.data.image_colours import in_srgb

    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        kind = "in floating point" if image.mode == "F" else "of 32 bits"
        raise ImageError(f"{name} has values {kind}, of no known range: save it with 8 or 16 bits")
    notes: list[str] = []
    depth, white = _deep_values(image)
    _scale_key(image)
    image = _turned(image)
    if deep := image.mode in _DEEP:
        image = _shallow(image, depth, white)
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    clear = as_seen and _shows_through(image)
    if as_seen:
        image, told = in_srgb(image)
        notes += [told] if told else []
    if clear:
        image = _on_white(image)
        notes.append("transparency was laid on white")
    if deep:
        notes.append("grey of more than 8 bits was brought to 8")
    if image.mode == "CMYK":
        notes.append("inks were turned into red, green and blue without a profile")
    seen = _eight_bits(image)
    if channels is not None:
        seen = _converted(seen, "L" if channels == 1 else "RGB")
    pixels = np.empty((len(seen.getbands()), seen.height, seen.width), np.uint8)
    for top in range(0, seen.height, _BAND):  # a large image should not be there more often than it must
        stop = min(top + _BAND, seen.height)
        band = np.asarray(seen.crop((0, top, seen.width, stop)))
        pixels[:, top:stop] = band[None] if band.ndim == 2 else band.transpose(2, 0, 1)
    return UprightImage(pixels, tuple(notes))


def _decode(
    source: Path | io.BytesIO, name: str, channels: int | None, *, as_seen: bool
) -> UInt8[np.ndarray, "channels height width"]:
    with opened_image(source, name) as image:
        return upright(image, name, channels, as_seen=as_seen).pixels


def _deep_values(image: "Image") -> tuple[int, bool]:
    """Bits of a deep grey, and whether its 0 is white: of TIFF alone Pillow leaves both as they are."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, 16)
    return (bits[0] if isinstance(bits, tuple) else bits), tags.get(_PHOTOMETRIC) == 0


def _scale_key(image: "Image") -> None:
    """Bring a transparent value to 8 bits, as Pillow brings pixels but not the value."""
    key = image.info.get("transparency")
    tiles = getattr(image, "tile", None) if image.format == "PNG" else None
    raw = tiles[0][3] if tiles else None
    if isinstance(key, int) and raw in _SHALLOW:
        image.info["transparency"] = key * _SHALLOW[raw]
    elif isinstance(key, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _turned(image: "Image") -> "Image":
    """As its EXIF data says; what else stands there does not matter, and may be damaged."""
    from PIL.Image import Transpose

    image.load()
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # readers of EXIF data fail in any way, too
        return image
    return image if turn is None else image.transpose(Transpose[turn])


def _shallow(image: "Image", bits: int, white: bool) -> "Image":
    """The upper 8 of deep bits, where Pillow would clip what is beyond 255; a value that is transparent is so still."""
    pillow = _pillow("")
    values = np.asarray(image).astype(np.int64)
    upper = (values >> max(bits - 8, 0)).clip(0, 255).astype(np.uint8)
    seen = pillow.fromarray(255 - upper if white else upper)
    if (key := image.info.get("transparency")) is not None:
        seen.putalpha(pillow.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    seen.info = {name: value for name, value in image.info.items() if name == "icc_profile"}
    return seen


def _shows_through(image: "Image") -> bool:
    """Whether anything of it is transparent."""
    if image.mode in ("LA", "PA", "RGBA"):
        return bool((np.asarray(image.getchannel("A")) < 255).any())
    return image.has_transparency_data


def _on_white(image: "Image") -> "Image":
    """What is seen of a transparent image on white paper, grey if it is grey."""
    pillow = _pillow("")
    seen = image.convert("RGBA")
    flat = pillow.alpha_composite(pillow.new("RGBA", seen.size, "white"), seen).convert("RGB")
    return flat.convert("L") if image.mode in ("LA", "L", "1") else flat


def _eight_bits(image: "Image") -> "Image":
    """The same in grey or colour, without transparency."""
    if image.mode in ("1", "L", "LA"):
        return _converted(image, "L")
    if image.mode in ("P", "PA"):  # by way of transparency, which a palette may have
        return image.convert("RGBA").convert("RGB")
    return _converted(image, "RGB")


def _converted(image: "Image", mode: str) -> "Image":
    return image if image.mode == mode else image.convert(mode)


def _recolour(
    pixels: UInt8[np.ndarray, "_ height width"], channels: int | None
) -> UInt8[np.ndarray, "channels height width"]:
    if channels is None or channels == len(pixels):
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=0)
    grey = _pillow("colour as grey").fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).convert("L")
    return np.array(grey)[None]


def _pillow(name: str) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImageError(f"{name} cannot be read without Pillow: pip install 'codeword[media]'") from error
    return Image
