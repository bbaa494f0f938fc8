"""The images that a codec is measured on."""

from collections.abc import Iterator
from pathlib import Path

from codeword.data.image_arrays import ImageError
from codeword.data.image_files import read_image
from codeword.data.image_listings import list_images
from codeword.data.listing import Item
from codeword.data.pictures import reduced
from codeword.data.tar_members import TarError
from codeword.evaluation.data_check import spread
from codeword.evaluation.image import NamedPicture


class HeldPictures:
    """Images of a data set, as ``codeword compress`` sees them, one after another; what is damaged is left out.

    Args:
        items: What to read.
        channels: 1 for grey, 3 for colour, ``None`` for what each is.
        longest: Larger images are reduced to about so many pixels; ``None`` never.

    Attributes:
        skipped: What was left out, and why.
    """

    def __init__(
        self, items: tuple[Item, ...], channels: int | None, longest: int | None, skipped: tuple[str, ...]
    ) -> None:
        self._items, self._channels, self._longest, self.skipped = items, channels, longest, skipped

    def __iter__(self) -> Iterator[NamedPicture]:
        for item in self._items:
            if (picture := self._read(item)) is not None:
                yield picture

    def some(self, count: int = 4) -> list[NamedPicture]:
        """A few, evenly spread over all."""
        chosen = [self._read(self._items[place]) for place in spread(len(self._items), count)]
        return [picture for picture in chosen if picture is not None]

    def _read(self, item: Item) -> NamedPicture | None:
        try:
            pixels = read_image(item, channels=self._channels, as_seen=True)
        except (ImageError, TarError) as error:
            if str(error) not in self.skipped:
                self.skipped = (*self.skipped, str(error))
            return None
        if self._longest is not None:
            pixels = reduced(pixels, self._longest)
        return NamedPicture(f"{item.path.name}, {item.place}" if item.place else item.path.name, pixels)


def open_pictures(path: Path, channels: int | None, *, items: int | None, longest: int | None) -> HeldPictures:
    """The images of a data set that are for test, or those of which nothing says what they are for.

    Args:
        path: A folder of images or any other data set of them.
        channels: 1 for grey, 3 for colour, ``None`` for what each is.
        items: How many, spread evenly over all; ``None`` for all.
        longest: Larger images are reduced to about so many pixels; ``None`` never.

    Raises:
        ValueError: If there are none.
    """
    listing = list_images(path).not_empty()
    known = {item.split for item in listing.items}
    chosen = [item for item in listing.items if item.split == "test" or ("test" not in known and not item.split)]
    if not chosen:
        raise ValueError(f"all images of {path} are for {' or '.join(sorted(known))}: give a folder of others")
    if items is not None:
        chosen = [chosen[place] for place in spread(len(chosen), items)]
    return HeldPictures(tuple(chosen), channels, longest, tuple(map(str, listing.bad)))
