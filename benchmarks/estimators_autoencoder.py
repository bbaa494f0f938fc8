"""One small autoencoder trained through every gradient estimator: error and codebook usage while it learns.

    python -m benchmarks.estimators_autoencoder            # about 3 minutes on one core
    python -m benchmarks.estimators_autoencoder --plot     # the figure again, from the results

::

    patch (192) ──► encoder ──► z (4 tokens, 8) ──► quantizer (128 codewords) ──► decoder ──► patch (192)

The data are 8 x 8 colour patches of real photographs (tests/fixtures/photo_crops_pd_32x64.png): anywhere in 24 crops to
train on, the whole of 8 other crops to test on. Everything but the estimator, and the losses it calls for, is the
same: start by k-means on the first batch, revival of dead codewords, Adam at 1e-3, squared error. The error is that of
codes as they are used, so what noise in training costs is in it.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from matplotlib import pyplot
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import Adam, Optimizer

import codeword
from benchmarks.record import RESULTS, write
from codeword.functional.usage import histogram, perplexity, usage_rate
from codeword.training.logging import read_log
from codeword.training.loop import LOG, train
from codeword.training.loop_config import LoopConfig
from codeword.training.task import StepResult, Task

ROOT = Path(__file__).parent.parent
PHOTOS, FIGURES = ROOT / "tests" / "fixtures" / "photo_crops_pd_32x64.png", ROOT / "docs" / "figures"
SIDE, CROP, TRAIN_CROPS = 8, 64, 24
TOKENS, DIM, SIZE, BATCH = 4, 8, 128, 128
SEEDS = (0, 1, 2)

ALONE = codeword.Gradient(codebook=0.0, commitment=0.0)  # the codebook learns through the output
METHODS = {
    "straight-through": (codeword.StraightThrough(), codeword.Gradient()),
    "straight-through, moving average": (codeword.StraightThrough(), codeword.MovingAverage()),
    "rotation": (codeword.Rotation(), codeword.Gradient()),
    "NSVQ": (codeword.NoiseSubstitution(), ALONE),
    "DiVeQ": (codeword.Directional(), ALONE),
}
COLOURS = dict(zip(METHODS, ("#4477aa", "#66ccee", "#228833", "#ee6677", "#aa3377"), strict=True))


def crops() -> Float[Tensor, "crops height width colours"]:
    """The photographs, as numbers from -0.5 to 0.5."""
    sheet = torch.from_numpy(np.array(Image.open(PHOTOS))).float() / 255 - 0.5
    return rearrange(
        sheet, "(down height) (across width) colours -> (down across) height width colours", height=CROP, width=CROP
    )


class Autoencoder(Task[Tensor]):
    """The network, its patches and its figures."""

    def __init__(self, method: str, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.seed, values = seed, SIDE * SIDE * 3
        self.encoder = nn.Sequential(nn.Linear(values, 128), nn.GELU(), nn.Linear(128, TOKENS * DIM))
        self.decoder = nn.Sequential(nn.Linear(TOKENS * DIM, 128), nn.GELU(), nn.Linear(128, values))
        estimator, learning = METHODS[method]
        seeding = codeword.KMeans(seed=seed)
        self.quantizer = codeword.VectorQuantizer(DIM, SIZE, learning=learning, estimator=estimator, seeding=seeding)
        photos = crops()
        self.photos = photos[:TRAIN_CROPS]
        self.held = rearrange(
            photos[TRAIN_CROPS:],
            "crops (down height) (across width) colours -> (crops down across) (height width colours)",
            height=SIDE,
            width=SIDE,
        )

    def optimizers(self) -> list[Optimizer]:
        return [Adam(self.parameters(), lr=1e-3)]

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[Tensor]:
        number = start
        offsets = torch.arange(SIDE)
        while True:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
            crop = torch.randint(TRAIN_CROPS, (BATCH, 1, 1), generator=generator)
            top, left = torch.randint(CROP - SIDE + 1, (2, BATCH, 1, 1), generator=generator)
            yield self.photos[crop, top + offsets[:, None], left + offsets].flatten(1)
            number += 1

    def tokens(self, x: Tensor) -> Tensor:
        """What is quantized."""
        return rearrange(self.encoder(x), "patch (token dim) -> patch token dim", token=TOKENS)

    def step(self, batch: Tensor, phase: int) -> StepResult:
        output = self.quantizer(self.tokens(batch))
        error = mse_loss(self.decoder(output.vectors.flatten(1)), batch)
        return StepResult(error + output.loss, {"mse": error})

    def validate(self) -> Mapping[str, float]:
        codes = self.quantizer.encode(self.tokens(self.held))
        counts = histogram(codes, SIZE)
        error = mse_loss(self.decoder(self.quantizer.decode(codes).flatten(1)), self.held)
        return {"loss": float(error), "used": float(usage_rate(counts)), "perplexity": float(perplexity(counts))}


def run(method: str, seed: int, steps: int) -> dict[str, object]:
    """One training."""
    config = LoopConfig(steps=steps, validate_every=50, keep_best=False, seed=seed, progress=False, accelerator="cpu")
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(Autoencoder(method, seed), config, Path(folder))
        lines = [line for line in read_log(Path(folder) / LOG) if line["group"] == "validation"]
    curves = {name: [round(line[name], 7) for line in lines] for name in ("loss", "used", "perplexity")}
    return {"method": method, "seed": seed, "ms_per_step": round(1e3 * outcome.seconds_per_step, 3), **curves}


def summary(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The last figures of every method, over seeds."""
    found = []
    for method in METHODS:
        mine = [row for row in rows if row["method"] == method]
        losses = [row["loss"][-1] for row in mine]
        found.append(
            {
                "method": method,
                "test_mse": statistics.mean(losses),
                "test_mse_deviation": statistics.stdev(losses) if len(losses) > 1 else 0.0,
                "test_psnr": -10 * float(np.log10(statistics.mean(losses))),
                "used": statistics.mean(row["used"][-1] for row in mine),
                "perplexity": statistics.mean(row["perplexity"][-1] for row in mine),
                "ms_per_step": statistics.mean(row["ms_per_step"] for row in mine),
            }
        )
    return found


def plot(rows: list[dict[str, object]], every: int) -> None:
    """docs/figures/estimators_autoencoder.svg: means over seeds, and the range of the seeds."""
    mpl.rcParams |= {"svg.hashsalt": "codeword", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for method, colour in COLOURS.items():
        mine = [row for row in rows if row["method"] == method]
        psnr = -10 * np.log10([row["loss"] for row in mine])
        steps = every * np.arange(1, psnr.shape[1] + 1)
        for axes, curve in ((left, psnr), (right, np.array([row["perplexity"] for row in mine]))):
            axes.plot(steps, curve.mean(0), color=colour, label=method, linewidth=1.8)
            axes.fill_between(steps, curve.min(0), curve.max(0), color=colour, alpha=0.15, linewidth=0)
    left.set(xlabel="step", ylabel="PSNR of held-out patches (dB)")
    right.set(xlabel="step", ylabel=f"perplexity of the codes (of {SIZE})", ylim=(0, SIZE))
    left.legend(frameon=False, loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.25)
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / "estimators_autoencoder.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--plot", action="store_true", help="only draw the figure from the results")
    wanted = parser.parse_args()
    path = RESULTS / "estimators_autoencoder.json"
    if wanted.plot:
        plot(json.loads(path.read_text())["rows"], every=50)
        return
    torch.set_num_threads(1)
    rows = [run(method, seed, wanted.steps) for seed in SEEDS for method in METHODS]
    for line in summary(rows):
        print(json.dumps(line))
    plot(rows, every=50)
    print(write("estimators_autoencoder", rows, summary=summary(rows), validated_every=50))


if __name__ == "__main__":
    main()
