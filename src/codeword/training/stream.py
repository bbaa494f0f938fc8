"""Vectors that pass by in chunks, as often as a trainer asks: in memory or larger than it."""

import zlib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.functional.ranks import gather_rows, rank, sum_over_ranks_


@runtime_checkable
class VectorData(Protocol):
    """What can be trained on besides a tensor, such as ``codeword.data.vectors.VectorSource``."""

    @property
    def dim(self) -> int:
        """Features of a vector."""

    def __len__(self) -> int: ...

    def chunks(self, rows: int = ...) -> Iterator[Float[Tensor, "_ dim"]]:
        """All vectors in order, ``rows`` at a time."""


class Chunk(NamedTuple):
    """Consecutive vectors of a stream.

    Attributes:
        rows: Their place in the stream.
        vectors: The vectors.
        weights: Their weights, or ``None`` where every vector weighs 1.
    """

    rows: slice
    vectors: Float[Tensor, "count dim"]
    weights: Float[Tensor, " count"] | None


class Moments(NamedTuple):
    """Statistics of a stream over all ranks.

    Attributes:
        weight: Summed weight.
        mean: Mean vector, in float32: what is taken off before anything is computed.
        deviation: Standard deviation of every feature.
    """

    weight: float
    mean: Float[Tensor, " dim"]
    deviation: Float[Tensor, " dim"]


class VectorStream:
    """Vectors with weights, read chunk by chunk; every process of a group holds its own share.

    Args:
        data: A tensor (vectors, dim) or anything with ``dim``, ``len`` and ``chunks``.
        weights: Weight of every vector; 1 if not given. Vectors of weight 0 are left out, as if they were not there.
        change: Applied to every chunk, row by row.
        chunk: Vectors read at once.
        device: Where chunks are handed out; by default where the data is.
    """

    def __init__(
        self,
        data: VectorData | Float[Tensor, "count dim"],
        weights: Float[Tensor, " count"] | None = None,
        *,
        change: Callable[[Tensor], Tensor] | None = None,
        chunk: int = 32768,
        device: torch.device | None = None,
    ):
        if not isinstance(data, Tensor | VectorData):
            raise ValueError(
                f"vectors come as a tensor or an open file, got {type(data).__name__}: torch.from_numpy(array) makes "
                "the one, codeword.data.vectors.open_vectors(path) the other"
            )
        if isinstance(data, Tensor) and data.ndim != 2:
            raise ValueError(f"vectors come as a matrix (vectors, features): got shape {tuple(data.shape)}")
        if weights is not None:
            usable = (
                weights.shape == (len(data),) and bool(torch.isfinite(weights).all()) and bool((weights >= 0).all())
            )
            if not usable or not (weights > 0).any():
                raise ValueError(
                    f"weights must be one finite number >= 0 per vector, not all zero: got shape {tuple(weights.shape)}"
                    f" for {len(data)} vectors"
                )
        self.data, self.weights, self.change, self.chunk = data, weights, change, chunk
        own = data.device if isinstance(data, Tensor) else torch.device("cpu")
        self.device = own if device is None else device
        self._count = len(data) if weights is None else int((weights > 0).sum())

    def __len__(self) -> int:
        return self._count

    @cached_property
    def dim(self) -> int:
        """Features of a vector, after the change."""
        features = self.data.shape[1] if isinstance(self.data, Tensor) else self.data.dim
        return features if self.change is None else self.change(torch.zeros(1, features, device=self.device)).shape[1]

    def __iter__(self) -> Iterator[Chunk]:
        first = start = 0  # rows of the data, and those of them that weigh something
        parts = self.data.split(self.chunk) if isinstance(self.data, Tensor) else self.data.chunks(self.chunk)
        for part in parts:
            weights, rows = None, part.detach()
            if self.weights is not None:
                own = self.weights[first : first + len(part)]
                rows, weights = rows[(own > 0).to(rows.device)], own[own > 0].to(self.device, torch.float32)
            first += len(part)
            if not len(rows):
                continue
            vectors = rows.to(self.device, torch.float32)
            vectors = vectors if self.change is None else self.change(vectors)
            yield Chunk(slice(start, start + len(rows)), vectors, weights)
            start += len(rows)

    def changed(self, change: Callable[[Tensor], Tensor]) -> "VectorStream":
        """The same vectors, each changed by a function."""
        first = self.change
        both = change if first is None else lambda vectors: change(first(vectors))
        return VectorStream(self.data, self.weights, change=both, chunk=self.chunk, device=self.device)

    @cached_property
    def moments(self) -> Moments:
        """Weight, mean and deviation, from one pass that also refuses what is not finite.

        Raises:
            ValueError: If a vector of any rank is not finite, or if no rank has a vector.
        """
        total = torch.zeros(3, self.dim, dtype=torch.float64, device=self.device)
        bad = None
        for chunk in self:
            wrong = ~torch.isfinite(chunk.vectors).all(1)
            if wrong.any():
                bad = self._row(chunk.rows.start + int(wrong.nonzero()[0]))
                break
            x = chunk.vectors.double()
            w = torch.ones_like(x[:, :1]) if chunk.weights is None else chunk.weights.double().unsqueeze(1)
            total += torch.stack([w.sum().expand(self.dim), (w * x).sum(0), (w * x * x).sum(0)])
        # All ranks stop together: one that raised alone would leave the others waiting for it.
        everywhere = sum_over_ranks_(torch.tensor(float(bad is not None), device=self.device))
        if everywhere > 0:
            which = "a vector of another process" if bad is None else f"vector {bad}"
            raise ValueError(f"{which} is not finite: remove or repair such vectors before training")
        weight, first, second = sum_over_ranks_(total)
        if not weight[0] > 0:
            raise ValueError("there is nothing to train on: got no vectors")
        mean = first / weight
        deviation = (second / weight - mean.square()).clamp_min(0).sqrt()
        return Moments(float(weight[0]), mean.float(), deviation.float())

    def _row(self, place: int) -> int:
        """Where the data holds a vector of the stream."""
        return place if self.weights is None else int((self.weights > 0).nonzero()[place])

    def fingerprint(self) -> list[list[int]]:
        """Number and checksum of the vectors, weights included, of every rank; one pass."""
        checksum = 0
        for chunk in self:
            for part in (chunk.vectors, chunk.weights):
                checksum = checksum if part is None else zlib.crc32(part.cpu().contiguous().numpy().data, checksum)
        return gather_rows(torch.tensor([[len(self), checksum]], device=self.device)).tolist()

    def sample(self, count: int, seed: int) -> tuple[Tensor, Tensor | None]:
        """About ``count`` vectors drawn without repetition from all ranks, with their weights; the same on every rank.

        A rank draws in proportion to its vectors. Costs one pass.
        """
        everyone = int(sum_over_ranks_(torch.tensor(len(self), device=self.device)))
        own = min(len(self), -(-count * len(self) // max(everyone, 1)))
        generator = torch.Generator().manual_seed(seed + rank())
        if len(self) <= 16 * count:
            chosen = torch.randperm(len(self), generator=generator)[:own]
        else:  # a permutation of everything would be larger than what is drawn from it
            chosen = torch.randint(len(self), (own,), generator=generator).unique()
        chosen = chosen.sort().values
        vectors = torch.empty(len(chosen), self.dim, device=self.device)
        weights = torch.ones(len(chosen), device=self.device)
        for chunk in self:
            here = slice(*torch.searchsorted(chosen, torch.tensor([chunk.rows.start, chunk.rows.stop])).tolist())
            place = (chosen[here] - chunk.rows.start).to(self.device)
            vectors[here] = chunk.vectors[place]
            if chunk.weights is not None:
                weights[here] = chunk.weights[place]
        together = gather_rows(vectors)
        return together, None if self.weights is None else gather_rows(weights)
