"""Real photos in three splits, pieces of them as images without labels, and Fashion-MNIST with a validation part."""

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from benchmarks.pretraining_files import part, write_table

PIECE = 96  # pixels; of photos at half their size, so that the blocks of the source's JPEG are finer than its own
_MOST = 128  # pieces of a photo
_PHOTOS = (
    "backgrounds/*_by_*.jpg",
    "wallpapers/{plasma}/contents/images/2560x1600.jpg",
    "backgrounds/mate/nature/*.jpg",
    "games/krank/levels/unera-backgrounds/*.jpg",
    "tuxpaint/templates/*.jpg",
    "palapeli/collection/*.jpg",
    "elementary/images/*.jpg",
    "doc/libjs-jquery-backstretch/examples/*_1920.jpg",
    "doc/libjs-jquery-backstretch/examples/[cdp]*.jpg",
)
_PLASMA = "BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite OneStandsOut Path summer_1am"
_DRAWN = ("umang_", "Fossa_", "Painting-Colors_")
_TWICE = "menu-scores1.jpg"  # the same as bonus-01.jpg
_SHORT_SIDE = 360  # pixels, of a photo as a background
FASHION = "datasets/fashion-mnist"


def photos(share: Path) -> Iterator[tuple[Path, str]]:
    """Photos below ``usr/share``, and the split of each: a fifth test, a tenth val."""
    for pattern in _PHOTOS:
        names = [pattern.format(plasma=name) for name in _PLASMA.split()] if "{" in pattern else [pattern]
        for path in sorted(found for name in names for found in share.glob(name)):
            if path.is_file() and not path.is_symlink() and not path.name.startswith(_DRAWN) and path.name != _TWICE:
                yield path, photo_split(path.relative_to(share).as_posix())


def photo_split(name: str) -> str:
    """A fifth of all photos is test, a tenth val; which, the hash of its path below ``usr/share`` tells."""
    return ("test", "test", "val")[place] if (place := part(name, 10)) < 3 else "train"


def half(path: Path) -> Image.Image:
    """A photo at half its size, in colour."""
    with Image.open(path) as photo:
        return photo.convert("RGB").reduce(2)


def backgrounds(share: Path) -> dict[str, list[tuple[str, UInt8[Tensor, "3 height width"]]]]:
    """Photos of every split, made small, with their names."""
    found: dict[str, list[tuple[str, Tensor]]] = {"train": [], "val": [], "test": []}
    for path, split in photos(share):
        with Image.open(path) as photo:
            scale = _SHORT_SIDE / min(photo.size)
            size = (round(photo.width * scale), round(photo.height * scale))
            pixels = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=3))
        name = path.relative_to(share).with_suffix("").as_posix()
        found[split].append((name, torch.from_numpy(pixels.copy()).permute(2, 0, 1)))
    return found


def write_photos(share: Path, out: Path) -> None:
    """Pieces that do not overlap, spread over every photo, and a table of them."""
    rows: list[tuple[str, str, str]] = []
    for number, (path, split) in enumerate(photos(share)):
        photo = half(path)
        across, down = photo.width // PIECE, photo.height // PIECE
        chosen = np.unique(np.linspace(0, across * down - 1, min(across * down, _MOST)).round().astype(int))
        for place in chosen.tolist():
            left, top = place % across * PIECE, place // across * PIECE
            name = f"{split}/{number:03}_{place:04}.jpg"
            (out / split).mkdir(parents=True, exist_ok=True)
            photo.crop((left, top, left + PIECE, top + PIECE)).save(out / name, quality=92, subsampling=0)
            rows.append((name, split, path.relative_to(share).with_suffix("").as_posix()))
    write_table(out / "manifest.csv", ("path", "split", "group"), rows)


def write_fashion(share: Path, out: Path) -> None:
    """The four files, and a table in which every tenth image of the training part is val."""
    out.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[object, ...]] = []
    for name, is_test in (("train", False), ("t10k", True)):
        images, labels = (f"{name}-{what}-ubyte.gz" for what in ("images-idx3", "labels-idx1"))
        for file in (images, labels):
            shutil.copyfile(share / FASHION / file, out / file)
        for place, label in enumerate(gzip.decompress((out / labels).read_bytes())[8:]):
            split = "test" if is_test else "val" if place % 10 == 9 else "train"
            rows.append((images, place, label, split))
    write_table(out / "manifest.csv", ("path", "place", "label", "split"), rows)
