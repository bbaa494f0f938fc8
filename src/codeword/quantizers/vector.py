"""One codebook, one code per vector."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from codeword.functional.gradient import straight_through
from codeword.quantizers.base import Quantizer
from codeword.quantizers.codebook import Codebook
from codeword.quantizers.config import register
from codeword.quantizers.estimator import Estimator, StraightThrough
from codeword.quantizers.geometry import Euclidean, Geometry
from codeword.quantizers.learning import Learning, MovingAverage, SimVQ
from codeword.quantizers.revival import Keep, Revival, ReviveDead
from codeword.quantizers.seeding import KMeans, Seeding, Uniform
from codeword.types import Selected


@register
class VectorQuantizer(Quantizer):
    r"""The nearest codeword of one codebook (van den Oord et al. 2017, equation 1).

    .. math:: \hat x = c_k, \qquad k = \arg\min_j |x - c_j|^2

    Args:
        dim: Features of a vector.
        size: Number of codewords, any number from 1.
        learning: How the codebook learns: ``MovingAverage``, ``Gradient`` or ``SimVQ``.
        seeding: Where it starts: ``KMeans``, ``FromData`` or ``Uniform`` (the one for ``SimVQ``).
        revival: What happens to dead codewords: ``ReviveDead``, ``ReplaceUnused`` or ``Keep`` (the one for ``SimVQ``).
        geometry: ``Euclidean`` or ``Cosine``.
        estimator: How the gradient crosses the search, where this is the outermost quantizer.
    """

    def __init__(
        self,
        dim: int,
        size: int,
        *,
        learning: Learning | None = None,
        seeding: Seeding | None = None,
        revival: Revival | None = None,
        geometry: Geometry | None = None,
        estimator: Estimator | None = None,
    ):
        super().__init__()
        self.dim, self.sizes = dim, (size,)
        self.estimator = estimator or StraightThrough()
        learning = learning or MovingAverage()
        still = isinstance(learning, SimVQ)
        self.codebook = Codebook(
            size,
            dim,
            learning=learning,
            seeding=seeding or (Uniform() if still else KMeans()),
            revival=revival or (Keep() if still else ReviveDead()),
            geometry=geometry or Euclidean(),
        )

    def select(
        self,
        x: Float[Tensor, "*batch dim"],
        *,
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
        straight: bool = True,
        target: Float[Tensor, "*batch dim"] | None = None,
    ) -> Selected:
        target = x if target is None else target
        keep = None if mask is None else mask.reshape(-1)
        table = self.codebook.ready(x.reshape(-1, self.dim), keep)
        index = self.codebook.geometry.search(x, table)
        return self.select_given(x, index, mask=mask, straight=straight, target=target)

    def select_given(
        self,
        x: Float[Tensor, "*batch dim"],
        index: Int[Tensor, "*batch"],
        *,
        mask: Bool[Tensor, "*batch"] | None,
        straight: bool,
        target: Float[Tensor, "*batch dim"],
    ) -> Selected:
        """``select`` for codes that have been chosen already, from a codebook that is ready."""
        codeword = F.embedding(index, self.codebook.vectors)
        if self.training:
            losses, errors = self.codebook.learning.losses(target, codeword)
            keep = None if mask is None else mask.reshape(-1)
            self.codebook.count(target.reshape(-1, self.dim), index.reshape(-1), errors.reshape(-1), keep)
        else:
            losses = torch.zeros(index.shape, device=x.device)
        return Selected(straight_through(x, codeword) if straight else codeword, index.unsqueeze(-1), losses)

    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        return self.codebook.geometry.search(x, self.codebook.stored()).unsqueeze(-1)

    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        self.check_levels(codes)
        return rows_of(codes.squeeze(-1), self.codebook.stored())

    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        return [self.codebook.stored()]

    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        if level != 0:
            raise ValueError(f"a VectorQuantizer has the one level 0, got level {level}")
        return self.codebook.geometry.scores(x, self.codebook.stored())

    def check_training(self, estimator: Estimator) -> None:
        learning = self.codebook.learning
        if estimator.trains_codebook and learning.averaged:
            raise ValueError(
                f"{type(estimator).__name__} trains the codebook through the output, which a moving average cannot "
                "follow: use learning=Gradient(codebook=0, commitment=0)"
            )
        if not estimator.trains_codebook and not learning.trains_alone:
            raise ValueError(
                f"{type(estimator).__name__} gives the codebook no gradient and its codebook weight is 0, so nothing "
                "would train it: use learning=Gradient() or MovingAverage(), or NoiseSubstitution or Directional"
            )

    def arguments(self) -> dict[str, object]:
        c = self.codebook
        return {
            "dim": self.dim,
            "size": c.size,
            "learning": c.learning,
            "seeding": c.seeding,
            "revival": c.revival,
            "geometry": c.geometry,
            "estimator": self.estimator,
        }


def plain_levels(parts: Sequence[Quantizer], search: str) -> list[VectorQuantizer]:
    """The parts, if each is a Euclidean vector quantizer, whose codewords a joint search can add up.

    Raises:
        ValueError: If one is not.
    """
    plain = [p for p in parts if isinstance(p, VectorQuantizer) and isinstance(p.codebook.geometry, Euclidean)]
    if len(plain) != len(parts):
        raise ValueError(
            f"{search} adds up plain codewords: every level must be a Euclidean VectorQuantizer; a residual quantizer "
            "with search=Greedy() takes projected, cosine and composed stages"
        )
    return plain


def ready_tables(
    levels: Sequence[VectorQuantizer], x: Float[Tensor, "vectors dim"], keep: Bool[Tensor, " vectors"] | None
) -> list[Float[Tensor, "_ dim"]]:
    """The tables of levels that are searched together; where some have no start yet, each is seeded on residuals."""
    fresh = any(not level.codebook.is_seeded for level in levels)
    tables: list[Tensor] = []
    for level in levels:
        table = level.codebook.ready(x, keep).detach()
        tables.append(table)
        if fresh:
            x = x - F.embedding(level.codebook.geometry.search(x, table), table)
    return tables


def rows_of(index: Int[Tensor, "*batch"], table: Float[Tensor, "size dim"]) -> Float[Tensor, "*batch dim"]:
    """Rows of a table; zeros for an index of -1."""
    index = index.long()
    # A row of zeros at the end costs a copy of the table, a mask afterwards one of the vectors.
    return F.embedding(torch.where(index >= 0, index, len(table)), F.pad(table, (0, 0, 0, 1)))
