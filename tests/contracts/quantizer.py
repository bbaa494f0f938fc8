"""What every quantizer must do. A concrete test class says how to build one and inherits all of it."""

import copy

import torch

from codeword import Quantizer
from contracts.life import Life
from contracts.steps import train, vectors
from contracts.values import Values


class QuantizerContract(Values, Life):
    """Inherit, and write ``create``."""

    dim = 6
    greedy = True  # every code is the nearest codeword of what the levels before have left
    projects = False  # the search sees rounded projections of the input
    starts_at_data = True  # wherever the data lies, codewords are near it after one step
    additive = True  # decoding adds up rows of codebooks
    whole = True  # training forwards use all levels
    exact = True  # training forwards give the codeword in value

    def create(self, size: int = 11) -> Quantizer:
        """A new quantizer whose codebooks have ``size`` codewords (or one more)."""
        raise NotImplementedError

    def trained(self, **options):
        made = type(self).__dict__.get("_made", {})
        key = tuple(options.items())
        if key not in made:
            torch.manual_seed(0)
            made[key] = train(self.create(**options), vectors(dim=self.dim)).eval()
            type(self)._made = made
        return copy.deepcopy(made[key])
