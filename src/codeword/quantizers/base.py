"""The contract of every quantizer, and the one ``forward`` they share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import ModelHubMixin
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from codeword.functional.matmul import wide
from codeword.functional.ranks import mean_count
from codeword.quantizers.estimator import Estimator
from codeword.quantizers.storage import CONFIG, WEIGHTS, card, fetched, read_module, write_module
from codeword.types import Quantized, Selected

KIND = "quantizer"
_Made = TypeVar("_Made", bound="Quantizer")


class FullPrecisionBuffers(nn.Module):
    """Moves with its model, but keeps its own buffers in their precision: bfloat16 would lose small increments."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FullPrecisionBuffers":
        before = {n: b for n, b in self._buffers.items() if b is not None and b.is_floating_point()}
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            after = self._buffers[name]
            if after is not None and after.dtype != buffer.dtype:
                self._buffers[name] = buffer.to(after.device)
        return self


_CARD = card(
    "A quantizer",
    "Vectors to discrete codes and back, written by codeword. `config.json` says which quantizer it is, and its sizes.",
    "import codeword\n\n"
    'quantizer = codeword.Quantizer.from_pretrained("this folder")\ncodes = quantizer.encode(vectors)',
)


class Quantizer(FullPrecisionBuffers, ModelHubMixin, ABC, library_name="codeword", model_card_template=_CARD):
    """Vectors to codes and back, trainable inside a network.

    ::

        x (*batch, dim) ──┬──────────────► select ──► codes (*batch, levels), losses (*batch)
                          │                   │ codewords
                          └──► estimator ◄────┘
                                   │
                                   ▼
                           vectors (*batch, dim)

    Only the outermost quantizer's ``forward`` uses its estimator; inner ones are asked for ``select``.

    Attributes:
        dim: Features of a vector.
        sizes: Codebook size of every level.
        estimator: How the gradient crosses the search.
        gates: How many gates a vector takes: the stages of a residual quantizer, 0 where there is nothing to gate.
    """

    dim: int
    sizes: tuple[int, ...]
    estimator: Estimator
    gates: int = 0

    def __new__(cls: type[_Made], *args: Any, **kwargs: Any) -> _Made:
        """Refuse a class where one of its objects belongs, in words of our own."""
        for value in (*args, *kwargs.values()):
            if isinstance(value, type):
                raise ValueError(f"{cls.__name__} takes objects, not classes: write {value.__name__}() with brackets")
        return super().__new__(cls, *args, **kwargs)

    @property
    def levels(self) -> int:
        """Codes per vector."""
        return len(self.sizes)

    @property
    def bits_per_vector(self) -> float:
        """Information of a full code, the sum of log2(size)."""
        return sum(math.log2(size) for size in self.sizes)

    def forward(
        self,
        x: Float[Tensor, "*batch dim"],
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
    ) -> Quantized:
        """Quantize inside a network.

        Args:
            x: Vectors.
            mask: True where a vector is real. Padding comes back as zeros and codes of -1 and touches no statistic.
            gate: Non-increasing over levels, 0 or 1 in value; how many levels each vector spends.

        Raises:
            ValueError: If shapes or dtype do not fit, a gate is given to a quantizer without levels to gate, the
                codebook is not seeded in evaluation mode, or nothing would train the codebook.
        """
        self._check(x, mask, gate)
        if not x.is_floating_point():
            raise ValueError(f"a forward returns vectors of the dtype of its input, got {x.dtype}: pass x.float()")
        dtype, x = x.dtype, wide(x)
        if mask is not None:
            x = torch.where(mask.unsqueeze(-1), x, 0.0)  # whatever padding holds reaches no gradient, not even NaN
        straight = self.estimator.straight or not self.training
        selected = self.select(x, mask=mask, gate=gate, straight=straight)
        vectors = selected.vectors if straight else self.estimator(x, selected.vectors)
        if selected.carrier is not None:
            vectors = vectors + selected.carrier
        codes, losses = selected.codes, selected.losses
        if mask is not None:
            vectors = torch.where(mask.unsqueeze(-1), vectors, 0.0)
            codes = torch.where(mask.unsqueeze(-1), codes, -1)
        return Quantized(vectors.to(dtype), codes, _mean_loss(losses, mask) if self.training else losses.new_zeros(()))

    def encode(
        self, x: Float[Tensor, "*batch dim"], depth: int | Int[Tensor, "*batch"] | None = None
    ) -> Int[Tensor, "*batch levels"]:
        """Codes of vectors: deterministic, without gradient, the same however vectors are batched.

        Args:
            x: Vectors.
            depth: Levels to spend, one number for all or one per vector; codes beyond are -1.
        """
        self._check(x, None, None)
        if depth is not None and not self.gates:
            raise ValueError(f"{type(self).__name__} has no levels to leave out: leave depth at None")
        if depth is not None:
            depth = torch.as_tensor(depth, device=x.device)
            if depth.is_floating_point() or depth.shape not in ((), x.shape[:-1]):
                raise ValueError(
                    f"depth is one integer, or one per vector of shape {tuple(x.shape[:-1])}: "
                    f"got {depth.dtype} of shape {tuple(depth.shape)}"
                )
            depth = depth.expand(x.shape[:-1])
            if depth.numel() and (int(depth.min()) < 0 or int(depth.max()) > self.gates):
                raise ValueError(
                    f"depth must lie in 0..{self.gates} for this quantizer, got {int(depth.min())}..{int(depth.max())}"
                )
        with torch.no_grad():
            return self.search_codes(wide(x), depth)

    @abstractmethod
    def select(
        self,
        x: Float[Tensor, "*batch dim"],
        *,
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
        straight: bool = True,
        target: Float[Tensor, "*batch dim"] | None = None,
    ) -> Selected:
        """Codewords for an enclosing quantizer, in one of two gradients.

        Args:
            x: Vectors, with the gradient of the output path.
            mask: True where a vector is real.
            gate: How many levels each vector spends.
            straight: Whether the codewords carry the gradient of ``x`` passed straight through (inside projections);
                otherwise they are differentiable in the codebook.
            target: The values of ``x`` with the gradient of the losses; ``None`` means ``x`` itself.
        """

    @abstractmethod
    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        """The search behind ``encode``; ``depth`` has been checked."""

    @abstractmethod
    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        """Vectors of codes, in float32 at least; a code of -1 adds nothing.

        Raises:
            ValueError: If codes are no integers, the number of levels does not fit or, on the processor, a code lies
                outside its codebook.
        """

    @abstractmethod
    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        """One table per level in the space of ``x``, such that a decoded vector is the sum of its rows.

        Raises:
            ValueError: For a quantizer whose decoder is not such a sum.
        """

    @abstractmethod
    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        """Scores of a level's codewords for soft codes and sampling; the largest is the code of a greedy search."""

    @abstractmethod
    def arguments(self) -> dict[str, object]:
        """The constructor's arguments by name, for the saved configuration."""

    def _check(self, x: Tensor, mask: Tensor | None, gate: Tensor | None) -> None:
        name = type(self).__name__
        if x.shape[-1:] != (self.dim,):
            raise ValueError(
                f"{name} quantizes vectors of {self.dim} features, features last: got shape {tuple(x.shape)}; "
                "ChannelsFirst(quantizer) takes (batch, channels, *positions)"
            )
        if gate is not None and gate.shape != (*x.shape[:-1], self.gates):
            raise ValueError(
                f"{name} takes {f'a gate of shape {(*x.shape[:-1], self.gates)}' if self.gates else 'no gate'}: "
                f"got one of shape {tuple(gate.shape)}"
            )
        if mask is not None and (mask.shape != x.shape[:-1] or mask.dtype != torch.bool):
            raise ValueError(
                f"the mask of {name} must be of torch.bool and have shape {tuple(x.shape[:-1])}, "
                f"got {mask.dtype} and {tuple(mask.shape)}"
            )
        if self.training:
            self.check_training(self.estimator)

    def check_training(self, estimator: Estimator) -> None:
        """Refuse an estimator under which a part would never learn; composed quantizers ask their parts.

        Raises:
            ValueError: Naming the part and the repair.
        """

    def check_levels(self, codes: Tensor) -> None:
        """Refuse codes that are no integers, of another number of levels or, on the processor, of no codeword."""
        if codes.is_floating_point():
            raise ValueError(f"codes are integers, got {codes.dtype}: pass codes.long()")
        if codes.shape[-1] != self.levels:
            raise ValueError(
                f"{type(self).__name__} decodes {self.levels} codes per vector (-1 for absent levels), "
                f"got shape {tuple(codes.shape)}"
            )
        # On the processor alone: elsewhere the host would wait. One pass finds that all is well in the usual case.
        if codes.device.type != "cpu" or torch.compiler.is_compiling() or not codes.numel():
            return
        least, largest = codes.aminmax()
        if int(least) < -1 or int(largest) >= min(self.sizes):
            for level, (size, part) in enumerate(zip(self.sizes, codes.unbind(-1), strict=True)):
                worst = int(part.max() if int(part.max()) >= size else part.min())
                if not -1 <= worst < size:
                    raise ValueError(
                        f"level {level} holds the code {worst}, outside its codebook of size {size}: "
                        "codes are 0 to size - 1, or -1 where a level is absent"
                    )

    def _save_pretrained(self, save_directory: Path) -> None:
        write_module(save_directory, self, KIND)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "Quantizer":
        model = load(fetched(model_id, [CONFIG, WEIGHTS], **options))
        if not isinstance(model, cls):
            raise ValueError(f"{model_id} holds a {type(model).__name__}, not a {cls.__name__}: load it as such")
        return model


def load(folder: str | Path) -> Quantizer:
    """Read a quantizer that ``save_pretrained`` wrote, of whatever class.

    Raises:
        ValueError: If the folder holds no quantizer, or one of a version or shape that does not fit.
    """
    model = read_module(Path(folder), KIND)
    if not isinstance(model, Quantizer):
        raise ValueError(f"{folder} holds a {type(model).__name__}, not a quantizer")
    return model


def _mean_loss(losses: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return losses.mean() if losses.numel() else losses.sum()
    # Divided by the mean count over ranks, so that averaging gradients over ranks gives the mean over all vectors.
    return torch.where(mask, losses, 0.0).sum() / mean_count(mask.sum().float()).clamp_min(1.0)
