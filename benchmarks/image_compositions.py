"""Figure 4 of the ICASSP paper on real photos: additive, residual and product quantizers inside of a VQ-VAE.

    python -m benchmarks.image_compositions --data crops.npz                # trains what is missing; hours
    python -m benchmarks.image_compositions --data crops.npz --bits 12 --seeds 1
    python -m benchmarks.image_compositions --data crops.npz --report       # writes what is there

Crops, network and training are those of ``benchmarks.image_estimators``: batches of 32, Adam at 1e-3, 15,000 updates.
Four codebooks of 3, 6 or 10 bits each, 12, 24 and 40 bits a latent, all trained through noise substitution, from the
same start by k-means and with the same revival. An additive code is found by a beam of 16, as in the paper. Costs are
the paper's weighted operations a latent, counted right, and the measured time of encoding 256 images, side by side.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

import codeword
from benchmarks.image_estimators import ALONE, CROPS, UPDATES, cell, fill, known, splits, spread
from benchmarks.record import RESULTS, in_turn, write
from codeword.codecs.image.model import ImageModel
from codeword.codecs.image.training import from_bytes
from codeword.functional.complexity import additive_wmops, product_wmops, residual_wmops
from codeword.quantizers import AdditiveQuantizer, ProductQuantizer, Quantizer, ResidualQuantizer, VectorQuantizer
from codeword.quantizers.search import Beam

CELLS = RESULTS / "image_compositions.jsonl"
RUNS = Path("runs/image_compositions")
LEVELS, BITS, SEEDS, BEAM = 4, (12, 24, 40), 2, 16
COUNT, ROUNDS = 256, 7  # images that are timed, and how often
DIM = CROPS.layout.latent


def quantizer(method: str, bits: int, seed: int) -> Quantizer:
    """Four codebooks for latents."""
    noise, width = codeword.NoiseSubstitution(), DIM // (LEVELS if method == "product" else 1)
    revival = codeword.ReviveDead(last_step=UPDATES[-1] * 9 // 10)
    parts = [
        VectorQuantizer(
            width, 2 ** (bits // LEVELS), learning=ALONE, seeding=codeword.KMeans(seed=seed + level), revival=revival
        )
        for level in range(LEVELS)
    ]
    if method == "product":
        return ProductQuantizer(parts, estimator=noise)
    if method == "residual":
        return ResidualQuantizer(parts, estimator=noise)
    return AdditiveQuantizer(parts, search=Beam(BEAM), estimator=noise)


METHODS: dict[str, Callable[[int], float]] = {
    "additive": lambda size: additive_wmops(DIM, size, LEVELS, min(BEAM, size)),
    "residual": lambda size: residual_wmops(DIM, size, LEVELS),
    "product": lambda size: product_wmops(DIM, size, LEVELS),
}


@torch.no_grad()
def costs(images: UInt8[Tensor, "items channels height width"]) -> list[dict[str, Any]]:
    """Weighted operations of a latent's search, and processor time of encoding all latents: medians, all in one run.

    A search takes as long before the training as after it: networks are new, codebooks those that training starts from.
    """
    torch.manual_seed(0)
    network = ImageModel(images.shape[1], CROPS.layout, quantizer("product", BITS[0], 0)).eval()
    latents = network.analyse(from_bytes(images)).latents
    names = [(method, bits) for bits in BITS for method in METHODS]
    searches = [quantizer(method, bits, 0).eval() for method, bits in names]
    for search in searches:
        codeword.seed(search, latents)
    times = in_turn([partial(search.encode, latents) for search in searches], ROUNDS)
    return [
        {"method": method, "bits": bits, "wmops": METHODS[method](2 ** (bits // LEVELS)), "encoding": median(found)}
        for (method, bits), found in zip(names, times, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bits", type=int, action="append")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = splits(arguments.data)
    if not arguments.report:

        def trained(method: str, bits: int, seed: int) -> dict[str, Any]:
            return cell(images, quantizer(method, bits, seed), seed, RUNS / f"{method}-{bits}-{seed}")

        names = [
            {"method": method, "bits": bits, "seed": seed}
            for seed in range(arguments.seeds)
            for bits in arguments.bits or BITS
            for method in METHODS
        ]
        fill(CELLS, names, trained)
    measured = costs(spread(images["test"], COUNT))
    print(f"wrote {write('image_compositions', known(CELLS), images=COUNT, costs=measured)}")


if __name__ == "__main__":
    main()
