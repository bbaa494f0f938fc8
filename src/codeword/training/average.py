"""Moving average of a model's parameters."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from codeword.training.sharding import own_part


class WeightAverage:
    r"""Keeps the moving average of a module's parameters beside them.

    .. math:: \bar\theta \leftarrow \gamma \bar\theta + (1 - \gamma) \theta, \qquad
        \gamma = \min(\gamma_{\max}, (1 + s) / (10 + s))

    The ramp over steps s lets the start be forgotten, as in the averages of TensorFlow.

    Args:
        module: The module; its buffers, codebooks among them, are no part of the average.
        decay: The largest gamma.

    Note:
        A codebook that is itself a moving average of data follows the weights as they are, not their average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of an average of weights must be in [0, 1), got {decay}")
        self.module, self.decay = module, decay
        self.weights = {name: value.detach().clone() for name, value in module.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the parameters after optimizer step ``step``, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages = [own_part(value) for value in self.weights.values()]
        current = [
            own_part(value).to(average.dtype) for average, value in zip(averages, self.module.parameters(), strict=True)
        ]
        torch._foreach_lerp_(averages, current, 1 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Inside, the module has the averaged parameters."""
        own = {name: value.detach().clone() for name, value in self.module.named_parameters()}
        self.put()
        try:
            yield
        finally:
            _put(self.module, own)

    def put(self) -> None:
        """Give the module the averaged parameters."""
        _put(self.module, self.weights)


@torch.no_grad()
def _put(module: nn.Module, weights: dict[str, Tensor]) -> None:
    for name, value in module.named_parameters():
        value.copy_(weights[name])
