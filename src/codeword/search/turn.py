"""Rotations around a quantizer, taken off and applied to the queries instead."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from codeword.quantizers.base import Quantizer
from codeword.quantizers.wrappers import Rotated

_BLOCK = 64  # rows of every product


class Turn:
    """The space in which a quantizer's codewords are stored, and the way there.

    Distances do not change under a rotation, so a product inside one is scanned with the product's own small tables.

    Args:
        quantizer: Any quantizer; rotations on its outside are taken off.
    """

    def __init__(self, quantizer: Quantizer):
        self.inner, self.rotation = quantizer, None
        while isinstance(self.inner, Rotated):
            outer = self.inner.rotation.double()
            self.rotation = outer if self.rotation is None else outer @ self.rotation
            self.inner = self.inner.quantizer

    def __call__(self, queries: Float[Tensor, "queries dim"]) -> Float[Tensor, "queries dim"]:
        """Queries in float64 as the inner quantizer sees them, each the same in every batch."""
        if self.rotation is None:
            return queries.double()
        # Every product has one shape: rows do not see how many others there are.
        padded = F.pad(queries.double(), (0, 0, 0, -len(queries) % _BLOCK))
        return torch.cat([part @ self.rotation.t() for part in padded.split(_BLOCK)])[: len(queries)]
