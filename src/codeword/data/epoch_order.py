"""In which order samples are taken: every one once an epoch, as a function of seed and epoch alone.

Whoever takes a share of it, a rank or a worker, takes places of this one order; so a run goes on from a count of
samples, also with other numbers of both.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Int64
from torch import Tensor

from codeword.data.listing import Item


@dataclass(frozen=True, eq=False)
class Window:
    """For disks that are slow to seek: a reader goes through a few shards at a time, in a drawn order of shards.

    Attributes:
        size: Within how many samples those of drawn files are mixed.
        files: Number of the file of every sample.
    """

    size: int
    files: Int64[Tensor, " count"]

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a window has 1 sample or more, got {self.size}")

    @classmethod
    def of(cls, items: Sequence[Item], size: int) -> "Window":
        """That of the items of a listing."""
        numbers = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in items))}
        return cls(size, torch.tensor([numbers[item.path] for item in items], dtype=torch.int64))


@lru_cache(maxsize=4)  # those of an epoch are asked for once a batch
def permutation(samples: int, seed: int, epoch: int, window: Window | None = None) -> Int64[Tensor, " count"]:
    """All samples, as drawn for an epoch; not to be written into.

    Args:
        samples: How many there are.
        seed: Of all orders.
        epoch: From 0 on.
        window: Within what they are mixed; ``None``: all with all.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {epoch}".encode()))
    if window is None:
        return torch.randperm(samples, generator=generator)
    if len(window.files) != samples:
        raise ValueError(f"a window over {len(window.files)} samples does not order {samples}: make it of the same")
    turns = torch.randperm(int(window.files.max()) + 1 if samples else 0, generator=generator)
    order = turns[window.files].argsort(stable=True)
    return torch.cat([part[torch.randperm(len(part), generator=generator)] for part in order.split(window.size)])
