"""Images of any size to codes and importance, and codes to images, tile by tile.

::

    ┌───────────┐
    │  around   │     networks see a tile and the latents around it that it depends on; only the tile is kept, so that
    │ ┌───────┐ │     tiles together are what the whole image would give
    │ │ tile  │ │
    │ └───────┘ │
    └───────────┘
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from codeword.codecs.image.model import ImageModel
from codeword.codecs.image.training import from_bytes, to_bytes
from codeword.functional.threads import one_thread

TILE = 96  # latents down and across


class CodedImage(NamedTuple):
    """An image in codes.

    Attributes:
        codes: Of all levels: a greedy residual code of fewer levels is a prefix.
        importance: Of every latent; ``None`` from a model of constant depth.
    """

    codes: Int[Tensor, "rows columns levels"]
    importance: Float[Tensor, "rows columns"] | None


class _Tile(NamedTuple):
    """A stretch of latents along one axis: what is kept, and what networks see."""

    start: int
    stop: int
    first: int
    last: int


class ImageTransform:
    """A model on images of any size, in memory that grows by their codes alone.

    Args:
        model: A trained model.
        tile: Latents of a tile, down and across.
    """

    def __init__(self, model: ImageModel, *, tile: int = TILE):
        if tile < 1:
            raise ValueError(f"a tile has at least one latent, got {tile}")
        self.model, self.tile = model.eval(), tile

    def encode(self, image: UInt8[Tensor, "channels height width"]) -> CodedImage:
        """Codes of an image; its last row and column fill up the last latents."""
        step = self.model.step
        rows, columns = -(-image.shape[1] // step), -(-image.shape[2] // step)
        codes = torch.empty(rows, columns, self.model.levels, dtype=torch.int32)
        importance = None if self.model.importance is None else torch.empty(rows, columns)
        for down in self._tiles(rows, self.model.reach[0]):
            for across in self._tiles(columns, self.model.reach[0]):
                made = self._encode(image, down, across)
                place = slice(down.start, down.stop), slice(across.start, across.stop)
                codes[place] = made.codes.int()
                if importance is not None and made.importance is not None:
                    importance[place] = made.importance
        return CodedImage(codes, importance)

    def decode(
        self, codes: Int[Tensor, "rows columns levels"], size: tuple[int, int]
    ) -> Iterator[UInt8[Tensor, "channels _ width"]]:
        """The image of codes in bands, from top to bottom.

        Args:
            codes: -1 beyond the depth of a place.
            size: Height and width of the image.
        """
        height, width = size
        step = self.model.step
        for down in self._tiles(codes.shape[0], self.model.reach[1]):
            tiles = [self._decode(codes, down, across) for across in self._tiles(codes.shape[1], self.model.reach[1])]
            yield torch.cat(tiles, -1)[:, : height - step * down.start, :width]

    def _tiles(self, count: int, reach: int) -> list[_Tile]:
        starts = range(0, count, self.tile)
        return [
            _Tile(start, stop, max(0, start - reach), min(count, stop + reach))
            for start, stop in ((start, min(count, start + self.tile)) for start in starts)
        ]

    @torch.inference_mode()
    @one_thread()
    def _encode(self, image: UInt8[Tensor, "channels height width"], down: _Tile, across: _Tile) -> CodedImage:
        step, device = self.model.step, next(self.model.parameters()).device
        pixels = image[:, step * down.first : step * down.last, step * across.first : step * across.last]
        latents, importance = self.model.analyse(from_bytes(pixels.to(device)).unsqueeze(0))
        kept = _kept(down, across)
        codes = self.model.quantizer.encode(latents[0][kept])
        return CodedImage(codes, None if importance is None else importance[0][kept])

    @torch.inference_mode()
    def _decode(self, codes: Int[Tensor, "rows columns levels"], down: _Tile, across: _Tile) -> UInt8[Tensor, "..."]:
        seen = codes[down.first : down.last, across.first : across.last]
        vectors = self.model.quantizer.decode(seen.long().to(next(self.model.parameters()).device))
        made = to_bytes(self.model.synthesise(vectors.unsqueeze(0))[0]).cpu()
        rows, columns = (
            slice(self.model.step * part.start, self.model.step * part.stop) for part in _kept(down, across)
        )
        return made[:, rows, columns]


def _kept(down: _Tile, across: _Tile) -> tuple[slice, slice]:
    """Of what networks see, the tile itself."""
    rows, columns = (slice(part.start - part.first, part.stop - part.first) for part in (down, across))
    return rows, columns
