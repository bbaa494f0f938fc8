"""Inputs of networks by number and view, and the order in which a training sees them."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from codeword.data.epoch_order import Window, permutation
from codeword.quantizers.config import describe


class Inputs(NamedTuple):
    """A batch as networks take it.

    Attributes:
        values: What is seen.
        valid: Which patches are no padding; ``None`` if all are.
    """

    values: Float[Tensor, "batch channels *size"]
    valid: Bool[Tensor, "batch patches"] | None = None


@runtime_checkable
class Samples(Protocol):
    """A data set whose inputs are functions of their number and view, and of nothing else."""

    @property
    def grid(self) -> tuple[int, ...]:
        """Patches along every axis."""
        ...

    def __len__(self) -> int: ...

    def inputs(self, numbers: Sequence[int], views: Sequence[int]) -> Inputs:
        """Views of samples; view 0 and all others are augmented by fixed draws."""
        ...

    def window(self, size: int) -> Window:
        """For orders in which files are read mostly in sequence, and samples mixed within so many."""
        ...

    def configuration(self) -> Mapping[str, object]:
        """Plain values: all that decides about inputs, the seed of augmentation and the names of samples included."""
        ...


class Order(NamedTuple):
    """Which samples make a batch, and which of their views: a function of the batch's number.

    Epochs are permutations of all samples that follow each other without a gap, so that no sample is left out where the
    last batch of an epoch is not full. From epoch to epoch a sample shows its views in turn.

    A process that reads with several workers gives each of them batches in turn; with another number of ranks or
    workers a run goes on from the number of its next batch.

    Attributes:
        samples: How many there are.
        views: How many every sample has.
        batch: Samples of a batch, all ranks together.
        seed: Of the permutations.
        repeats: So many views of a sample follow each other, which of a video are cut out of one decoded clip
            (``FileSamples``); an epoch then has every sample so many times.
        window: Within what samples are mixed, for disks that are slow to seek; ``None``: all with all.
    """

    samples: int
    views: int
    batch: int
    seed: int
    repeats: int = 1
    window: Window | None = None

    def drawn(self, number: int, rank: int = 0, world_size: int = 1) -> "Drawn":
        """The rank's share of a batch."""
        if self.batch % world_size:
            raise ValueError(f"a batch of {self.batch} samples is no multiple of {world_size} ranks")
        if self.views % self.repeats:
            raise ValueError(f"{self.views} views are no multiple of {self.repeats} that follow each other")
        share = self.batch // world_size
        first = number * self.batch + rank * share
        numbers: list[int] = []
        views: list[int] = []
        for epoch, start, stop in self._spans(first, first + share):
            order = permutation(self.samples, self.seed, epoch, self.window)
            for place in range(start, stop):
                sample = int(order[place // self.repeats])
                turn = (sample + epoch) % (self.views // self.repeats)
                numbers.append(sample)
                views.append(turn * self.repeats + place % self.repeats)
        return Drawn(number, rank * share, numbers, views)

    def _spans(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        length = self.samples * self.repeats
        while first < last:
            epoch, start = divmod(first, length)
            stop = min(start + last - first, length)
            yield epoch, start, stop
            first += stop - start


class Drawn(NamedTuple):
    """A rank's share of a batch.

    Attributes:
        number: Of the batch.
        first_row: Place of its first sample in the whole batch.
        samples: Numbers of the samples.
        views: Numbers of their views.
    """

    number: int
    first_row: int
    samples: list[int]
    views: list[int]


Augmentation = Callable[[Float[Tensor, "channels *size"], torch.Generator], Float[Tensor, "channels *size"]]


class TensorSamples:
    """Samples that fit into memory.

    View v of sample n is drawn from (seed, n, v) alone.

    Args:
        values: All of them; integers count as 255ths.
        patch: Size of a patch along every axis.
        mean: Subtracted from every channel.
        deviation: What it is divided by then.
        augment: What is done to a view, in this order, before that; objects that ``describe`` knows.
        seed: Of the draws.

    Raises:
        ValueError: If sizes are no multiples of patches.
    """

    def __init__(
        self,
        values: Shaped[Tensor, "count channels *size"],
        patch: tuple[int, ...],
        *,
        mean: float = 0.0,
        deviation: float = 1.0,
        augment: Sequence[Augmentation] = (),
        seed: int = 0,
    ):
        sizes = tuple(values.shape[2:])
        if len(sizes) != len(patch) or any(size % step for size, step in zip(sizes, patch, strict=True)):
            raise ValueError(f"samples of size {sizes} cannot be cut into patches of {patch}: crop them to multiples")
        self.values, self.patch, self.seed = values, patch, seed
        self.mean, self.deviation, self.augment = mean, deviation, tuple(augment)
        self.grid = tuple(size // step for size, step in zip(sizes, patch, strict=True))

    def __len__(self) -> int:
        return len(self.values)

    def inputs(self, numbers: Sequence[int], views: Sequence[int]) -> Inputs:
        scale = 1.0 if self.values.is_floating_point() else 1 / 255
        x = self.values[list(numbers)].float() * scale
        if self.augment:
            x = torch.stack([self._view(*one) for one in zip(x, numbers, views, strict=True)])
        return Inputs((x - self.mean) / self.deviation)

    def window(self, size: int) -> Window:
        return Window(size, torch.arange(len(self)))

    def configuration(self) -> Mapping[str, object]:
        return {
            "values": zlib.crc32(self.values.contiguous().numpy().tobytes()),
            "scale": [self.mean, self.deviation],
            "augment": [describe(part) for part in self.augment],
            "seed": self.seed,
        }

    def _view(self, x: Float[Tensor, "channels *size"], number: int, view: int) -> Float[Tensor, "channels *size"]:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {number} {view}".encode()))
        for part in self.augment:
            x = part(x, generator)
        return x
