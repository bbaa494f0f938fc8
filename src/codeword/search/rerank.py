"""A second look at what a fast search has found, with the exact vectors."""

import math
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.data.vectors import VectorSource
from codeword.search.flat import exact_costs
from codeword.search.rows import check_count, check_vectors
from codeword.search.shortlist import Metric, Neighbors, as_neighbors

_CHUNK = 1 << 22  # numbers of exact vectors held at once: 16 MB


@runtime_checkable
class Index(Protocol):
    """What can be re-ranked."""

    metric: Metric

    def __len__(self) -> int: ...

    def search(self, *_: Any, **options: Any) -> Neighbors:
        """The k nearest stored vectors of every query; takes queries, k, and what else the index knows."""
        ...


class Reranked:
    """An index whose best candidates are ranked again by exact distances.

    The index is asked for ``factor * k`` candidates; their vectors are read from the store, each once a block of
    queries, and ranked by float64 distances.

    Args:
        index: Any index; its vectors were added in the order of the store.
        store: The exact vectors: a matrix, or a file opened by ``codeword.data.vectors.open_vectors``, of which only
            the rows needed are read.
        factor: How many times more candidates are fetched than wanted.
    """

    def __init__(self, index: Index, store: Float[Tensor, "vectors dim"] | VectorSource, *, factor: int = 4):
        check_count("factor", factor)
        self.index, self.store, self.factor = index, store, factor
        self.metric: Metric = index.metric
        self._check_lengths()

    def __len__(self) -> int:
        return len(self.index)

    def search(self, queries: Float[Tensor, "queries dim"], k: int, **options: int) -> Neighbors:
        """The k best of the candidates.

        Args:
            queries: Query vectors.
            k: How many neighbours are wanted.
            options: Passed on to the index, such as ``probes``.
        """
        check_count("k", k)
        self._check_lengths()
        dim = self.store.shape[1] if isinstance(self.store, Tensor) else self.store.dim
        check_vectors(queries, dim, "queries")
        candidates = self.index.search(queries, k * self.factor, **options).ids
        ids = torch.full((len(queries), k), -1, device=queries.device)
        costs = torch.full((len(queries), k), math.inf, dtype=torch.float64, device=queries.device)
        step = max(1, _CHUNK // (candidates.shape[1] * queries.shape[1]))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            ids[part], costs[part] = self._rank(queries[part].detach(), candidates[part], k)
        return as_neighbors(ids, costs, self.metric)

    def _check_lengths(self) -> None:
        if len(self.store) != len(self.index):
            raise ValueError(
                f"the store holds {len(self.store)} vectors, the index {len(self.index)}: they must be the same ones"
            )

    def _rank(self, queries: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
        candidates = candidates.sort(1).values  # equal distances then keep the order of the numbers
        query, column = (candidates >= 0).nonzero(as_tuple=True)
        wanted, place = candidates[query, column].unique(return_inverse=True)
        vectors = self.store[wanted].detach().to(queries.device)
        costs = torch.full(candidates.shape, math.inf, dtype=torch.float64, device=queries.device)
        costs[query, column] = exact_costs(queries.double(), query, vectors.index_select(0, place), self.metric)
        costs, order = costs.sort(dim=1, stable=True)
        return candidates.gather(1, order)[:, :k], costs[:, :k]
