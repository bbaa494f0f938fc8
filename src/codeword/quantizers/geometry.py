"""How nearness is measured. A geometry only selects: the codeword that goes on is the stored row."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.matmul import linear, wide
from codeword.functional.nearest import nearest
from codeword.quantizers.config import register


class Geometry(ABC):
    """The contract of a geometry."""

    @abstractmethod
    def search(self, x: Float[Tensor, "*batch dim"], table: Float[Tensor, "size dim"]) -> Int[Tensor, "*batch"]:
        """Index of the codeword of every vector, by the rule of ``codeword.functional.nearest``."""

    @abstractmethod
    def scores(self, x: Float[Tensor, "*batch dim"], table: Float[Tensor, "size dim"]) -> Float[Tensor, "*batch size"]:
        """A score for every codeword, the largest at the one that ``search`` finds; differentiable."""


@register
@dataclass(frozen=True)
class Euclidean(Geometry):
    """Nearest by squared distance. Scores are minus the squared distances."""

    def search(self, x: Float[Tensor, "*batch dim"], table: Float[Tensor, "size dim"]) -> Int[Tensor, "*batch"]:
        return nearest(x, table)

    def scores(self, x: Float[Tensor, "*batch dim"], table: Float[Tensor, "size dim"]) -> Float[Tensor, "*batch size"]:
        table = wide(table)
        mean = table.detach().mean(0)
        x, table = wide(x) - mean, table - mean
        return 2.0 * linear(x, table) - x.square().sum(-1, keepdim=True) - table.square().sum(-1)


@register
@dataclass(frozen=True)
class Cosine(Geometry):
    """Nearest by angle, as in factorised codecs. Scores are cosines."""

    def search(self, x: Float[Tensor, "*batch dim"], table: Float[Tensor, "size dim"]) -> Int[Tensor, "*batch"]:
        return nearest(F.normalize(x.detach().float(), dim=-1), F.normalize(table.detach().float(), dim=-1))

    def scores(self, x: Float[Tensor, "*batch dim"], table: Float[Tensor, "size dim"]) -> Float[Tensor, "*batch size"]:
        return linear(F.normalize(wide(x), dim=-1), F.normalize(wide(table), dim=-1))
