"""Which of FAISS's codecs a quantizer is, and the quantizer that one of FAISS's codecs is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.functional.bits import code_width
from codeword.quantizers.additive import AdditiveQuantizer
from codeword.quantizers.base import Quantizer
from codeword.quantizers.geometry import Euclidean
from codeword.quantizers.product import ProductQuantizer
from codeword.quantizers.residual import ResidualQuantizer
from codeword.quantizers.search import Beam, Greedy
from codeword.quantizers.vector import VectorQuantizer


@dataclass(frozen=True, eq=False, kw_only=True)
class Family:
    """A codec of FAISS with its codebooks.

    Attributes:
        kind: ``product``, ``residual``, ``product residual``, or ``additive`` for any other sum of codewords.
        codebooks: One table per level, in the space of its own block of features.
        blocks: Blocks of features; each has as many levels.
        beam: Width of the search that encodes; of no meaning for ``product`` and ``additive``.
    """

    kind: Literal["product", "residual", "product residual", "additive"]
    codebooks: Sequence[Float[Tensor, "_ block"]]
    blocks: int = 1
    beam: int = 1

    @property
    def dim(self) -> int:
        """Features of a vector."""
        return self.codebooks[0].shape[1] * self.blocks

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codebook size of every level."""
        return tuple(len(table) for table in self.codebooks)

    @property
    def widths(self) -> tuple[int, ...]:
        """Bits of the code of every level."""
        return tuple(code_width(size) for size in self.sizes)


def family_of(quantizer: Quantizer) -> Family:
    """The codec of FAISS that decodes like a quantizer and, but for ``additive``, encodes like it.

    Raises:
        ValueError: If a codebook size is no power of two, or the decoder is no sum of codewords.
    """
    family = _family_of(quantizer)
    wrong = [size for size in family.sizes if size < 2 or size & (size - 1)]
    if wrong:
        raise ValueError(
            f"FAISS stores codes in whole bits: codebook sizes must be powers of two from 2, got {wrong[0]}"
        )
    return family


def _family_of(quantizer: Quantizer) -> Family:
    parts = list(quantizer.parts) if isinstance(quantizer, ProductQuantizer) else [quantizer]
    shapes = {(part.dim, part.sizes) for part in parts if isinstance(part, Quantizer)}
    plain = [_plain(part) for part in parts]
    tables = [table for levels in plain if levels is not None for table in levels]
    if len(shapes) != 1 or any(levels is None for levels in plain):
        return Family(kind="additive", codebooks=quantizer.codebooks())
    if all(isinstance(part, VectorQuantizer) for part in parts):
        # FAISS counts one width for all sub-quantizers of a product; here they have one shape.
        return Family(kind="product", codebooks=tables, blocks=len(parts))
    beams = {_beam(part) for part in parts}
    if len(parts) == 1:
        return Family(kind="residual", codebooks=tables, beam=max(beams))
    if len(beams) == 1 and len({len(table) for table in tables}) == 1:
        return Family(kind="product residual", codebooks=tables, blocks=len(parts), beam=max(beams))
    return Family(kind="additive", codebooks=quantizer.codebooks())


def _plain(part: object) -> list[Tensor] | None:
    """The codebooks of a vector quantizer or of residual stages of them, all Euclidean."""
    stages = list(part.stages) if isinstance(part, ResidualQuantizer) else [part]
    levels = [s for s in stages if isinstance(s, VectorQuantizer) and isinstance(s.codebook.geometry, Euclidean)]
    return [level.codebook.stored().detach() for level in levels] if len(levels) == len(stages) else None


def _beam(part: object) -> int:
    search = part.search if isinstance(part, ResidualQuantizer) else None
    return search.width if isinstance(search, Beam) else 1


def quantizer_of(family: Family) -> Quantizer:
    """A quantizer with the codebooks of one of FAISS's codecs, and for the rest the defaults of its class."""
    levels = [_level(table) for table in family.codebooks]
    each = len(levels) // family.blocks
    if family.kind == "product":
        return (levels[0] if len(levels) == 1 else ProductQuantizer(levels)).eval()
    if family.kind == "additive":
        return AdditiveQuantizer(levels).eval()
    search = Greedy() if family.beam == 1 else Beam(family.beam)
    parts = [ResidualQuantizer(levels[i : i + each], search=search) for i in range(0, len(levels), each)]
    return (parts[0] if len(parts) == 1 else ProductQuantizer(parts)).eval()


def _level(table: Tensor) -> VectorQuantizer:
    size, dim = table.shape
    level = VectorQuantizer(dim, size)
    level.codebook.assign(torch.as_tensor(table))
    return level
