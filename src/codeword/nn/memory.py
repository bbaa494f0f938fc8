"""What causal layers remember, so that a signal can pass a network block by block.

::

    block 1 ──► layer ──► output 1
                  │ last time steps
                  ▼
    block 2 ──► layer ──► output 2        the same as the layer's output for both blocks in one
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Memory:
    """The last time steps that every layer of a network has seen of one signal; as large after a day as after a second.

    The layers themselves hold nothing: one network may serve any number of signals, each with a memory of its own.
    """

    def __init__(self) -> None:
        self._held: dict[nn.Module, Tensor] = {}

    @contextmanager
    def used(self) -> Iterator[None]:
        """Inside, causal layers go on where the last block has ended."""
        token = _memory.set(self)
        try:
            yield
        finally:
            _memory.reset(token)

    def extend(self, layer: nn.Module, x: Float[Tensor, "*channels _"], count: int) -> Float[Tensor, "*channels _"]:
        """A block after what the layer remembers, of which the last ``count`` time steps are kept for the next."""
        held = self._held.get(layer)
        joined = x if held is None else torch.cat([held, x], -1)
        self._held[layer] = joined[..., max(0, joined.shape[-1] - count) :].clone()  # a view would keep the whole
        return joined


_memory: ContextVar[Memory | None] = ContextVar("memory", default=None)


def with_past(layer: nn.Module, x: Float[Tensor, "*channels _"], count: int) -> Float[Tensor, "*channels _"]:
    """A block with up to ``count`` time steps that came before it: none at the start, and none outside of a memory."""
    memory = _memory.get()
    return x if memory is None or not count else memory.extend(layer, x, count)


def padded_past(layer: nn.Module, x: Float[Tensor, "*channels _"], count: int) -> Float[Tensor, "*channels _"]:
    """A block with exactly ``count`` time steps before it: zeros stand for what there was not."""
    joined = with_past(layer, x, count)
    return F.pad(joined, (count - (joined.shape[-1] - x.shape[-1]), 0))
