"""Codebooks on two-dimensional sets, one method beside the other: the picture of the NSVQ paper's figure 4."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.data.synthetic import TOY_SETS
from codeword.functional.kmeans import kmeans
from codeword.quantizers import (
    FromData,
    Gradient,
    Keep,
    NoiseSubstitution,
    ReplaceUnused,
    StraightThrough,
    VectorQuantizer,
    update,
)
from codeword.quantizers.estimator import Estimator
from codeword.quantizers.revival import Revival

_POINTS, _BATCH = 10_000, 500


class ToyCodebook(NamedTuple):
    """A codebook and its error per feature on the points it was trained on."""

    points: Float[Tensor, "points 2"]
    codewords: Float[Tensor, "size 2"]
    error: float


def toy_codebooks(size: int = 64, steps: int = 500, *, seed: int = 0) -> dict[str, dict[str, ToyCodebook]]:
    """Train every method on every set, from the same start: data moved by noise, as published."""
    return {
        name.replace("_", " "): _methods(make(_POINTS, seed=seed), size, steps, seed) for name, make in TOY_SETS.items()
    }


def _methods(points: Tensor, size: int, steps: int, seed: int) -> dict[str, ToyCodebook]:
    generator = torch.Generator().manual_seed(seed)
    start = points[torch.randperm(len(points), generator=generator)[:size]]
    start = start + torch.randn(start.shape, generator=generator)
    replacement = ReplaceUnused(period=max(1, steps // 15), threshold=0.1, last_step=int(0.9 * steps))
    through_output = Gradient(codebook=0.0, commitment=0.0)
    trained: Mapping[str, Callable[[], Tensor]] = {
        "straight-through": lambda: _train(points, start, StraightThrough(), Gradient(), Keep(), steps),
        "NSVQ, nothing replaced": lambda: _train(points, start, NoiseSubstitution(), through_output, Keep(), steps),
        "NSVQ": lambda: _train(points, start, NoiseSubstitution(), through_output, replacement, steps),
        "codeword, closed form": lambda: kmeans(points, size, steps=50, seed=seed),
    }
    return {name: _judge(points, train()) for name, train in trained.items()}


def _train(
    points: Tensor, start: Tensor, estimator: Estimator, learning: Gradient, revival: Revival, steps: int
) -> Tensor:
    quantizer = VectorQuantizer(
        2, len(start), learning=learning, seeding=FromData(), revival=revival, estimator=estimator
    )
    quantizer.codebook.assign(start)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=5e-2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        batch = points[torch.randint(len(points), (_BATCH,), generator=generator)]
        out = quantizer(batch)
        optimizer.zero_grad()
        ((out.vectors - batch).square().mean() + out.loss).backward()
        optimizer.step()
        update(quantizer, optimizer)
    return quantizer.codebook.stored().detach()


def _judge(points: Tensor, codewords: Tensor) -> ToyCodebook:
    quantizer = VectorQuantizer(2, len(codewords))
    quantizer.codebook.assign(codewords)
    error = (points - quantizer.eval()(points).vectors).square().mean()
    return ToyCodebook(points, codewords, float(error))
