"""The model for images that comes with codeword, on photos kept from its training, beside JPEG and WebP.

    python -m benchmarks.image_shipped --root ROOT --data PICTURES                  # once; ROOT has usr/share
    python -m benchmarks.image_shipped --take MODEL --steps STEPS --data PICTURES   # make a model the shipped one
    python -m benchmarks.image_shipped --data PICTURES                              # measure again, write its card

Pictures are the photos of ``benchmarks.pretraining_photos`` at half their size: what JPEG left in them is finer then
than what is coded. A photo is in one split alone.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

from benchmarks.pretraining_photos import half, photos
from benchmarks.record import RESULTS, write
from codeword.codecs.image.codec import ImageCodec
from codeword.codecs.image.storage import PHOTOS, SHIPPED, read_image_model, write_image
from codeword.evaluation.image import PEERS, ImagePoint, evaluate
from codeword.evaluation.image_pictures import open_pictures

FOLDER = SHIPPED / PHOTOS
LONGEST = 1024  # pixels of what is measured: larger photos are reduced


def prepare(share: Path, out: Path) -> None:
    """Photos at half their size, below the name of their split."""
    for number, (path, split) in enumerate(photos(share)):
        (out / split).mkdir(parents=True, exist_ok=True)
        half(path).save(out / split / f"{number:03}.png", compress_level=1)


def take(model: Path) -> None:
    """Write a trained model into the package, in half precision."""
    read = read_image_model(model)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    write_image(FOLDER, *read, half=True)
    print(f"{FOLDER}: {sum(path.stat().st_size for path in FOLDER.iterdir()) / 1e6:.2f} MB")


def row(point: ImagePoint) -> dict[str, object]:
    """A point as a line of the results."""
    values = {name: value._asdict() for name, value in point.metrics.items()}
    rate = point.bits_per_pixel._asdict()
    return {"system": point.system, "setting": point.setting, "bits_per_pixel": rate, **values}


def card(rows: list[dict[str, object]], steps: int) -> str:
    """The model's card, from the same numbers as the results."""
    titles = {"bits_per_pixel": "bits per pixel", "psnr": "PSNR, dB", "ssim": "SSIM", "ms_ssim": "MS-SSIM"}
    lines = [_HEAD.format(steps=steps), f"| | {' | '.join(titles.values())} |", "|---" * (len(titles) + 1) + "|"]
    for found in rows:
        cells = [f"{found[name]['mean']:.{2 if name == 'psnr' else 3}f}" for name in titles]
        lines.append(f"| {found['system']}, {found['setting']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" + _TAIL


_HEAD = """---
license: apache-2.0
tags: [image, codec, vector-quantization]
---

# photos

A codec for colour photos: 12 codebooks of 256 codewords for every 8 x 8 pixels, of which a map of importance takes as
many as a place needs. It comes with codeword: `codeword compress photo.jpg photo.cw --bpp 0.5`.

**Training.** {steps} steps of 8 crops of 128 x 128 pixels from freely licensed photos, on one processor core:

```sh
python -m benchmarks.image_shipped --root unpacked --data pictures   # which Debian packages: see pretraining_data
codeword train image pictures --recipe photos --steps {steps} --out MODEL
python -m benchmarks.image_shipped --take MODEL --steps STEPS --data pictures
```

| photos from | licence |
|---|---|
| krank | public domain |
| lomiri wallpapers | CC-BY-4.0, CC-BY-SA-4.0, CC-BY-SA-3.0, CC0 |
| mate-backgrounds, plasma-workspace-wallpapers, tuxpaint-data, palapeli-data | GPL-2+ |
| libelementary-data, libjs-jquery-backstretch | those of the packages |

**Measured** on photos that are in no other split, reduced by whole numbers to less than 2048 pixels; rates are those
of whole files:
"""
_TAIL = """
**Not good for** drawings, text and screenshots. Photos are few, a third of them under water.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--take", type=Path)
    parser.add_argument("--steps", type=int, help="of the training of what is taken, for the card")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.root is not None:
        prepare(arguments.root / "usr/share", arguments.data)
        return
    if arguments.take is not None and arguments.steps is None:
        parser.error("--take needs --steps")
    steps = arguments.steps or json.loads((RESULTS / "image_shipped.json").read_text())["steps"]
    if arguments.take is not None:
        take(arguments.take)
    codec = ImageCodec.open(Path(PHOTOS))
    found = evaluate(codec, open_pictures(arguments.data, 3, items=None, longest=LONGEST), peers=PEERS)
    rows = [row(point) for point in found.points]
    print(f"wrote {write('image_shipped', rows, steps=steps, model=codec.fingerprint, images=len(found.images))}")
    (FOLDER / "README.md").write_text(card(rows, steps))


if __name__ == "__main__":
    main()
