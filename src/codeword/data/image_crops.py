"""Batches of crops of pictures, each a function of its number alone."""

import zlib
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from codeword.data.epoch_order import permutation

Pictures = Sequence[UInt8[Tensor, "channels height width"]] | UInt8[Tensor, "items channels height width"]


class ImageCrops:
    """Crops of one size: every epoch has one of every picture, at a place of its own, mirrored or not.

    Args:
        pictures: Of one number of channels, as large as a crop at least.
        size: Height and width of a crop; ``None`` for pictures of one size, which are taken whole.
        batch: Crops of a batch, all ranks together.
        seed: Of order, places and mirrors.
        mirrored: Whether half of the crops are flipped from left to right.

    Raises:
        ValueError: In one line, if there are no pictures, or no crops in a batch.
    """

    def __init__(
        self, pictures: Pictures, size: tuple[int, int] | None, batch: int, *, seed: int = 0, mirrored: bool = True
    ):
        if not len(pictures) or batch < 1:
            raise ValueError(f"batches need a picture and a size of 1 at least: got {len(pictures)} and {batch}")
        self.pictures, self.size, self.batch, self.seed, self.mirrored = pictures, size, batch, seed, mirrored

    def batches(self, start: int, rank: int, world_size: int) -> Iterator[UInt8[Tensor, "batch channels height width"]]:
        """Batches from number ``start`` on; of several ranks each gets its share.

        Raises:
            ValueError: If a batch is no multiple of the ranks, or a picture is smaller than a crop.
        """
        if self.batch % world_size:
            raise ValueError(f"a batch of {self.batch} crops is no multiple of {world_size} ranks")
        share = self.batch // world_size
        number = start
        while True:
            first = number * self.batch + rank * share
            yield torch.stack([self._crop(*divmod(place, len(self.pictures))) for place in range(first, first + share)])
            number += 1

    def _crop(self, epoch: int, place: int) -> UInt8[Tensor, "channels height width"]:
        number = int(permutation(len(self.pictures), self.seed, epoch)[place])
        picture = self.pictures[number]
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {epoch} {number}".encode()))
        down, across, flip = torch.rand(3, generator=generator).tolist()
        if self.size is not None:
            (height, width), (rows, columns) = picture.shape[-2:], self.size
            if height < rows or width < columns:
                raise ValueError(
                    f"picture {number} has {height} x {width} pixels, crops of {rows} x {columns} do not fit: leave it "
                    "out, or take smaller crops"
                )
            top, left = int(down * (height - rows + 1)), int(across * (width - columns + 1))
            picture = picture[:, top : top + rows, left : left + columns]
        return picture.flip(-1) if self.mirrored and flip < 0.5 else picture
