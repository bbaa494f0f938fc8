"""The images of a data set as pictures to take crops of: decoded when they are asked for, the first ones kept."""

from collections.abc import Sequence
from typing import overload

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from codeword.data.image_arrays import ImageError
from codeword.data.image_files import read_image
from codeword.data.listing import BadItem, Listing
from codeword.data.tar_members import TarError

_KEPT = 2**30  # bytes of pictures that are kept in memory


class Pictures(Sequence[Tensor]):
    """Images of a listing.

    Large ones are reduced by a whole number, averaging, so that a crop shows more than a flat piece of sky; small ones
    are continued by their last row and column. An image that cannot be read is replaced by the next one that can.

    Args:
        listing: Of images.
        channels: 1 for grey, 3 for colour.
        least: Height and width that every picture has at least.
        longest: Pixels of the longer side, or nearly twice as many, as long as both are at least ``least``;
            ``None`` reduces nothing.
        kept: Bytes that are kept in memory; pictures beyond are decoded every time.

    Attributes:
        bad: What could not be read.
    """

    def __init__(
        self, listing: Listing, channels: int, *, least: int, longest: int | None = None, kept: int = _KEPT
    ) -> None:
        self._items, self._channels = listing.not_empty().items, channels
        self._least, self._longest, self._room = least, longest, kept
        self._known: dict[int, UInt8[Tensor, "channels height width"]] = {}
        self._broken: dict[int, BadItem] = {}

    @property
    def bad(self) -> tuple[BadItem, ...]:
        return tuple(self._broken[number] for number in sorted(self._broken))

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, place: int) -> Tensor: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Tensor]: ...
    def __getitem__(self, place: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"there are {len(self)} pictures, asked for number {place}")
        for number in range(place, place + len(self)):
            number %= len(self)  # noqa: PLW2901
            if number in self._broken:
                continue
            try:
                return self._picture(number)
            except (ImageError, TarError) as error:
                self._broken[number] = BadItem(self._items[number].path, str(error))
        raise ImageError(f"none of {len(self)} images can be read: {self.bad[0]}")

    def _picture(self, number: int) -> UInt8[Tensor, "channels height width"]:
        if number in self._known:
            return self._known[number]
        picture = self._fitted(read_image(self._items[number], channels=self._channels, as_seen=True))
        if picture.numel() <= self._room:
            self._room -= picture.numel()
            self._known[number] = picture
        return picture

    def _fitted(self, picture: UInt8[Tensor, "channels _ _"]) -> UInt8[Tensor, "channels height width"]:
        if self._longest is not None:
            picture = reduced(picture, self._longest, least=self._least)
        height, width = picture.shape[1:]
        missing = max(0, self._least - width), max(0, self._least - height)
        if any(missing):
            picture = F.pad(picture.float().unsqueeze(0), (0, missing[0], 0, missing[1]), mode="replicate")[0].byte()
        return picture


def reduced(picture: UInt8[Tensor, "channels _ _"], longest: int, *, least: int = 1) -> UInt8[Tensor, "channels _ _"]:
    """A picture made smaller by a whole number, averaging.

    Args:
        picture: Of any size.
        longest: Pixels that the longer side shall have, or nearly twice as many.
        least: Pixels that the shorter side keeps.
    """
    height, width = picture.shape[1:]
    factor = min(max(height, width) // longest, min(height, width) // least)
    if factor <= 1:
        return picture
    return F.avg_pool2d(picture.float().unsqueeze(0), factor)[0].round().clamp(0, 255).byte()


def centre_crops(pictures: Sequence[Tensor], size: int, most: int) -> UInt8[Tensor, "items channels {size} {size}"]:
    """The middle of some pictures, evenly spread over all."""
    numbers = torch.linspace(0, len(pictures) - 1, min(len(pictures), most)).round().long().unique().tolist()
    found: list[Tensor] = []
    for number in numbers:
        picture = pictures[number]
        top, left = (picture.shape[1] - size) // 2, (picture.shape[2] - size) // 2
        found.append(picture[:, top : top + size, left : left + size])
    return torch.stack(found)
