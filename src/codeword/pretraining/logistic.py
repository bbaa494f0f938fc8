"""Regularised logistic regression on many features, for a path of regularisers.

The minimum is that of scikit-learn: C times the sum of all cross-entropies plus half the squared weights; the bias is
free. Features of a network are badly conditioned, and weak regularisers take plain solvers thousands of steps; here
they are turned to their principal axes, and what is solved for is scaled by the curvature there::

    weights = axes (scale * t)      scale² = 1 / (curvature of a cross-entropy * variance + penalty)
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_STEPS = 1000  # of the solver, at most
_GRADIENT, _CHANGE = 1e-4, 1e-8  # where it ends: of the mean loss
_NOTHING = 1e-12  # of the largest variance
_CURVATURE = 0.1  # of the cross-entropies, about: at most a quarter


class Linear(NamedTuple):
    """Scores of classes as a linear map."""

    weights: Float[Tensor, "classes dim"]
    bias: Float[Tensor, " classes"]

    def __call__(self, rows: Float[Tensor, "count dim"]) -> Float[Tensor, "count classes"]:
        return rows @ self.weights.t().to(rows) + self.bias.to(rows)


def logistic_path(
    x: Float[Tensor, "count dim"],
    truth: Float[Tensor, "count classes"],
    strengths: Sequence[float],
    *,
    exclusive: bool,
) -> Iterator[Linear]:
    """A classifier for every strength, each started from the one before.

    Args:
        x: Features, best standardised.
        truth: 1 for the classes of a sample, 0 for others.
        strengths: Values of scikit-learn's C: the larger, the less is regularised.
        exclusive: One softmax over all classes; otherwise a sigmoid for every class, independent of the others.
    """
    x, truth = x.double(), truth.double()
    mean = x.mean(0)
    variances, axes = _principal(x - mean)
    rotated = (x - mean) @ axes
    weights, bias = x.new_zeros(len(variances), truth.shape[1]), x.new_zeros(truth.shape[1])
    for strength in strengths:
        penalty = 1 / (strength * len(x))
        scale = (_CURVATURE * variances + penalty).rsqrt().unsqueeze(1)
        weights, bias = _minimum(rotated, truth, scale, penalty, weights, bias, exclusive=exclusive)
        found = axes @ weights
        yield Linear(found.t().contiguous(), bias - mean @ found)


def _principal(x: Float[Tensor, "count dim"]) -> tuple[Float[Tensor, " _"], Float[Tensor, "dim _"]]:
    """Variances and directions of the axes along which centred rows differ; along others all weights are 0."""
    few = len(x) < x.shape[1]
    variances, axes = torch.linalg.eigh((x @ x.t() if few else x.t() @ x) / len(x))
    kept = variances > _NOTHING * variances[-1].clamp_min(_NOTHING)
    variances, axes = variances[kept], axes[:, kept]
    return variances, x.t() @ axes / (len(x) * variances).sqrt() if few else axes


def _minimum(
    rows: Float[Tensor, "count dim"],
    truth: Float[Tensor, "count classes"],
    scale: Float[Tensor, "dim 1"],
    penalty: float,
    weights: Float[Tensor, "dim classes"],
    bias: Float[Tensor, " classes"],
    *,
    exclusive: bool,
) -> tuple[Float[Tensor, "dim classes"], Float[Tensor, " classes"]]:
    scaled = rows * scale.t()
    there, bias = (weights / scale).requires_grad_(), bias.clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [there, bias],
        max_iter=_STEPS,
        tolerance_grad=_GRADIENT,
        tolerance_change=_CHANGE,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        solver.zero_grad()
        scores = scaled @ there + bias
        if exclusive:
            fit = F.cross_entropy(scores, truth)
        else:
            fit = F.binary_cross_entropy_with_logits(scores, truth, reduction="sum") / len(truth)
        whole = fit + penalty / 2 * (scale * there).square().sum()
        whole.backward()
        return whole

    with torch.enable_grad():
        solver.step(loss)
    return (scale * there).detach(), bias.detach()
