"""A photo kept from training, as the model for images that comes with codeword, JPEG and WebP bring it back.

    python -m benchmarks.image_figure --data PICTURES   # docs/figures/photo.png

The photo is of krank, public domain. Of JPEG and WebP the quality is the one whose whole file is nearest in bytes.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from benchmarks.pages import ROOT
from codeword.codecs.image.codec import BitsPerPixel, ImageCodec
from codeword.codecs.image.storage import PHOTOS
from codeword.data.image_files import read_image
from codeword.evaluation.image import CodedPicture, coded_by, measures, through

FIGURE = ROOT / "docs" / "figures" / "photo.png"
PHOTO, RATE = "067.png", 0.4
TOP, LEFT, SIDE = 180, 400, 210  # the part that is shown
STRIP = 28  # pixels of a caption


def nearest(name: str, photo: UInt8[Tensor, "channels height width"], wanted: int) -> CodedPicture:
    """At the quality whose file is nearest in size."""
    every = (coded_by(name, quality, photo) for quality in range(1, 96))
    return min(every, key=lambda coded: abs(coded.num_bytes - wanted))


def panel(pixels: UInt8[Tensor, "channels height width"], caption: str) -> Image.Image:
    """The part, and words below it."""
    part = pixels[:, TOP : TOP + SIDE, LEFT : LEFT + SIDE].permute(1, 2, 0).numpy()
    made = Image.new("RGB", (SIDE, SIDE + STRIP), "white")
    made.paste(Image.fromarray(np.ascontiguousarray(part)))
    ImageDraw.Draw(made).text((3, SIDE + 8), caption, fill="black", font_size=13)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photo = read_image(arguments.data / "test" / PHOTO, channels=3)
    size = photo.shape[1] * photo.shape[2]
    codec = ImageCodec.open(Path(PHOTOS))
    coded = {"codeword": through(codec, codec.encode(photo), BitsPerPixel(RATE))}
    for name in ("jpeg", "webp"):
        coded[name.upper()] = nearest(name, photo, coded["codeword"].num_bytes)
    panels = [panel(photo, "original")]
    for name, found in coded.items():
        told = f"{name}: {8 * found.num_bytes / size:.3f} bpp, {measures(found.pixels, photo)['psnr']:.2f} dB"
        panels.append(panel(found.pixels, told))
        print(told)
    strip = Image.new("RGB", (len(panels) * (SIDE + 4) - 4, SIDE + STRIP), "white")
    for number, part in enumerate(panels):
        strip.paste(part, (number * (SIDE + 4), 0))
    strip.quantize(256, dither=Image.Dither.NONE).save(FIGURE, optimize=True)


if __name__ == "__main__":
    main()
