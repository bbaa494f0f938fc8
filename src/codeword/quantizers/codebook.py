"""A table of codewords with the statistics that keep it alive."""

import json
import math
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from codeword.functional.matmul import linear, wide
from codeword.quantizers import statistics
from codeword.quantizers.base import FullPrecisionBuffers
from codeword.quantizers.config import describe
from codeword.quantizers.geometry import Geometry
from codeword.quantizers.learning import Learning, SimVQ
from codeword.quantizers.revival import Keep, Revival
from codeword.quantizers.seeding import Seeding

# What only training needs, and its value where codewords have just been assigned.
_FRESH = {
    "usage": 1.0,
    "batches": 0.0,
    "pending_counts": 0.0,
    "pending_sums": 0.0,
    "pending_rows": 0,
    "places": 0.0,
    "place_keys": -math.inf,
    "place_errors": -math.inf,
    "average_counts": 1.0,
}


class Codebook(FullPrecisionBuffers):
    """Codewords, how they start, learn and are revived.

    A training forward only adds to the pending statistics; the table changes in ``settle``, once per optimizer step:
    from ``codeword.update``, or, for who never calls it, at the start of the next training forward.

    Args:
        size: Number of codewords, any number from 1.
        dim: Features of a codeword.
        learning: How the table learns.
        seeding: Where it starts.
        revival: What happens to unused codewords.
        geometry: How nearness is measured.

    Buffers:
        table: The codewords (a parameter where they learn by gradient).
        usage: Smoothed usage as a ratio of uniform usage.
        batches: Steps in which a codeword occurred since the last published replacement.
        steps: Optimizer steps seen.
        seeded: Whether the table has its start; mirrored by a Python bool, since a tensor cannot steer a graph.
        pending_*: Counts, sums and rows seen since the last step.
        place*: Badly served data vectors, their draw keys and errors: where dead codewords may go.
        average_*: Moving averages of counts and sums.
        moved: Which rows the last revival overwrote.
    """

    training_only: ClassVar[frozenset[str]] = frozenset({*_FRESH, "average_sums"})

    def __init__(
        self, size: int, dim: int, *, learning: Learning, seeding: Seeding, revival: Revival, geometry: Geometry
    ):
        super().__init__()
        if size < 1 or dim < 1:
            raise ValueError(f"a codebook needs at least 1 codeword and 1 feature, got size={size}, dim={dim}")
        if isinstance(learning, SimVQ) and (seeding.needs_data or not isinstance(revival, Keep)):
            raise ValueError(
                "SimVQ never moves its table, so data can neither seed it nor revive its rows: "
                f"use seeding=Uniform(), revival=Keep(), not {type(seeding).__name__} and {type(revival).__name__}"
            )
        self.size, self.dim = size, dim
        self.learning, self.seeding, self.revival, self.geometry = learning, seeding, revival, geometry
        self.settings = json.dumps([describe(part) for part in (learning, seeding, revival, geometry)])
        self.managed = False
        self._seeded = not seeding.needs_data
        table = torch.zeros(size, dim) if seeding.needs_data else seeding(torch.empty(0, dim), size, False)
        averaged = size if learning.averaged else 0
        places = min(revival.candidates, size)
        if isinstance(learning, SimVQ):
            generator = torch.Generator().manual_seed(seeding.seed)
            table = torch.randn(size, dim, generator=generator) / math.sqrt(dim)
            self.transform = nn.Parameter(torch.eye(dim))
        if learning.averaged or isinstance(learning, SimVQ):
            self.register_buffer("table", table)
        else:
            self.table = nn.Parameter(table)
        self.register_buffer("usage", torch.ones(size))
        self.register_buffer("batches", torch.zeros(size))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        # These two are numbers, not bools, because averages of models subtract what they average.
        self.register_buffer("seeded", torch.tensor(float(self._seeded)))
        self.register_buffer("pending_counts", torch.zeros(size))
        self.register_buffer("pending_sums", torch.zeros(averaged, dim))
        self.register_buffer("pending_rows", torch.zeros((), dtype=torch.int64))
        self.register_buffer("places", torch.zeros(places, dim))
        self.register_buffer("place_keys", torch.full((places,), -math.inf))
        self.register_buffer("place_errors", torch.full((places,), -math.inf))
        self.register_buffer("average_counts", torch.ones(averaged))
        self.register_buffer("average_sums", table[:averaged].clone())
        self.register_buffer("moved", torch.zeros(size), persistent=False)
        self.register_load_state_dict_pre_hook(_without_statistics)
        self.register_load_state_dict_post_hook(_mirror_seeded)

    @property
    def vectors(self) -> Float[Tensor, "size dim"]:
        """The codewords in float32 at least, differentiable in whatever learns."""
        if isinstance(self.learning, SimVQ):
            return linear(self.table.clone(), self.transform)  # a copy: a later settle counts the table as changed
        return wide(self.table)

    @property
    def is_seeded(self) -> bool:
        """Whether the codewords have been given their start."""
        # Whoever copies buffers one by one, as averages of models do, leaves the mirror behind. Reading the buffer
        # waits for the device, but only where there is no start yet.
        if not self._seeded and not torch.compiler.is_compiling():
            self._seeded = bool(self.seeded)
        return self._seeded

    def ready(
        self, x: Float[Tensor, "vectors dim"], keep: Bool[Tensor, " vectors"] | None
    ) -> Float[Tensor, "size dim"]:
        """The codewords to search among; in training, seeded and brought up to date first.

        Raises:
            ValueError: In evaluation mode, if nothing has seeded the codebook.
        """
        if not self.training:
            return self.stored()
        if not self.is_seeded:
            keep = torch.ones(len(x), dtype=torch.bool, device=x.device) if keep is None else keep
            statistics.seed(x.detach(), keep, self._state(), self.settings)
            self._seeded = True
        elif not self.managed:
            statistics.settle(self._state(), self.settings)
        return self.vectors

    def stored(self) -> Float[Tensor, "size dim"]:
        """The codewords as they are, to encode and decode with.

        Raises:
            ValueError: If nothing has seeded the codebook.
        """
        if not self.is_seeded:
            raise ValueError(
                "this codebook has no codewords yet: run one training forward, call codeword.seed(model, batch), "
                "train it with codeword.training, or load weights"
            )
        return self.vectors

    def count(
        self,
        x: Float[Tensor, "vectors dim"],
        codes: Int[Tensor, " vectors"],
        errors: Float[Tensor, " vectors"],
        keep: Bool[Tensor, " vectors"] | None,
    ) -> None:
        """Add one training forward to the pending statistics; padding and rows that are not finite stay out.

        A codebook in evaluation mode inside a model in training is frozen: it counts nothing.
        """
        if not self.training:
            return
        pending = [getattr(self, name) for name in statistics.Pending._fields]
        key = statistics.step_key(self.steps, self.seeding.seed)
        statistics.count(x.detach(), codes, errors.detach(), keep, key, pending)

    def assign(self, vectors: Float[Tensor, "size dim"]) -> None:
        """Overwrite all codewords, moving averages included: what a trainer of matrices ends with."""
        if vectors.shape != self.table.shape:
            raise ValueError(f"this codebook holds {tuple(self.table.shape)}, got {tuple(vectors.shape)}")
        with torch.no_grad():
            if isinstance(self.learning, SimVQ):
                vectors = torch.linalg.solve(self.transform.detach().double(), vectors.double().t()).t()
            self.table.copy_(vectors)
            self.average_sums.copy_(self.table[: len(self.average_sums)])
            self.average_counts.fill_(1.0)
            self.usage.fill_(1.0)
            self.seeded.fill_(True)
        self._seeded = True
        self.forget_pending()

    def forget_pending(self) -> None:
        """Drop what training forwards have added since the last step."""
        for name in ("pending_counts", "pending_sums", "pending_rows", "places"):
            getattr(self, name).zero_()
        self.place_keys.fill_(-math.inf)
        self.place_errors.fill_(-math.inf)

    def _state(self) -> list[Tensor]:
        return [
            self.table.detach(),
            *(getattr(self, name) for name in statistics.State._fields[1:]),
        ]


def _without_statistics(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """A state that was saved for use alone is loaded as if its codewords had just been assigned."""
    assert isinstance(module, Codebook)
    table = state.get(f"{prefix}table")
    if table is None or any(f"{prefix}{name}" in state for name in module.training_only):
        return
    for name, value in _FRESH.items():
        state[f"{prefix}{name}"] = torch.full_like(getattr(module, name), value)
    state[f"{prefix}average_sums"] = table[: len(module.average_sums)].detach().clone()


def _mirror_seeded(module: nn.Module, _incompatible: Any) -> None:
    if isinstance(module, Codebook):
        module._seeded = bool(module.seeded)
