"""The vocabulary that every layer shares: result types and nothing else."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Quantized(NamedTuple):
    """What the ``forward`` of every quantizer returns.

    Attributes:
        vectors: The quantized vectors, carrying the estimator's gradient; zero where the mask marks padding.
        codes: Indices, one per level; -1 beyond a vector's depth and where the mask marks padding.
        loss: What the quantizer wants minimised; zero in evaluation mode.
    """

    vectors: Float[Tensor, "*batch dim"]
    codes: Int[Tensor, "*batch levels"]
    loss: Float[Tensor, ""]


class Selected(NamedTuple):
    """What an inner quantizer hands to the one that encloses it (``Quantizer.select``).

    Attributes:
        vectors: Codewords: differentiable in the codebook, or with the input's gradient passed straight through.
        codes: Indices, one per level; -1 where a gate is closed.
        losses: The loss of each vector, not yet averaged: padding and gates weigh it later.
        carrier: Zero in value; carries the gradient of a gate when ``vectors`` holds plain codewords, else ``None``.
    """

    vectors: Float[Tensor, "*batch dim"]
    codes: Int[Tensor, "*batch levels"]
    losses: Float[Tensor, "*batch"]
    carrier: Float[Tensor, "*batch dim"] | None = None
