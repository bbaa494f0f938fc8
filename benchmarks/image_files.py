"""Images from a pixel to a hundred million through the model that comes with codeword: memory, seconds, seams.

    python -m benchmarks.image_files --data PICTURES

Pictures are those of ``benchmarks.image_shipped``. Large images are test photos side by side. Every size has a process
of its own, one thread: an image is read, compressed at half a bit a pixel, decompressed and written. Memory is what the
process grows by beyond the pixels themselves. Seams: codes of tiles are compared with those of the whole image at once,
where that fits.
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


def measure(data: Path, size: tuple[int, int]) -> dict[str, Any]:
    """Run in a fresh process."""
    torch.set_num_threads(1)
    codec, rate = ImageCodec.open(Path(PHOTOS)), BitsPerPixel(0.5)
    with tempfile.TemporaryDirectory() as home:
        names = tuple(Path(home) / name for name in ("in.png", "codes.cw", "out.png"))
        Image.fromarray(picture(data, size)).save(names[0], compress_level=1)
        up, coding = grown(lambda: compress_image(codec, rate, names[0], names[1], overwrite=False))
        down, decoding = grown(lambda: decompress_image(codec, names[1], names[2], salvage=False, overwrite=False))
        found = {"bits_per_pixel": 8 * names[1].stat().st_size / (size[0] * size[1])}
        if size == SEAMS:
            found |= seams(codec, names[0])
    pixels = 3e-6 * size[0] * size[1]
    return {
        "compress_mb": up - pixels,
        "decompress_mb": down - pixels,
        "compress_cpu_seconds": coding,
        "decompress_cpu_seconds": decoding,
        **found,
    }


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
    parser.add_argument("--measure", nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.data, tuple(arguments.measure))))
        return
    rows: list[dict[str, Any]] = []
    for width, height in SIZES:
        command = [sys.executable, "-m", "benchmarks.image_files", "--data", str(arguments.data)]
        run = subprocess.run(
            [*command, "--measure", str(width), str(height)], capture_output=True, text=True, check=True
        )
        rows.append({"width": width, "height": height, **json.loads(run.stdout.splitlines()[-1])})
        print(rows[-1], flush=True)
    print(f"wrote {write('image_files', rows)}")


if __name__ == "__main__":
    main()
