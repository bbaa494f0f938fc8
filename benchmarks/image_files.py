"""Images from a pixel to a hundred million through the model that comes with codeword: memory, seconds, seams.

    python -m benchmarks.image_files --data PICTURES

Pictures are those of ``benchmarks.image_shipped``. Large images are test photos side by side. An image is read and
compressed at half a bit a pixel in a process of its own, decompressed and written in another, one thread. Memory is
what a process grows by beyond the pixels themselves, its peak. Seams: codes of tiles are compared with those of the
whole image at once, where that fits.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from benchmarks.audio_speed import grown
from benchmarks.image_shipped import PHOTOS
from benchmarks.record import write
from codeword.cli.images import compress_image, decompress_image
from codeword.codecs.image.codec import BitsPerPixel, ImageCodec
from codeword.codecs.image.transform import ImageTransform
from codeword.data.image_files import read_image

SIZES = ((1, 1), (7, 300), (640, 480), (2000, 2000), (5000, 5000), (12_500, 8_000))
SEAMS = (2000, 2000)
_IN, _CODES, _OUT = "in.png", "codes.cw", "out.png"


def picture(data: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "height width channels"]:
    """Test photos side by side, as many as a picture of this width and height takes."""
    width, height = size
    canvas, top, names = np.zeros((height, width, 3), np.uint8), 0, sorted((data / "test").glob("*.png"))
    number = 0
    while top < height:
        left = tallest = 0
        while left < width:
            with Image.open(names[number % len(names)]) as photo:
                pixels = np.asarray(photo)[: height - top, : width - left]
            canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
            left, tallest, number = left + pixels.shape[1], max(tallest, pixels.shape[0]), number + 1
        top += tallest
    return canvas


def prepare(home: Path, data: Path, size: tuple[int, int]) -> dict[str, float]:
    """The image."""
    Image.fromarray(picture(data, size)).save(home / _IN, compress_level=1)
    return {}


def compress(home: Path, _data: Path, size: tuple[int, int]) -> dict[str, float]:
    """Its file of codes."""
    codec = ImageCodec.open(Path(PHOTOS))
    peak, seconds = grown(lambda: compress_image(codec, BitsPerPixel(0.5), home / _IN, home / _CODES, overwrite=False))
    pixels = size[0] * size[1]
    found = {
        "bits_per_pixel": 8 * (home / _CODES).stat().st_size / pixels,
        "compress_mb": peak - 3e-6 * pixels,
        "compress_cpu_seconds": seconds,
    }
    return found | (seams(codec, home / _IN) if size == SEAMS else {})


def decompress(home: Path, _data: Path, size: tuple[int, int]) -> dict[str, float]:
    """The image again."""
    codec = ImageCodec.open(Path(PHOTOS))
    peak, seconds = grown(lambda: decompress_image(codec, home / _CODES, home / _OUT, salvage=False, overwrite=False))
    return {"decompress_mb": peak - 3e-6 * size[0] * size[1], "decompress_cpu_seconds": seconds}


PARTS = {part.__name__: part for part in (prepare, compress, decompress)}


def seams(codec: ImageCodec, path: Path) -> dict[str, float]:
    """The share of codes in which tiles and the whole image differ, and by how much pixels do at most."""
    pixels = read_image(path, channels=3)
    tiled, whole = ImageTransform(codec.model), ImageTransform(codec.model, tile=max(pixels.shape))
    codes, others = tiled.encode(pixels).codes, whole.encode(pixels).codes
    height, width = pixels.shape[1:]
    one, other = (torch.cat(list(way.decode(codes, (height, width))), 1).int() for way in (tiled, whole))
    return {
        "codes_unlike_whole": float((codes != others).double().mean()),
        "pixels_unlike_whole": float((one != other).double().mean()),
        "most_unlike": float((one - other).abs().max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--size", nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part is not None:
        torch.set_num_threads(1)
        print(json.dumps(PARTS[arguments.part](arguments.home, arguments.data, tuple(arguments.size))))
        return
    rows: list[dict[str, Any]] = []
    for width, height in SIZES:
        row: dict[str, Any] = {"width": width, "height": height}
        with tempfile.TemporaryDirectory() as home:
            command = [sys.executable, "-m", "benchmarks.image_files", "--data", str(arguments.data), "--home", home]
            for part in PARTS:
                own = [*command, "--size", str(width), str(height), "--part", part]
                run = subprocess.run(own, capture_output=True, text=True, check=True)
                row |= json.loads(run.stdout.splitlines()[-1])
        rows.append(row)
        print(row, flush=True)
    print(f"wrote {write('image_files', rows)}")


if __name__ == "__main__":
    main()
