"""Pictures from files, with a word on what a file has that a picture has not."""

import io
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from codeword.data.image_arrays import ImageError
from codeword.data.image_files import opened_image, upright

WRITTEN = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
}


class Picture(NamedTuple):
    """A picture and what was changed to get it.

    Attributes:
        pixels: Upright, 8 bits, grey or in colour.
        notes: What the file had beyond that, in words.
    """

    pixels: UInt8[Tensor, "channels height width"]
    notes: tuple[str, ...]


def read_picture(path: Path | io.BytesIO, name: str | None = None) -> Picture:
    """A picture that stands for its file alone.

    Transparency lies on white. Deep grey is brought to 8 bits, inks to red, green and blue, colours to those of sRGB.

    Args:
        path: The file, or its bytes.
        name: What errors call it.

    Raises:
        ImageError: In one line, if it is missing, damaged, no image, or a film of several.
    """
    name = str(path) if name is None else name
    with opened_image(path, name) as image:
        notes: list[str] = []
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format == "MPO":  # of a telephone: previews, depths, the other eye
            notes.append(f"the first of {frames} images was taken")
        elif frames > 1:
            raise ImageError(f"{name} is a film of {frames} images: save the one that you mean as an image of its own")
        seen = upright(image, name, None, as_seen=True)
    return Picture(torch.from_numpy(seen.pixels), (*notes, *seen.notes))
