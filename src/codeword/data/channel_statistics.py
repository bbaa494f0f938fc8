"""Mean and standard deviation of what a network sees, measured on a data set in one pass and double precision."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor

from codeword.data.listing import Item, Listing

_LEAST = 1e-9  # variance below which values count as all the same


class ChannelStatistics(NamedTuple):
    """Of every channel.

    Attributes:
        mean: Means.
        deviation: Standard deviations.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def channel_statistics(
    listing: Listing, read: Callable[[Item], Shaped[Tensor, "channels *positions"]], *, items: int = 1000
) -> ChannelStatistics:
    """Statistics over all values of a data set, of which every one counts alike.

    Args:
        listing: The data set: give it its training items only.
        read: What an item holds.
        items: So many are read, evenly spread over the listing; those that cannot be are passed over.

    Raises:
        ValueError: If none of them can be read, or all values of a channel are the same.
    """
    chosen = [
        listing.items[place] for place in sorted({k * len(listing) // items for k in range(items)})[: len(listing)]
    ]
    count, last = 0, "there are no items"
    total = squares = torch.zeros(())
    for item in chosen:
        try:
            values = read(item).flatten(1).double()
        except (ValueError, OSError) as error:
            last = " ".join(str(error).split())
            continue
        count += values.shape[1]
        total = total + values.sum(1)
        squares = squares + values.square().sum(1)
    if not count:
        raise ValueError(f"no statistics: none of {len(chosen)} items can be read: {last}")
    mean = total / count
    variance = squares / count - mean.square()
    if variance.min() < _LEAST:
        raise ValueError(
            f"no statistics: {len(chosen)} items are silent or of one colour: channel {int(variance.argmin())} is the "
            "same everywhere"
        )
    return ChannelStatistics(tuple(mean.tolist()), tuple(variance.sqrt().tolist()))
