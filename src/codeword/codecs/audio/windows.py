"""Long signals in windows on a fixed grid: memory does not grow, and results depend on no block size."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor


class Window(NamedTuple):
    """A piece of a signal with its surroundings.

    Attributes:
        values: The piece and what stands around it, as far as there is something.
        skip: Where in ``values`` the piece begins.
        count: How long it is.
    """

    values: Shaped[Tensor, "*channels length"]
    skip: int
    count: int


def windows(blocks: Iterable[Shaped[Tensor, "*channels _"]], size: int, reach: int) -> Iterator[Window]:
    """Cut a signal, handed over in blocks of any length, into windows that start at multiples of ``size``.

    Args:
        blocks: The signal.
        size: Length of a window; the last one may be shorter.
        reach: How much of the signal a window gets to each side.
    """
    held: Tensor | None = None
    first = start = 0  # where ``held`` begins in the signal; where the next window does

    def cut(signal: Tensor, count: int) -> Window:
        left, right = max(first, start - reach), start + count + reach
        return Window(signal[..., left - first : right - first], start - left, count)

    for block in blocks:
        held = block if held is None else torch.cat([held, block], -1)
        while first + held.shape[-1] >= start + size + reach:
            yield cut(held, size)
            start += size
            drop = max(0, start - reach - first)
            held, first = held[..., drop:], first + drop
    while held is not None and start < first + held.shape[-1]:
        count = min(size, first + held.shape[-1] - start)
        yield cut(held, count)
        start += count
