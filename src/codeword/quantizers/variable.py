"""A residual quantizer whose depth follows the importance of every vector."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from codeword.functional.allocation import clamp_gate, depth, hard_gate, margins, smooth_gate, straight_gate
from codeword.quantizers.base import Quantizer
from codeword.quantizers.config import register
from codeword.types import Quantized


class Surrogate(ABC):
    """The contract of what stands in for the threshold in derivative."""

    @abstractmethod
    def __call__(self, margin: Float[Tensor, "*batch levels"]) -> Float[Tensor, "*batch levels"]:
        """A soft gate of importance times scale less the number of the level."""


@register
@dataclass(frozen=True)
class Smooth(Surrogate):
    """The paper's smooth stand-in: ``codeword.functional.allocation.smooth_gate``.

    Attributes:
        alpha: How steep. The paper: at most 1 is good above 3 kbps, larger ones favour low rates.
        shift: 0.5 as in the published code, or 1.0 for the limit that the paper states.
    """

    alpha: float = 1.0
    shift: float = 0.5

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise ValueError(f"alpha of a Smooth surrogate must be positive, got {self.alpha}")

    def __call__(self, margin: Float[Tensor, "*batch levels"]) -> Float[Tensor, "*batch levels"]:
        return smooth_gate(margin, self.alpha, shift=self.shift)


@register
@dataclass(frozen=True)
class Clamp(Surrogate):
    """The paper's baseline: ``codeword.functional.allocation.clamp_gate``."""

    def __call__(self, margin: Float[Tensor, "*batch levels"]) -> Float[Tensor, "*batch levels"]:
        return clamp_gate(margin)


class Mixed(NamedTuple):
    """Gates of a batch of which some items spend by importance and others the same everywhere.

    Attributes:
        gate: 1 where a level is spent.
        rate: Mean importance of the items that spend by it, a loss to weigh; 0 if there are none.
    """

    gate: Float[Tensor, "batch *places levels"]
    rate: Float[Tensor, ""]


class Allocation:
    """How importance becomes levels.

    The scale is l of the paper: at l = levels and importance near 1 everything is spent. It is the one knob of the
    rate. The ``level`` of the authors' code is ``scale / levels``.

    Args:
        levels: How many there are.
        surrogate: What stands in for the threshold in derivative.
    """

    def __init__(self, levels: int, surrogate: Surrogate | None = None):
        self.gates, self.surrogate = levels, surrogate or Smooth()

    @property
    def scales(self) -> tuple[float, float]:
        """The least and the largest scale: 1 and six times the number of levels, the paper's range."""
        return 1.0, 6.0 * self.gates

    def check_scale(self, scale: Float[Tensor, "*_"] | float) -> None:
        """Refuse a scale that no training sees.

        Raises:
            ValueError: Naming the range.
        """
        least, most = self.scales
        given = torch.as_tensor(scale)
        if given.numel() and not (least <= float(given.min()) and float(given.max()) <= most):
            raise ValueError(
                f"scales lie between {least:g} and {most:g} for {self.gates} levels, "
                f"got {float(given.min()):g}" + (f" to {float(given.max()):g}" if given.numel() > 1 else "")
            )

    def gate(
        self, importance: Float[Tensor, "*batch"], scale: Float[Tensor, "*#batch"] | float
    ) -> Float[Tensor, "*batch gates"]:
        """The hard gate, with the surrogate's derivative."""
        margin = margins(importance, scale, self.gates)
        return straight_gate(hard_gate(margin), self.surrogate(margin))

    def depth(
        self, importance: Float[Tensor, "*batch"], scale: Float[Tensor, "*#batch"] | float
    ) -> Int[Tensor, "*batch"]:
        """Levels that every vector spends, at least one."""
        return depth(importance, scale, self.gates)

    def constant(self, depth: Int[Tensor, "*items"], places: Sequence[int]) -> Float[Tensor, "*places gates"]:
        """The gate of items that spend a depth everywhere.

        Args:
            depth: Of every item, or one of all.
            places: The shape of the batch: items, and places of each.
        """
        spent = torch.arange(self.gates, device=depth.device) < depth.view(-1, *[1] * len(places))
        return spent.float().expand(*places, self.gates)

    def mixed(
        self,
        importance: Float[Tensor, "batch *places"] | None,
        scale: Float[Tensor, " batch"],
        depth: Int[Tensor, " batch"],
        places: Sequence[int],
    ) -> Mixed:
        """The gate of a training step.

        Args:
            importance: Of every vector; ``None`` if every item has a depth.
            scale: Of the items that follow their importance.
            depth: Of the others; 0 where the importance decides.
            places: The shape of the batch.
        """
        gate = self.constant(depth.clamp_min(1), places)
        if importance is None:
            return Mixed(gate, torch.zeros((), device=depth.device))
        varies = (depth == 0).view(-1, *[1] * (importance.ndim - 1))
        variable = self.gate(importance, scale.view(varies.shape))
        rate = torch.where(varies, importance, 0.0).sum() / (varies.sum().clamp_min(1) * importance[0].numel())
        return Mixed(torch.where(varies.unsqueeze(-1), variable, gate), rate)


class VariableQuantizer(nn.Module, Allocation):
    """Quantizes every vector with as many levels as its importance, given with it, buys at a scale.

    ::

        importance (*batch) ──► times scale ──► depth 1 ... levels ──┐ gate, soft in derivative
                                                                     ▼
        x (*batch, dim) ────────────────────────────────► residual quantizer ──► Quantized

    Args:
        quantizer: Any quantizer with gates, a ``ResidualQuantizer`` above all.
        surrogate: What stands in for the threshold in derivative.
    """

    def __init__(self, quantizer: Quantizer, *, surrogate: Surrogate | None = None):
        nn.Module.__init__(self)
        check_gates(quantizer)
        Allocation.__init__(self, quantizer.gates, surrogate)
        self.quantizer = quantizer

    def forward(
        self,
        x: Float[Tensor, "*batch dim"],
        importance: Float[Tensor, "*batch"],
        scale: Float[Tensor, "*#batch"] | float,
        mask: Bool[Tensor, "*batch"] | None = None,
    ) -> Quantized:
        """Quantize inside a network; the loss leaves out the rate, which is the mean importance."""
        return self.quantizer(x, mask, self.gate(importance, scale))

    def encode(
        self,
        x: Float[Tensor, "*batch dim"],
        importance: Float[Tensor, "*batch"],
        scale: Float[Tensor, "*#batch"] | float,
    ) -> Int[Tensor, "*batch levels"]:
        """Codes at a scale, -1 beyond the depth of a vector.

        Raises:
            ValueError: If the scale lies beyond the range.
        """
        self.check_scale(scale)
        return self.quantizer.encode(x, self.depth(importance, scale))


def check_gates(quantizer: Quantizer) -> None:
    """Refuse a quantizer that has no levels to leave out."""
    if not quantizer.gates:
        raise ValueError(f"a variable depth needs levels to leave out: {type(quantizer).__name__} has none")
