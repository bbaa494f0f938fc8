"""What a reconstruction loses: squared error per vector, per dimension, and relative to the data's variance."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 16384  # rows turned to float64 at a time: 16 MiB at 128 dimensions, whatever the number of vectors


class DistortionReport(NamedTuple):
    """Distortion of a set of vectors.

    Attributes:
        squared_error: Mean over vectors of the squared norm of the error, the "MSE" of nearest-neighbour search.
        mse_per_dimension: The same over the dimension, the "MSE" of the NSVQ papers and of
            ``torch.nn.functional.mse_loss``.
        relative_error: Squared error over the mean squared distance of the vectors from their mean: 1 for a codebook
            of one codeword.
        num_vectors: How many vectors it is about.
    """

    squared_error: float
    mse_per_dimension: float
    relative_error: float
    num_vectors: int


class Distortion:
    """Distortion accumulated over chunks of vectors, with float64 sums.

    Mean and scatter of the data are merged chunk by chunk (Chan, Golub, LeVeque 1979), so that a common offset of
    thousands of standard deviations leaves the variance intact, which ``sum x^2 - N mean^2`` would not.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.num_vectors = 0
        self._error = 0.0
        self._scatter = 0.0
        self._mean = torch.zeros(dim, dtype=torch.float64)

    def add(self, vectors: Float[Tensor, "*batch dim"], reconstruction: Float[Tensor, "*batch dim"]) -> None:
        """Take in some vectors and what became of them."""
        if vectors.shape[-1] != self.dim:
            raise ValueError(f"vectors must have {self.dim} dimensions, as announced, got {vectors.shape[-1]}")
        rows, copies = vectors.detach().reshape(-1, self.dim), reconstruction.detach().reshape(-1, self.dim)
        for some, their in zip(rows.split(_BLOCK), copies.split(_BLOCK), strict=True):
            self._add_block(some.double(), their.double())

    def report(self) -> DistortionReport:
        """The distortion of all vectors so far; the relative error of vectors that are all equal is 0 or infinite.

        Raises:
            ValueError: No vectors were added.
        """
        if not self.num_vectors:
            raise ValueError("the distortion of no vectors is undefined: add at least one vector")
        squared_error = self._error / self.num_vectors
        of_equal_vectors = math.inf if self._error else 0.0
        relative = self._error / self._scatter if self._scatter else of_equal_vectors
        return DistortionReport(squared_error, squared_error / self.dim, relative, self.num_vectors)

    def _add_block(self, rows: Float[Tensor, "rows dim"], copies: Float[Tensor, "rows dim"]) -> None:
        if not len(rows):
            return
        self._error += float((rows - copies).square().sum())
        mean = rows.mean(dim=0)
        known, total = self.num_vectors, self.num_vectors + len(rows)
        step = mean.cpu() - self._mean
        self._scatter += float((rows - mean).square().sum()) + float(step.square().sum()) * known * len(rows) / total
        self._mean += step * (len(rows) / total)
        self.num_vectors = total


def distortion(vectors: Float[Tensor, "*batch dim"], reconstruction: Float[Tensor, "*batch dim"]) -> DistortionReport:
    """All measures of distortion of one set of vectors."""
    total = Distortion(vectors.shape[-1])
    total.add(vectors, reconstruction)
    return total.report()


def squared_error(vectors: Float[Tensor, "*batch dim"], reconstruction: Float[Tensor, "*batch dim"]) -> float:
    """Mean over vectors of the error's squared norm, ``mean_n |x_n - y_n|^2``: the "MSE" of nearest-neighbour search.

    Note:
        ``torch.nn.functional.mse_loss`` also divides by the dimension: that is ``mse_per_dimension``.
    """
    return distortion(vectors, reconstruction).squared_error


def mse_per_dimension(vectors: Float[Tensor, "*batch dim"], reconstruction: Float[Tensor, "*batch dim"]) -> float:
    """Mean squared error per dimension, ``mean_n |x_n - y_n|^2 / dim``."""
    return distortion(vectors, reconstruction).mse_per_dimension


def relative_error(vectors: Float[Tensor, "*batch dim"], reconstruction: Float[Tensor, "*batch dim"]) -> float:
    """Squared error over total variance, ``sum_n |x_n - y_n|^2 / sum_n |x_n - mean|^2``."""
    return distortion(vectors, reconstruction).relative_error
