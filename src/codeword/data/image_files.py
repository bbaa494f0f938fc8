"""Images from files: a picture of its own (through Pillow), one of a file of many, or one in a tar file."""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's names for 16 bits of grey


def read_image(item: Item | Path | str, *, channels: int | None = None) -> UInt8[Tensor, "channels height width"]:
    """An image, upright, without transparency; of a film of images the first.

    Args:
        item: An item of a listing, or a file.
        channels: 1 for grey, 3 for colour; by default what the file has.

    Raises:
        ImageError: In one line, if it is missing, damaged or no image.
        TarError: If it is in a tar file that is damaged.
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"an image has 1 channel or 3, got {channels}")
    item = item if isinstance(item, Item) else Item(path=Path(item))
    if is_tar(item.path):
        member = MemberFile(item.path, item.place)
        pixels = _decode(member, str(member), channels)
    elif holds_many(item.path):
        pixels = _recolour(array_image(item.path, item.place), channels)
    else:
        pixels = _decode(item.path, str(item.path), channels)
    return torch.from_numpy(pixels)


def png(pixels: UInt8[Tensor, "channels height width"]) -> bytes:
    """The bytes of a PNG file of an image of 1 channel or 3."""
    pillow = _pillow("a PNG file")
    array = pixels.permute(1, 2, 0).numpy(force=True)
    file = io.BytesIO()
    pillow.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(file, "PNG")
    return file.getvalue()


def _decode(source: Path | io.BytesIO, name: str, channels: int | None) -> UInt8[np.ndarray, "channels height width"]:
    pillow = _pillow(name)
    from PIL import ImageOps

    try:
        with warnings.catch_warnings():
            # About metadata; what makes an image unusable is an exception.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(source) as image:
                upright = _eight_bits(ImageOps.exif_transpose(image))
                mode = upright.mode if channels is None else ("L" if channels == 1 else "RGB")
                pixels = np.asarray(upright.convert(mode))
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist") from error
    except Exception as error:  # decoders fail in any way at damaged files
        told = str(error).replace(repr(source), "it").replace(repr(str(source)), "it")
        raise ImageError(f"{name} is damaged or no image: {' '.join(told.split()) or type(error).__name__}") from error
    return np.array(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), order="C")


def _eight_bits(image: "Image") -> "Image":
    """The same in grey or colour, of 8 bits."""
    if image.mode in _DEEP:
        # Pillow would clip what is beyond 255.
        return _pillow("").fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("1", "L", "LA", "La"):
        return image.convert("L")
    if image.mode in ("P", "PA"):  # by way of transparency, which a palette may have
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


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
