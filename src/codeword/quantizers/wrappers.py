"""What stands around a quantizer: projections, rotations, normalisation, other layouts."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from codeword.functional.matmul import linear
from codeword.quantizers.base import Quantizer
from codeword.quantizers.codebook import Codebook
from codeword.quantizers.config import register
from codeword.quantizers.estimator import Estimator, Rotation, StraightThrough
from codeword.types import Quantized, Selected


@register
class Projected(Quantizer):
    r"""A quantizer in a learned projection (factorised codes: Yu et al. 2022, section 3.2; DAC).

    .. math:: \hat x = W_{out}\, Q(W_{in} x + b_{in}) + b_{out}

    Straight-through passes the gradient inside: W_out (z + sg[Q(z) - z]), so that both projections learn.

    Args:
        quantizer: The quantizer of the projected vectors.
        dim: Features of the vectors outside.
        estimator: How the gradient crosses the search, where this is the outermost quantizer.
    """

    def __init__(self, quantizer: Quantizer, dim: int, *, estimator: Estimator | None = None):
        super().__init__()
        self.quantizer = quantizer
        self.dim, self.sizes, self.gates = dim, quantizer.sizes, quantizer.gates
        self.estimator = estimator or StraightThrough()
        self.project_in = nn.Linear(dim, quantizer.dim)
        self.project_out = nn.Linear(quantizer.dim, dim)

    def select(
        self,
        x: Float[Tensor, "*batch dim"],
        *,
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
        straight: bool = True,
        target: Float[Tensor, "*batch dim"] | None = None,
    ) -> Selected:
        # The two paths have one value, so evaluation and the first stage of a residual project once.
        goal = None if target is None or target is x or not self.training else self._enter(target)
        inner = self.quantizer.select(self._enter(x), mask=mask, gate=gate, straight=straight, target=goal)
        weight, bias = self.project_out.weight, self.project_out.bias
        carrier = None if inner.carrier is None else linear(inner.carrier, weight.detach())
        moved = inner._replace(vectors=linear(inner.vectors, weight), carrier=carrier)
        return _with_offset(moved, bias, gate, straight)

    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        return self.quantizer.search_codes(self._enter(x), depth)

    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        vectors = linear(self.quantizer.decode(codes), self.project_out.weight) + self.project_out.bias
        return torch.where((codes >= 0).any(-1, keepdim=True), vectors, 0.0)

    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        first, *rest = [linear(table, self.project_out.weight) for table in self.quantizer.codebooks()]
        return [first + self.project_out.bias, *rest]

    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        return self.quantizer.scores(self._enter(x), level)

    def check_training(self, estimator: Estimator) -> None:
        if isinstance(estimator, Rotation):
            raise ValueError(
                "Rotation acts on the total vector, so learned projections would get no gradient: "
                "use StraightThrough, or put the projections outside the quantizer"
            )
        books = [part for part in self.quantizer.modules() if isinstance(part, Codebook)]
        if not estimator.straight and books and not any(book.learning.commitment for book in books):
            raise ValueError(
                f"{type(estimator).__name__} passes no gradient into a projection, and without a commitment weight "
                "nothing would train the inner one: use StraightThrough, or learning=Gradient(codebook=0)"
            )
        self.quantizer.check_training(estimator)

    def arguments(self) -> dict[str, object]:
        return {"quantizer": self.quantizer, "dim": self.dim, "estimator": self.estimator}

    def _enter(self, x: Tensor) -> Tensor:
        return linear(x, self.project_in.weight) + self.project_in.bias


@register
class Rotated(Quantizer):
    r"""A quantizer in rotated coordinates; around a product it is optimized product quantization (Ge et al. 2013).

    .. math:: \hat x = R^\top Q(R x), \qquad R^\top R = I

    The rotation is a buffer, started from the identity and learned in closed form by ``codeword.training``.

    Args:
        quantizer: The quantizer of the rotated vectors.
        estimator: How the gradient crosses the search, where this is the outermost quantizer.
    """

    def __init__(self, quantizer: Quantizer, *, estimator: Estimator | None = None):
        super().__init__()
        self.quantizer = quantizer
        self.dim, self.sizes, self.gates = quantizer.dim, quantizer.sizes, quantizer.gates
        self.estimator = estimator or StraightThrough()
        self.register_buffer("rotation", torch.eye(self.dim))

    def select(
        self,
        x: Float[Tensor, "*batch dim"],
        *,
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
        straight: bool = True,
        target: Float[Tensor, "*batch dim"] | None = None,
    ) -> Selected:
        goal = None if target is None or target is x else self._turn(target)
        inner = self.quantizer.select(self._turn(x), mask=mask, gate=gate, straight=straight, target=goal)
        carrier = None if inner.carrier is None else linear(inner.carrier, self.rotation.t())
        return inner._replace(vectors=linear(inner.vectors, self.rotation.t()), carrier=carrier)

    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        return self.quantizer.search_codes(self._turn(x), depth)

    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        return linear(self.quantizer.decode(codes), self.rotation.t())

    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        return [linear(table, self.rotation.t()) for table in self.quantizer.codebooks()]

    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        return self.quantizer.scores(self._turn(x), level)

    def check_training(self, estimator: Estimator) -> None:
        self.quantizer.check_training(estimator)

    def arguments(self) -> dict[str, object]:
        return {"quantizer": self.quantizer, "estimator": self.estimator}

    def _turn(self, x: Tensor) -> Tensor:
        return linear(x, self.rotation)


@register
class Normalized(Quantizer):
    r"""A quantizer of standardised vectors, for features of very different scales.

    .. math:: \hat x = \sigma \circ Q((x - \mu) / \sigma) + \mu

    Mean and deviation are buffers, 0 and 1 until ``standardize`` takes them from data.

    Args:
        quantizer: The quantizer of the standardised vectors.
        estimator: How the gradient crosses the search, where this is the outermost quantizer.
    """

    def __init__(self, quantizer: Quantizer, *, estimator: Estimator | None = None):
        super().__init__()
        self.quantizer = quantizer
        self.dim, self.sizes, self.gates = quantizer.dim, quantizer.sizes, quantizer.gates
        self.estimator = estimator or StraightThrough()
        self.register_buffer("mean", torch.zeros(self.dim))
        self.register_buffer("deviation", torch.ones(self.dim))

    def standardize(self, x: Float[Tensor, "vectors dim"]) -> None:
        """Take mean and deviation from data; features that never change keep a deviation of 1.

        Raises:
            ValueError: If there is no vector, or one that is not finite.
        """
        rows = x.detach().double()
        if not len(rows) or not torch.isfinite(rows).all():
            raise ValueError(
                f"standardize() needs finite vectors, at least one: got {len(rows)} vectors, "
                f"{int((~torch.isfinite(rows)).any(1).sum())} of them not finite"
            )
        self.mean.copy_(rows.mean(0))
        moves = rows.amax(0) > rows.amin(0)
        self.deviation.copy_(torch.where(moves, rows.std(0, correction=0), 1.0))

    def select(
        self,
        x: Float[Tensor, "*batch dim"],
        *,
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
        straight: bool = True,
        target: Float[Tensor, "*batch dim"] | None = None,
    ) -> Selected:
        goal = None if target is None or target is x else self._standard(target)
        inner = self.quantizer.select(self._standard(x), mask=mask, gate=gate, straight=straight, target=goal)
        carrier = None if inner.carrier is None else inner.carrier * self.deviation
        return _with_offset(
            inner._replace(vectors=inner.vectors * self.deviation, carrier=carrier), self.mean, gate, straight
        )

    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        return self.quantizer.search_codes(self._standard(x), depth)

    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        vectors = self.quantizer.decode(codes) * self.deviation + self.mean
        return torch.where((codes >= 0).any(-1, keepdim=True), vectors, 0.0)

    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        first, *rest = [table * self.deviation for table in self.quantizer.codebooks()]
        return [first + self.mean, *rest]

    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        return self.quantizer.scores(self._standard(x), level)

    def check_training(self, estimator: Estimator) -> None:
        self.quantizer.check_training(estimator)

    def arguments(self) -> dict[str, object]:
        return {"quantizer": self.quantizer, "estimator": self.estimator}

    def _standard(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


@register
class ChannelsFirst(nn.Module):
    """A quantizer for maps of shape ``(batch, channels, *positions)``: images, audio features, video.

    Codes come as ``(batch, levels, *positions)``, masks as ``(batch, *positions)``, gates as
    ``(batch, gates, *positions)``.

    Args:
        quantizer: A quantizer of vectors of as many features as there are channels.
    """

    def __init__(self, quantizer: Quantizer):
        super().__init__()
        self.quantizer = quantizer

    def forward(
        self,
        x: Float[Tensor, "batch channels *positions"],
        mask: Bool[Tensor, "batch *positions"] | None = None,
        gate: Float[Tensor, "batch gates *positions"] | None = None,
    ) -> Quantized:
        """Quantize every position."""
        out = self.quantizer(_last(x), mask, None if gate is None else _last(gate))
        return Quantized(_first(out.vectors), _first(out.codes), out.loss)

    def encode(
        self,
        x: Float[Tensor, "batch channels *positions"],
        depth: int | Int[Tensor, "batch *positions"] | None = None,
    ) -> Int[Tensor, "batch levels *positions"]:
        """Codes of every position; ``depth`` is one number of levels for all or one per position."""
        return _first(self.quantizer.encode(_last(x), depth))

    def decode(self, codes: Int[Tensor, "batch levels *positions"]) -> Float[Tensor, "batch channels *positions"]:
        """Maps of codes."""
        return _first(self.quantizer.decode(_last(codes)))

    def arguments(self) -> dict[str, object]:
        """The constructor's arguments by name."""
        return {"quantizer": self.quantizer}


def _with_offset(selected: Selected, offset: Tensor, gate: Tensor | None, straight: bool) -> Selected:
    """Add an offset, as a part of the first level: a vector without any code gets none, and the first gate learns."""
    if gate is None:
        present = (selected.codes >= 0).any(-1, keepdim=True)
        return selected._replace(vectors=torch.where(present, selected.vectors + offset, 0.0))
    first = gate[..., :1]
    if straight:
        return selected._replace(vectors=selected.vectors + first * offset)
    carried = (first - first.detach()) * offset.detach()
    carrier = carried if selected.carrier is None else selected.carrier + carried
    return selected._replace(vectors=selected.vectors + first.detach() * offset, carrier=carrier)


def _last(x: Tensor) -> Tensor:
    return rearrange(x, "batch channels ... -> batch ... channels")


def _first(x: Tensor) -> Tensor:
    return rearrange(x, "batch ... channels -> batch channels ...")
