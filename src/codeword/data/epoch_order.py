"""In which order samples are taken, and by whom: every sample once an epoch, whatever the number of processes.

The order is a function of seed and epoch alone. Its next ``ranks * batch`` samples make a step, of which every rank
takes ``batch``; a rank's workers take its steps in turn. So whatever was consumed is the beginning of the order, and a
run goes on from a count of samples, also with other numbers of ranks and workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from torch.utils.data import get_worker_info

from codeword.data.listing import Item
from codeword.functional.ranks import rank, world_size


class Share(NamedTuple):
    """Whose samples.

    Attributes:
        rank: Of the process, of ``ranks``.
        ranks: Processes that train together.
        worker: Of the process that reads, of ``workers``.
        workers: Processes that read for a rank.
    """

    rank: int = 0
    ranks: int = 1
    worker: int = 0
    workers: int = 1

    @classmethod
    def here(cls) -> "Share":
        """That of the process which asks; of a worker, ranks have to be given."""
        worker = get_worker_info()
        return cls(rank(), world_size()) if worker is None else cls(0, 1, worker.id, worker.num_workers)


ALONE = Share()


@dataclass(frozen=True, kw_only=True)
class EpochOrder:
    """The order of samples.

    ``DataLoader(samples, batch_sampler=list(order.steps(items, epoch, Share.here())))`` reads a rank's part with any
    number of workers; a data set that iterates takes its steps itself, with its worker in its share.

    Attributes:
        batch: Samples that a rank takes in a step.
        seed: Of all orders.
        window: Within how many samples those of drawn files are mixed, for disks that are slow to seek: a reader then
            goes through a few shards at a time. ``None``: all with all.
        whole: Leave out the last step of an epoch if it has not ``batch`` samples for every rank.
    """

    batch: int
    seed: int = 0
    window: int | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        if self.batch < 1 or (self.window is not None and self.window < 1):
            raise ValueError(f"batch and window are at least 1, got {self.batch} and {self.window}")

    def order(self, items: Sequence[Item], epoch: int) -> Int64[np.ndarray, " items"]:
        """All places in ``items``, as drawn for an epoch."""
        generator = np.random.default_rng((self.seed, epoch))
        if self.window is None:
            return generator.permutation(len(items))
        files = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in items))}
        turns = generator.permutation(len(files))
        order = np.argsort(turns[[files[item.path] for item in items]], kind="stable") if items else np.zeros(0, int)
        for start in range(0, len(items), self.window):
            generator.shuffle(order[start : start + self.window])
        return order

    def steps(
        self, items: Sequence[Item], epoch: int, share: Share = ALONE, *, consumed: int = 0
    ) -> Iterator[list[int]]:
        """Places in ``items`` that a share takes, a step at a time.

        Args:
            items: Of a listing.
            epoch: From 0 on.
            share: Whose.
            consumed: Samples of this epoch that all ranks together have taken before.
        """
        if not 0 <= consumed <= len(items):
            raise ValueError(f"of {len(items)} samples, {consumed} cannot have been consumed")
        left = self.order(items, epoch)[consumed:]
        together = self.batch * share.ranks
        stop = len(left) // together * together if self.whole else len(left)
        for number, start in enumerate(range(0, stop, together)):
            if number % share.workers == share.worker:
                own = left[start : min(start + together, stop)][share.rank :: share.ranks]
                if len(own):
                    yield own.tolist()
