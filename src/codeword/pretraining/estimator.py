"""What predicts a teacher's vectors from quantized ones, so that a tokenizer knows what it has to keep."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn

from codeword.nn.positions import sincos
from codeword.nn.transformer import Transformer
from codeword.quantizers.config import register


@register
@dataclass(frozen=True, kw_only=True)
class EstimatorConfig:
    """The shape of an estimator.

    Attributes:
        dim: Channels.
        depth: Blocks.
        heads: Heads of attention.
    """

    dim: int = 768
    depth: int = 3
    heads: int = 12


class Estimator(nn.Module):
    """Quantized vectors and their places, through a few blocks, to vectors of the teacher.

    Args:
        config: Its shape.
        quantized: Features of a quantized vector.
        teacher: Features of a teacher's vector.
    """

    def __init__(self, config: EstimatorConfig, quantized: int, teacher: int):
        super().__init__()
        self.config = config
        self.first = nn.Linear(quantized, config.dim)
        self.blocks = Transformer(config.dim, config.depth, config.heads)
        self.last = nn.Linear(config.dim, teacher)

    def forward(
        self,
        vectors: Float[Tensor, "batch patches quantized"],
        grid: tuple[int, ...],
        valid: Bool[Tensor, "batch patches"] | None = None,
    ) -> Float[Tensor, "batch patches teacher"]:
        y = self.first(vectors) + sincos(grid, self.config.dim).to(vectors)
        return self.last(self.blocks(y, valid).tokens)
