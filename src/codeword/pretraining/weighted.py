"""An order of samples in which rare classes come more often."""

import zlib

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.metrics.classification import Labels
from codeword.pretraining.samples import Drawn


def class_weights(labels: Labels) -> Float[Tensor, " count"]:
    """Of every sample the sum over its classes of one over the class's number of samples (AST).

    Samples without a class are taken as those of one more class.
    """
    if not labels.is_floating_point():
        return 1 / torch.bincount(labels.long()).double()[labels.long()]
    truth = labels.double()
    none = (truth.sum(1, keepdim=True) == 0).double()
    truth = torch.cat([truth, none], 1)
    return truth @ (1 / truth.sum(0).clamp_min(1))


class WeightedOrder:
    """Which samples make a batch, drawn with weights: a function of the batch's number.

    An epoch is a fixed number of draws. Epochs follow each other without a gap; views are taken in turn.

    Args:
        weights: How often every sample is drawn, as shares of their sum.
        views: How many every sample has.
        batch: Samples of a batch, all ranks together.
        seed: Of the draws.
        replacement: Whether a sample may be drawn twice in an epoch.
        epoch: Draws of an epoch; as many as there are samples unless given.

    Raises:
        ValueError: If an epoch without replacement asks for more samples than have a weight.
    """

    def __init__(
        self,
        weights: Float[Tensor, " count"],
        views: int,
        batch: int,
        seed: int,
        *,
        replacement: bool = False,
        epoch: int | None = None,
    ):
        self.weights, self.views, self.batch, self.seed = weights, views, batch, seed
        self.replacement, self.epoch = replacement, len(weights) if epoch is None else epoch
        drawable = int((weights > 0).sum())
        if not drawable or self.epoch < 1 or (not replacement and self.epoch > drawable):
            raise ValueError(
                f"an epoch of {self.epoch} draws from {drawable} samples: take from 1 to {drawable}, or replacement"
            )
        self._kept: tuple[int, Int[Tensor, " count"]] | None = None

    def drawn(self, number: int, rank: int = 0, world_size: int = 1) -> Drawn:
        """The rank's share of a batch.

        Raises:
            ValueError: If ranks cannot share it evenly.
        """
        if self.batch % world_size:
            raise ValueError(f"a batch of {self.batch} samples is no multiple of {world_size} ranks")
        share = self.batch // world_size
        first = number * self.batch + rank * share
        places = range(first, first + share)
        samples = [int(self._drawn_in(place // self.epoch)[place % self.epoch]) for place in places]
        views = [(sample + place // self.epoch) % self.views for sample, place in zip(samples, places, strict=True)]
        if self.replacement:
            views = [place % self.views for place in places]
        return Drawn(number, rank * share, samples, views)

    def _drawn_in(self, epoch: int) -> Int[Tensor, " count"]:
        if self._kept is None or self._kept[0] != epoch:
            generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} weighted {epoch}".encode()))
            samples = torch.multinomial(self.weights, self.epoch, self.replacement, generator=generator)
            self._kept = epoch, samples
        return self._kept[1]
