"""Table 1 of the NSVQ paper on real photos: a VQ-VAE trained through every gradient estimator.

    python -m benchmarks.image_estimators --root ROOT --data crops.npz    # cuts the crops, once; ROOT has usr/share
    python -m benchmarks.image_estimators --data crops.npz                # trains what is missing; hours
    python -m benchmarks.image_estimators --data crops.npz --bits 6 --seeds 1
    python -m benchmarks.image_estimators --data fashion-mnist            # the equal forms in grey, at 8 bits
    python -m benchmarks.image_estimators --data cifar-10-batches-py      # the published table as it is; days
    python -m benchmarks.image_estimators --data crops.npz --report       # writes what is there

The paper's protocol (Vali and Backstrom 2022, section IV-B): batches of 32, Adam at 1e-3, 5,000, 10,000 and 15,000
updates, SSIM and PSNR of the test images. Every method stands here twice. *Published*: codebooks start near the origin,
NSVQ replaces unused codewords, straight-through and moving averages keep them. *Equal*: all start by k-means on 1024
images and move dead codewords to data that is badly served.

Crops are 32 x 32 pixels of photos at a quarter, a sixth and an eighth of their size, divided by photo: of larger ones
most crops are flat. The paper has CIFAR-10. For time, networks have 64 channels inside, half of what is common, and
compute in bfloat16 while they learn; quantizers, and all that is measured, are in single precision. The files of
Fashion-MNIST give one column of the table in grey, into ``results/image_estimators_grey.json``. With those of CIFAR-10
the table is the paper's: published forms, 6 to 11 bits, five seeds, 128 channels in single precision, into
``results/image_estimators_cifar.json``. Expected there after 15,000 updates, SSIM and PSNR in dB:

========================  ==============  ==============  ==============  ==============  ==============  ==============
method                    6 bits          7 bits          8 bits          9 bits          10 bits         11 bits
========================  ==============  ==============  ==============  ==============  ==============  ==============
straight-through          .7779, 23.16    .7981, 23.46    .8100, 23.60    .8121, 23.65    .8139, 23.74    .8116, 23.75
moving average            .7751, 22.88    .7989, 23.41    .8202, 23.78    .8366, 24.11    .8370, 24.21    .8452, 24.28
NSVQ without replacement  .7693, 22.85    .7829, 23.20    .7943, 23.39    .8157, 23.95    .8158, 23.91    .8258, 24.19
NSVQ                      .7749, 22.98    .8012, 23.61    .8209, 24.17    .8408, 24.63    .8539, 24.98    .8647, 25.24
========================  ==============  ==============  ==============  ==============  ==============  ==============
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

import codeword
from benchmarks.pretraining_photos import photos
from benchmarks.record import RESULTS, write
from benchmarks.toy_table2 import EarlyOften
from codeword.codecs.image.layout import ResidualLayout
from codeword.codecs.image.model import ImageModel
from codeword.codecs.image.training import ImageTask, ImageTraining, from_bytes, measured
from codeword.data.image_crops import ImageCrops
from codeword.data.image_files import read_image
from codeword.data.image_listings import list_images
from codeword.quantizers import Quantizer, VectorQuantizer
from codeword.quantizers.estimator import Estimator
from codeword.quantizers.learning import Learning
from codeword.quantizers.revival import Revival
from codeword.training.logging import read_log
from codeword.training.loop import CHECKPOINT, LOG, train
from codeword.training.loop_config import LoopConfig, Precision

SIDE, BATCH, UPDATES = 32, 32, (5_000, 10_000, 15_000)
SEEDED = 1024  # images that codebooks start from
HELD = 1000  # images that curves are measured on
SCALES = (4, 6, 8)  # by which photos are reduced
MOST = 300  # crops of a photo
SPLITS = ("train", "val", "test")
ALONE = codeword.Gradient(codebook=0.0, commitment=0.0)  # the codebook learns through the output
# Of the published schedule the paper says: often at first, rarely later, never towards the end; at first always.
OFTEN = EarlyOften(threshold=0.1, periods=(100, 500, 1000), ends=(1500, 6000, 13_500))
ONCE = codeword.ReplaceUnused(period=1, last_step=1)


def published(dim: int, size: int, seed: int) -> dict[str, Quantizer]:
    """The methods of the paper as they are published."""
    start = codeword.Uniform(seed=seed)

    def one(learning: Learning, revival: Revival, estimator: Estimator) -> Quantizer:
        return VectorQuantizer(dim, size, learning=learning, seeding=start, revival=revival, estimator=estimator)

    straight = codeword.StraightThrough()
    return {
        "straight-through": one(codeword.Gradient(), codeword.Keep(), straight),
        "moving average": one(codeword.MovingAverage(0.99), codeword.Keep(), straight),
        "NSVQ without replacement": one(ALONE, ONCE, codeword.NoiseSubstitution()),
        "NSVQ": one(ALONE, OFTEN, codeword.NoiseSubstitution()),
    }


def equal(dim: int, size: int, seed: int) -> dict[str, Quantizer]:
    """All methods with the same start and the same revival."""
    start, revival = codeword.KMeans(seed=seed), codeword.ReviveDead(last_step=UPDATES[-1] * 9 // 10)

    def one(learning: Learning, estimator: Estimator) -> Quantizer:
        return VectorQuantizer(dim, size, learning=learning, seeding=start, revival=revival, estimator=estimator)

    return {
        "straight-through": one(codeword.Gradient(), codeword.StraightThrough()),
        "moving average": one(codeword.MovingAverage(0.99), codeword.StraightThrough()),
        "rotation": one(codeword.Gradient(), codeword.Rotation()),
        "NSVQ": one(ALONE, codeword.NoiseSubstitution()),
        "DiVeQ": one(ALONE, codeword.Directional()),
    }


FORMS: dict[str, Callable[[int, int, int], dict[str, Quantizer]]] = {"equal": equal, "published": published}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What a table runs."""

    name: str
    layout: ResidualLayout
    precision: Precision
    forms: tuple[str, ...]
    bits: tuple[int, ...]
    seeds: int

    @property
    def cells(self) -> Path:
        """Where its cells are kept."""
        return RESULTS / f"{self.name}.jsonl"

    @property
    def runs(self) -> Path:
        """Where its models learn."""
        return Path("runs") / self.name


CROPS = Protocol(
    name="image_estimators",
    layout=ResidualLayout(width=64),
    precision="bf16-mixed",
    forms=tuple(FORMS),
    bits=(6, 8, 11),
    seeds=2,
)
GREY = replace(CROPS, name="image_estimators_grey", forms=("equal",), bits=(8,), seeds=1)
CIFAR = Protocol(
    name="image_estimators_cifar",
    layout=ResidualLayout(),
    precision="32-true",
    forms=("published",),
    bits=tuple(range(6, 12)),
    seeds=5,
)


def cut(share: Path, out: Path) -> None:
    """Crops of every photo that do not overlap, at several sizes of the photo."""
    found: dict[str, list[UInt8[np.ndarray, "crops channels height width"]]] = {split: [] for split in SPLITS}
    for path, split in photos(share):
        with Image.open(path) as photo:
            colour = photo.convert("RGB")
        parts: list[UInt8[np.ndarray, "crops channels height width"]] = []
        for scale in SCALES:
            pixels = np.asarray(colour.reduce(scale))
            down, across = (side // SIDE for side in pixels.shape[:2])
            whole = pixels[: down * SIDE, : across * SIDE].reshape(down, SIDE, across, SIDE, 3)
            parts.append(whole.transpose(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE))
        crops = np.concatenate(parts)
        chosen = np.linspace(0, len(crops) - 1, min(len(crops), MOST)).round().astype(int)
        found[split].append(crops[chosen])
    np.savez(out, **{split: np.concatenate(parts) for split, parts in found.items()})


def splits(data: Path) -> dict[str, UInt8[Tensor, "items channels height width"]]:
    """Images to train on, to validate on and to test on."""
    if data.suffix == ".npz":
        with np.load(data) as arrays:
            return {split: torch.from_numpy(arrays[split]) for split in SPLITS}
    items = list_images(data).items
    every = {
        split: torch.stack([read_image(item) for item in items if item.split == split]) for split in ("train", "test")
    }
    return {"train": every["train"][:-5000], "val": every["train"][-5000:], "test": every["test"]}


def spread(images: Tensor, count: int) -> UInt8[Tensor, "some channels height width"]:
    """So many images, from all photos."""
    return images[:: max(1, len(images) // count)][:count]


def cell(
    images: Mapping[str, Tensor], quantizer: Quantizer, seed: int, folder: Path, protocol: Protocol = CROPS
) -> dict[str, Any]:
    """One training: the test figures after every number of updates, and the curves of validation."""
    torch.manual_seed(seed)
    model = ImageModel(images["train"].shape[1], protocol.layout, quantizer).to(memory_format=torch.channels_last)
    some = spread(images["train"], SEEDED)
    with torch.no_grad():
        codeword.seed(model.quantizer, model.analyse(from_bytes(some)).latents)
    data = ImageCrops(images["train"], None, BATCH, seed=seed, mirrored=False)
    task = ImageTask(model, data, ImageTraining(), held=spread(images["val"], HELD))
    figures: list[dict[str, float]] = []
    for updates in UPDATES:
        loop = LoopConfig(
            steps=updates,
            precision=protocol.precision,
            validate_every=500,
            keep_best=False,
            checkpoint_every=1000,
            seed=seed,
            progress=False,
        )
        kept = folder / f"{updates}.json"
        if not kept.is_file():
            outcome = train(task, loop, folder)
            found = measured(model.eval(), images["test"])
            kept.write_text(json.dumps({"updates": updates, **found, "seconds": outcome.seconds_per_step}))
        figures.append(json.loads(kept.read_text()))
    lines = [line for line in read_log(folder / LOG) if line["group"] == "validation"]
    curves = {name: [round(line[name], 6) for line in lines] for name in ("loss", "perplexity_0")}
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return {"figures": figures, "curves": curves}


def known(cells: Path) -> list[dict[str, Any]]:
    """Cells that are there."""
    return [json.loads(line) for line in cells.read_text().splitlines()] if cells.is_file() else []


def fill(cells: Path, names: Iterable[dict[str, Any]], make: Callable[..., dict[str, Any]]) -> None:
    """Make what is missing, cell after cell, and keep each as soon as it is there."""
    for name in names:
        if any(name.items() <= row.items() for row in known(cells)):
            continue
        row = name | make(**name)
        with cells.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print({**name, **row["figures"][-1]}, flush=True)


def wanted(protocol: Protocol, bits: Sequence[int], seeds: int) -> Iterator[dict[str, Any]]:
    """All cells, in an order in which a part of them already compares."""
    for seed in range(seeds):
        for form in protocol.forms:
            for size in bits:
                for method in FORMS[form](1, 2, 0):
                    yield {"form": form, "method": method, "bits": size, "seed": seed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--bits", type=int, action="append")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.root is not None:
        cut(arguments.root / "usr/share", arguments.data)
        return
    images = splits(arguments.data)
    grey = images["train"].shape[1] == 1
    protocol = CROPS if arguments.data.suffix == ".npz" else GREY if grey else CIFAR
    if not arguments.report:

        def trained(form: str, method: str, bits: int, seed: int) -> dict[str, Any]:
            quantizer = FORMS[form](protocol.layout.latent, 2**bits, seed)[method]
            folder = protocol.runs / f"{form}-{method.replace(' ', '-')}-{bits}-{seed}"
            return cell(images, quantizer, seed, folder, protocol)

        seeds = protocol.seeds if arguments.seeds is None else arguments.seeds
        fill(protocol.cells, wanted(protocol, arguments.bits or protocol.bits, seeds), trained)
    print(f"wrote {write(protocol.name, known(protocol.cells))}")


if __name__ == "__main__":
    main()
