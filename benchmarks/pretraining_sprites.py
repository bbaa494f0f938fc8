"""Videos whose label is a motion: cut-out animals, plants and things move over photos that drift on their own.

::

    photo, made small ──► window of 64 x 64, drifts straight, any direction, 0 to 1 pixel a frame ──┐
                                                                                                     ├─► 16 frames
    cut-out ──► place, angle and size ── one of them moves with the label, the others rest ──────────┘

Twelve classes: eight directions at 1.5 to 3 pixels a frame, turning either way by 5 to 10 degrees a frame, growing and
shrinking by 3 to 6 percent a frame.

What gives the label away, and what does not:

- Place, angle and size live on circles: a sprite that leaves on the right comes in on the left, one grown to its
  largest begins again at its smallest. All three begin anywhere, in every class. So at every time they are uniform in
  every class, and a single frame, the first and the last included, knows nothing of the label.
- Every frame is coded by itself: what a coder predicts from other frames would be seen in one.
- The photo's drift has the same distribution in every class, so that change alone does not tell one class from
  another, and where the change is strongest is not where the sprite is.
- Photos and cut-outs of train, val and test are different ones. Those that look the same when turned are left out.
"""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from benchmarks.pretraining_files import write_table
from benchmarks.pretraining_film import write_video
from benchmarks.pretraining_photos import backgrounds, photo_split

SIZE, FRAMES = 64, 16
COUNTS = {"train": 4200, "val": 600, "test": 1200}
DIRECTIONS = ("east", "northeast", "north", "northwest", "west", "southwest", "south", "southeast")
CLASSES = (*DIRECTIONS, "turning_left", "turning_right", "growing", "shrinking")
_SMALLEST, _LARGEST = 18.0, 40.0  # pixels across
_MASTER = 40  # pixels across of a cut-out as kept
_SPEED, _TURN, _GROWTH = (1.5, 3.0), (5.0, 10.0), (0.03, 0.06)
_DRIFT = 1.0
_RATE = Fraction(16)
_SCALE = 3  # of the coder's quantization: nearly nothing is lost
_COLOURS, _COVERED, _ASYMMETRY = 40, 0.25, 0.2
_KINDS = (
    *("animals", "food", "plants", "vehicles", "household", "hobbies", "sports"),
    *("seasonal", "medical", "military", "clothes", "people", "space"),
)


class Track(NamedTuple):
    """Where a sprite is.

    Attributes:
        x: Of its middle in pixels, on a circle of 64.
        y: The same, downwards.
        angle: In radians, counterclockwise.
        size: In pixels across.
    """

    x: np.ndarray
    y: np.ndarray
    angle: np.ndarray
    size: np.ndarray


def track(label: str, generator: np.random.Generator) -> Track:
    """A sprite that moves as its label says; everything about it that does not move is drawn in the same way."""
    time = np.arange(FRAMES)
    x, y = (generator.uniform(0, SIZE) + 0 * time for _ in range(2))
    angle = generator.uniform(0, 2 * np.pi) + 0 * time
    octave = np.log(_LARGEST / _SMALLEST)
    scale = generator.uniform(0, octave) + 0 * time
    speed, turn, growth = (generator.uniform(*bounds) for bounds in (_SPEED, _TURN, _GROWTH))
    if label in ("growing", "shrinking"):
        scale = scale + time * np.log1p(growth) * (1 if label == "growing" else -1)
    elif label in ("turning_left", "turning_right"):
        angle = angle + time * np.radians(turn) * (1 if label == "turning_left" else -1)
    else:
        direction = DIRECTIONS.index(label) * np.pi / 4
        x, y = x + time * speed * np.cos(direction), y - time * speed * np.sin(direction)
    return Track(x % SIZE, y % SIZE, angle % (2 * np.pi), _SMALLEST * np.exp(scale % octave))


def drift(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """The window's upper left corner in a photo, by frames: row, column."""
    direction, speed = generator.uniform(0, 2 * np.pi), generator.uniform(0, _DRIFT)
    step = speed * np.array([np.sin(direction), np.cos(direction)])
    reach = step * (FRAMES - 1)
    room = np.array([height - SIZE, width - SIZE]) - 1 - np.abs(reach)
    first = generator.uniform(0, 1, 2) * room + np.maximum(-reach, 0)
    return first + np.arange(FRAMES)[:, None] * step


def render(
    photo: UInt8[Tensor, "3 height width"], corners: np.ndarray, sprite: Float[Tensor, "4 size size"], where: Track
) -> np.ndarray:
    """Frames of 8 bits, colours last; the sprite's colours are multiplied by its fourth channel, how opaque it is."""
    origin = np.floor(corners.min(0)).astype(int)
    reach = SIZE + FRAMES
    patch = photo[:, origin[0] : origin[0] + reach, origin[1] : origin[1] + reach].float() / 255
    pixels = torch.arange(SIZE, dtype=torch.float32)
    y, x = torch.meshgrid(pixels, pixels, indexing="ij")
    top, left = torch.from_numpy(corners - origin).float().T[..., None, None]
    height, width = patch.shape[1:]
    grid = torch.stack((2 * (x + left) / (width - 1) - 1, 2 * (y + top) / (height - 1) - 1), -1)
    back = F.grid_sample(patch.expand(FRAMES, -1, -1, -1), grid, align_corners=True)
    middle_x, middle_y, angle, size = (torch.from_numpy(values).float()[:, None, None] for values in where)
    across, down = ((one - middle + SIZE / 2) % SIZE - SIZE / 2 for one, middle in ((x, middle_x), (y, middle_y)))
    inside = _turned(across, down, angle) / (size[..., None] / 2)
    front = F.grid_sample(sprite.expand(FRAMES, -1, -1, -1), inside, align_corners=False)
    frames = front[:, :3] + back * (1 - front[:, 3:])
    return frames.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def cut_outs(share: Path) -> dict[str, list[Tensor]]:
    """Cut-outs of every split: a fifth test, a tenth val."""
    found: dict[str, list[Tensor]] = {split: [] for split in COUNTS}
    stamps = share / "tuxpaint" / "stamps"
    for path in sorted(file for kind in _KINDS for file in (stamps / kind).rglob("*.png")):
        name = path.relative_to(stamps).as_posix()
        with Image.open(path) as picture:
            sprite = None if "cartoon" in name else cut_out(picture.convert("RGBA"))
        if sprite is not None:
            found[photo_split(name)].append(sprite)
    return found


def cut_out(picture: Image.Image) -> Float[Tensor, "4 size size"] | None:
    """A cut-out in a square, colours times opacity; ``None`` if it has few colours, is thin, or looks alike turned."""
    box = picture.getchannel("A").getbbox()
    if box is None:
        return None
    small = picture.crop(box)
    small.thumbnail((_MASTER - 2, _MASTER - 2), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (_MASTER, _MASTER))
    square.paste(small, ((_MASTER - small.width) // 2, (_MASTER - small.height) // 2))
    values = torch.from_numpy(np.asarray(square, np.float32) / 255).permute(2, 0, 1)
    sprite = torch.cat((values[:3] * values[3:], values[3:]))
    places = torch.linspace(-1, 1, _MASTER + 1)[:-1] + 1 / _MASTER
    down, across = torch.meshgrid(places, places, indexing="ij")
    inside = _turned(across, down, torch.tensor(np.radians(40.0), dtype=torch.float32))
    turned = F.grid_sample(sprite[None], inside[None], align_corners=False)[0]
    asymmetry = float((turned - sprite).abs().mean() / sprite.mean())
    colours = len(torch.unique((values[:3, values[3] > 0.9] * 31).long(), dim=1).T)
    fits = colours >= _COLOURS and sprite[3].mean() >= _COVERED and asymmetry >= _ASYMMETRY
    return sprite if fits else None


def _turned(across: Tensor, down: Tensor, angle: Tensor) -> Tensor:
    """Where a sprite turned counterclockwise has its pixels from."""
    return torch.stack((across * angle.cos() - down * angle.sin(), across * angle.sin() + down * angle.cos()), -1)


def write_sprites(share: Path, out: Path, seed: int = 0) -> None:
    """The videos, in a folder per split and class, and a table of them with their photos."""
    sprites, backs = cut_outs(share), backgrounds(share)

    def draw(split: str, label: str, generator: np.random.Generator) -> Clip:
        name, photo = backs[split][generator.integers(len(backs[split]))]
        sprite = sprites[split][generator.integers(len(sprites[split]))]
        corners = drift(*photo.shape[1:], generator)
        return Clip(render(photo, corners, sprite, track(label, generator)), name)

    write_clips(out, COUNTS, CLASSES, draw, seed)


class Clip(NamedTuple):
    """Frames, and the photo behind them."""

    frames: np.ndarray
    photo: str


def write_clips(
    out: Path,
    counts: Mapping[str, int],
    classes: Sequence[str],
    draw: Callable[[str, str, np.random.Generator], Clip],
    seed: int,
) -> None:
    """Videos of all classes in turn, in a folder per split and class, and a table of them with their photos."""
    rows: list[tuple[str, str, str, str]] = []
    number = 0
    for split, count in counts.items():
        for place in range(count):
            label = classes[place % len(classes)]
            clip = draw(split, label, np.random.default_rng((seed, number)))
            path = f"{split}/{label}/{number:05}.mkv"
            write_video(out / path, clip.frames, _RATE, scale=_SCALE)
            rows.append((path, label, split, clip.photo))
            number += 1
    write_table(out / "manifest.csv", ("path", "label", "split", "group"), rows)
