"""The stage of a published variant of residual quantization, for comparison."""

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from codeword.functional.gradient import straight_through
from codeword.functional.matmul import wide
from codeword.quantizers.base import Quantizer
from codeword.quantizers.config import register
from codeword.quantizers.estimator import Estimator, StraightThrough
from codeword.quantizers.geometry import Cosine
from codeword.quantizers.vector import VectorQuantizer, rows_of
from codeword.types import Selected


@register
class UnitScale(Quantizer):
    r"""The codeword of length 1 whose direction is nearest to that of a vector; the vector's length is lost.

    .. math:: \hat x = c_k, \qquad k = \arg\min_j \Big| \frac{x}{|x|} - c_j \Big|^2, \qquad |c_j| = 1

    As the stages of a :class:`ResidualQuantizer` this is the rule in BRIDLE's code: every stage normalises its
    residual, and what it finds is subtracted from the residual as it was,

    .. math:: u_m = r_m / |r_m|, \quad k_m = \arg\min_j |u_m - c_{m,j}|^2, \quad r_{m+1} = r_m - c_{m,k_m}

    Where vectors are much longer than 1, all stages see nearly the same direction, and their codes are an ensemble of
    codes of one vector. Where vectors have length 1, every second stage subtracts more than there is.

    Args:
        quantizer: Of directions, by angle: start, averages, losses and dead codewords know nothing else.
        estimator: How the gradient crosses the search, where this is the outermost quantizer.

    Raises:
        ValueError: If the quantizer goes by distance.

    Note:
        Straight-through passes the gradient past the normalisation, as the published code does. The codewords of that
        code have length 1 at the start, and nearly so afterwards.
    """

    def __init__(self, quantizer: VectorQuantizer, *, estimator: Estimator | None = None):
        super().__init__()
        if not isinstance(quantizer.codebook.geometry, Cosine):
            raise ValueError("UnitScale takes a quantizer of directions: build it with geometry=Cosine()")
        self.quantizer = quantizer
        self.dim, self.sizes = quantizer.dim, quantizer.sizes
        self.estimator = estimator or StraightThrough()

    def direction(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Vectors of length 1, in float32 at least."""
        return F.normalize(wide(x), dim=-1)

    def select(
        self,
        x: Float[Tensor, "*batch dim"],
        *,
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
        straight: bool = True,
        target: Float[Tensor, "*batch dim"] | None = None,
    ) -> Selected:
        goal = None if target is None or target is x else self.direction(target)
        found = self.quantizer.select(self.direction(x), mask=mask, straight=False, target=goal)
        codeword = self.decode(found.codes)
        return found._replace(vectors=straight_through(x, codeword) if straight else codeword)

    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        return self.quantizer.search_codes(self.direction(x), depth)

    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        self.check_levels(codes)
        return rows_of(codes.squeeze(-1), self.codebooks()[0])

    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        return [self.direction(table) for table in self.quantizer.codebooks()]

    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        return self.quantizer.scores(self.direction(x), level)

    def check_training(self, estimator: Estimator) -> None:
        self.quantizer.check_training(estimator)

    def arguments(self) -> dict[str, object]:
        return {"quantizer": self.quantizer, "estimator": self.estimator}
