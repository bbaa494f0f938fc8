"""Inputs of networks by number and view, and the order in which a training sees them."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

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

    grid: tuple[int, ...]

    def __len__(self) -> int: ...

    def inputs(self, numbers: Sequence[int], views: Sequence[int]) -> Inputs:
        """Views of samples; view 0 and all others are augmented by fixed draws."""
        ...

    def configuration(self) -> Mapping[str, object]:
        """Plain values: all that decides about inputs, the seed of augmentation and the names of samples included."""
        ...


class Order(NamedTuple):
    """Which samples make a batch, and which of their views: a function of the batch's number.

    Epochs are permutations of all samples that follow each other without a gap, so that no sample is left out where the
    last batch of an epoch is not full. From epoch to epoch a sample shows its views in turn.

    Attributes:
        samples: How many there are.
        views: How many every sample has.
        batch: Samples of a batch, all ranks together.
        seed: Of the permutations.
    """

    samples: int
    views: int
    batch: int
    seed: int

    def drawn(self, number: int, rank: int = 0, world_size: int = 1) -> "Drawn":
        """The rank's share of a batch."""
        if self.batch % world_size:
            raise ValueError(f"a batch of {self.batch} samples is no multiple of {world_size} ranks")
        share = self.batch // world_size
        first = number * self.batch + rank * share
        numbers: list[int] = []
        views: list[int] = []
        for epoch, start, stop in self._spans(first, first + share):
            seed = zlib.crc32(f"{self.seed} {epoch}".encode())
            order = torch.randperm(self.samples, generator=torch.Generator().manual_seed(seed))[start:stop].tolist()
            numbers += order
            views += [(sample + epoch) % self.views for sample in order]
        return Drawn(number, rank * share, numbers, views)

    def _spans(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        while first < last:
            epoch, start = divmod(first, self.samples)
            stop = min(start + last - first, self.samples)
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

    def key(self, seed: int, purpose: str) -> Int[Tensor, ""]:
        """A key for draws of this batch."""
        return torch.tensor(zlib.crc32(f"{seed} {purpose} {self.number}".encode()))


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
