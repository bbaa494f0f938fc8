"""Videos whose label is a motion, the easier ones: a tinted garment glides over a photo that rests.

Sixteen classes: eight directions, at 1 or at 3 pixels a frame. A garment that leaves on the right comes in on the left,
and begins anywhere, so that a single frame knows nothing of the label. Photos and garments of train, val and test are
different ones; every frame is coded by itself.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from benchmarks.pretraining_photos import FASHION, backgrounds
from benchmarks.pretraining_sprites import DIRECTIONS, FRAMES, SIZE, Clip, Track, render, write_clips
from codeword.data.image_arrays import idx_array

COUNTS = {"train": 4800, "val": 640, "test": 1280}
SPEEDS = {"slow": 1.0, "fast": 3.0}  # pixels a frame
CLASSES = tuple(f"{direction}_{speed}" for direction in DIRECTIONS for speed in SPEEDS)
_ACROSS = 28.0  # pixels
_FEWEST = 0.25  # opacity of a tint's darkest colour


def glide(label: str, generator: np.random.Generator) -> Track:
    """A garment on its way."""
    direction, speed = label.rsplit("_", 1)
    angle, time = DIRECTIONS.index(direction) * np.pi / 4, np.arange(FRAMES)
    x, y = generator.uniform(0, SIZE, 2)
    across, down = SPEEDS[speed] * np.cos(angle), -SPEEDS[speed] * np.sin(angle)
    rest = np.zeros(FRAMES)
    return Track((x + time * across) % SIZE, (y + time * down) % SIZE, rest, rest + _ACROSS)


def tinted(garment: UInt8[np.ndarray, "28 28"], generator: np.random.Generator) -> Float[Tensor, "4 28 28"]:
    """A garment in a colour, as opaque as it is bright."""
    opaque = torch.from_numpy(garment.astype(np.float32) / 255)
    tint = torch.from_numpy(generator.uniform(_FEWEST, 1, 3)).float()
    return torch.cat((opaque * tint[:, None, None], opaque[None]))


def write_garments(share: Path, out: Path, seed: int = 0) -> None:
    """The videos, in a folder per split and class, and a table of them with their photos."""
    images = share / FASHION
    own = idx_array(images / "train-images-idx3-ubyte.gz")
    garments = {"train": own[:54_000], "val": own[54_000:], "test": idx_array(images / "t10k-images-idx3-ubyte.gz")}
    backs = backgrounds(share)

    def draw(split: str, label: str, generator: np.random.Generator) -> Clip:
        name, photo = backs[split][generator.integers(len(backs[split]))]
        garment = tinted(garments[split][generator.integers(len(garments[split]))], generator)
        corner = generator.uniform(0, 1, 2) * (np.array(photo.shape[1:]) - SIZE - 1)
        return Clip(render(photo, np.tile(corner, (FRAMES, 1)), garment, glide(label, generator)), name)

    write_clips(out, COUNTS, CLASSES, draw, seed)
