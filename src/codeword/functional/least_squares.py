"""Additive codebooks in closed form: the best tables for given codes."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.kmeans import cluster_sums

_MOST_ROWS = 1 << 14  # codewords of all levels together: their counts take 2 GiB, the factorisation a minute


class CodeStatistics(NamedTuple):
    """Additive statistics of vectors and their codes: those of two batches add up to those of both.

    Attributes:
        counts: How often, or with which summed weight, two codewords serve the same vector; float64.
        sums: The (weighted) sum of the vectors that a codeword serves; float64.
    """

    counts: Float[Tensor, "total total"]
    sums: Float[Tensor, "total dim"]


def code_statistics(
    x: Float[Tensor, "count dim"],
    codes: Int[Tensor, "count levels"],
    sizes: Sequence[int],
    weights: Float[Tensor, " count"] | None = None,
) -> CodeStatistics:
    r"""The two sides of the normal equations, :math:`A^T W A` and :math:`A^T W X` with A the one-hot codes.

    Args:
        x: Vectors, about their mean: an offset would eat the digits of the sums.
        codes: Their codes, every level set.
        sizes: Codewords of every level.
        weights: Weight of every vector, 1 if not given.
    """
    starts = (0, *accumulate(sizes))
    if starts[-1] > _MOST_ROWS:
        raise ValueError(
            f"closed-form codebooks of {starts[-1]} codewords in all would need more than 2 GiB of counts: "
            f"use at most {_MOST_ROWS}, or train by gradient"
        )
    counts = torch.zeros(starts[-1], starts[-1], dtype=torch.float64, device=x.device)
    sums = []
    weight = None if weights is None else weights.double()
    for a, size in enumerate(sizes):
        one, total = cluster_sums(x, codes[:, a], size, weights)
        sums.append(total)
        here = slice(starts[a], starts[a + 1])
        counts[here, here].diagonal().copy_(one)
        for b in range(a):
            there = slice(starts[b], starts[b + 1])
            pair = codes[:, b] * size + codes[:, a]
            both = torch.bincount(pair, weight, minlength=sizes[b] * size).view(sizes[b], size)
            counts[there, here] = both.double()
            counts[here, there] = both.t().double()
    return CodeStatistics(counts, torch.cat(sums))


def least_squares_codebooks(
    statistics: CodeStatistics, codebooks: Sequence[Float[Tensor, "_ dim"]], *, ridge: float = 1e-3
) -> list[Tensor]:
    r"""Codebooks that minimise the squared error of given codes, held weakly to where they were.

    .. math:: \min_C \sum_n w_n \Big| x_n - \sum_m c_{i_{nm}} \Big|^2 + \lambda \sum_k | c_k - c^{old}_k |^2

    (Babenko and Lempitsky 2014, section 3, for the first term.) The normal equations are solved for the change of the
    codewords by a Cholesky factorisation in float64.

    Args:
        statistics: From :func:`code_statistics`, summed over chunks and ranks.
        codebooks: The present ones, about the same mean as the vectors.
        ridge: :math:`\lambda` as a share of the weight of an average codeword. The second term settles what the first
            leaves open: codewords that serve no vector stay where they are, and offsets do not wander between levels.
    """
    old = torch.cat(list(codebooks)).double()
    normal = statistics.counts.clone()
    weight = normal.diagonal().mean()
    normal.diagonal().add_(ridge * weight.where(weight > 0, 1.0))
    factor = torch.linalg.cholesky(normal)
    change = torch.cholesky_solve(statistics.sums - statistics.counts @ old, factor)
    new = (old + change).to(codebooks[0].dtype)
    return list(new.split([len(book) for book in codebooks]))
