"""Exact search in the vectors themselves."""

import math
import os

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from codeword.functional.matmul import fast_matmul
from codeword.search.rows import Rows, check_count, check_metric, check_vectors
from codeword.search.shortlist import (
    SCORES,
    Metric,
    Neighbors,
    Shortlist,
    as_neighbors,
    padded_columns,
    padded_rows,
    score_error,
)
from codeword.search.storage import Saved, write

_BLOCK = 256  # queries of one matrix product
_GROUP = 1 << 12  # queries answered in one pass over the vectors
_FAR = 16.0  # squared distance of the mean from the origin, in variances, from which vectors are centred
_DIRECT = 1 << 15  # numbers of all pairs of queries and vectors up to which every pair is computed exactly
_CHUNK = 1 << 18  # float64 numbers of a chunk of pairs: 2 MB


class FlatIndex:
    r"""Every query against every vector, exactly.

    .. math:: |q - x|^2 - |q - \mu|^2 = |x - \mu|^2 - 2 \langle x - \mu, q - \mu \rangle

    The right side is a float32 matrix product in tiles; what may be among the k best after its rounding error is
    ranked by float64 distances between the stored float32 vectors and the queries as given. So the ids are those of
    float64 arithmetic, ties go to the lowest number, and the answer does not depend on how queries are batched. Data
    far from the origin keeps its digits: :math:`\mu` is the mean of what is added first, or 0 where that is near.
    Scratch memory is a few megabytes and does not grow with the number of vectors.

    Args:
        dim: Features of a vector.
        metric: ``"l2"`` for squared Euclidean distances, ``"ip"`` for inner products (largest first).
    """

    KIND = "flat"

    def __init__(self, dim: int, *, metric: Metric = "l2"):
        check_count("dim", dim)
        check_metric(metric)
        self.dim, self.metric = dim, metric
        self.mean: Tensor | None = None
        self._vectors = Rows(torch.empty(0, dim))
        self._norms = Rows(torch.empty(0))

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def vectors(self) -> Float[Tensor, "vectors dim"]:
        """The vectors stored, in float32."""
        return self._vectors.tensor

    def train(self, vectors: Float[Tensor, "vectors dim"]) -> None:
        """Choose the centre from a sample; without this, ``add`` takes the mean of what it is given first."""
        check_vectors(vectors, self.dim, "vectors")
        if len(self):
            raise ValueError("this index holds vectors already, and their norms belong to its centre: train it first")
        if self.metric == "l2" and len(vectors):
            mean = vectors.detach().double().mean(0)
            spread = (vectors.detach().double() - mean).square().sum(1).mean()
            # Near the origin the centre gains no digits, and leaving it out saves a pass over the vectors.
            self.mean = mean.float() if float(mean.square().sum()) > _FAR * float(spread) else None

    def add(self, vectors: Float[Tensor, "vectors dim"]) -> None:
        """Store vectors in float32."""
        check_vectors(vectors, self.dim, "vectors")
        if not len(vectors):
            return
        if self.mean is None and not len(self):
            self.train(vectors)
        self._vectors.append(vectors.float())
        # The length of a vector also says how large the error of its score may be.
        parts = vectors.detach().float().split(max(1, _CHUNK // self.dim))
        self._norms.append(torch.cat([self._centred(part).double().square().sum(1) for part in parts]).float())

    def search(self, queries: Float[Tensor, "queries dim"], k: int) -> Neighbors:
        """The k nearest stored vectors of every query."""
        check_vectors(queries, self.dim, "queries")
        check_count("k", k)
        ids = torch.full((len(queries), k), -1, device=queries.device)
        costs = torch.full((len(queries), k), math.inf, dtype=torch.float64, device=queries.device)
        if len(self):
            for start in range(0, len(queries), _GROUP):
                part = slice(start, start + _GROUP)
                ids[part], costs[part] = self._search(queries[part].detach(), k)
        return as_neighbors(ids, costs, self.metric)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to a file that ``load_index`` reads."""
        tensors = {"vectors": self.vectors} | ({} if self.mean is None else {"mean": self.mean})
        write(path, {"kind": self.KIND, "metric": self.metric}, tensors)

    @staticmethod
    def restore(saved: Saved) -> "FlatIndex":
        """The index of a file."""
        vectors = saved.tensor("vectors")
        if vectors.ndim != 2:
            raise ValueError(f"{saved.path} holds vectors of shape {tuple(vectors.shape)}, not a matrix: it is damaged")
        index = FlatIndex(vectors.shape[1], metric=saved.metric)
        if "mean" in saved.tensors:
            mean = saved.tensor("mean").float()
            check_vectors(mean[None], index.dim, "a mean")
            index.mean = mean
        index.add(vectors)
        return index

    def _search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if len(queries) * len(self) * self.dim <= _DIRECT:
            return self._all_pairs(queries, k)
        blocks = queries.tensor_split(-(-len(queries) // _BLOCK))
        columns = padded_columns(len(blocks[0]))
        turned = [self._columns(block, columns) for block in blocks]
        lengths = [block.norm(dim=0) for block in turned]
        lists = [self._shortlist(block, k, columns) for block in blocks]
        rows = min(len(self), SCORES // max(columns, self.dim) + 1)
        scores = queries.new_empty(padded_rows(rows, columns), columns, dtype=torch.float32)
        factor = 2.0 if self.metric == "l2" else 1.0
        with torch.autocast(queries.device.type, enabled=False), fast_matmul():
            for first in range(0, len(self), rows):
                tile = self._centred(self.vectors[first : first + rows])
                norms = self._norms.tensor[first : first + rows]
                longest = norms.max().sqrt()
                used = padded_rows(len(tile), columns)
                scores[len(tile) : used] = math.inf
                for block, length, shortlist in zip(turned, lengths, lists, strict=True):
                    torch.mm(tile, block * -factor, out=scores[: len(tile)])
                    largest = length * longest
                    if self.metric == "l2":
                        scores[: len(tile)] += norms[:, None]
                        largest = (length + longest).square()
                    shortlist.offer(scores[:used], score_error(largest, self.dim + 4), first)
        found = [shortlist.neighbors() for shortlist in lists]
        return torch.cat([ids for ids, _ in found]), torch.cat([costs for _, costs in found])

    def _all_pairs(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The answer from the exact costs of all pairs: sooner than a shortlist where there are few."""
        query = torch.arange(len(queries), device=queries.device).repeat_interleave(len(self))
        vectors = self.vectors.repeat(len(queries), 1)
        costs = exact_costs(queries.double(), query, vectors, self.metric).view(len(queries), -1)
        costs, ids = costs.sort(dim=1, stable=True)
        rest = (0, max(0, k - len(self)))
        return F.pad(ids[:, :k], rest, value=-1), F.pad(costs[:, :k], rest, value=math.inf)

    def _centred(self, vectors: Tensor) -> Tensor:
        return vectors if self.mean is None else vectors - self.mean

    def _columns(self, queries: Tensor, columns: int) -> Tensor:
        """Centred queries as the columns of a matrix, filled up with zeros."""
        block = queries.new_zeros(self.dim, columns, dtype=torch.float32)
        block[:, : len(queries)] = self._centred(queries.double()).t()
        return block

    def _shortlist(self, queries: Tensor, k: int, columns: int) -> Shortlist:
        exact = queries.double()

        def rescore(query: Tensor, ids: Tensor) -> Tensor:
            return exact_costs(exact, query, self.vectors.index_select(0, ids), self.metric)

        return Shortlist(rescore, k, queries=len(queries), columns=columns, device=queries.device)


def exact_costs(
    queries: Float[Tensor, "queries dim"], query: Tensor, vectors: Float[Tensor, "pairs dim"], metric: Metric
) -> Float[Tensor, " pairs"]:
    """Costs of pairs in float64, lower is better: squared distances, or inner products with the sign changed.

    Args:
        queries: In float64.
        query: The query of every pair.
        vectors: The vector of every pair.
        metric: ``"l2"`` or ``"ip"``.
    """
    step = max(1, _CHUNK // queries.shape[1])
    costs = [queries.new_empty(0)]
    for part, numbers in zip(vectors.split(step), query.split(step), strict=True):
        wide, wanted = part.double(), queries.index_select(0, numbers)
        if metric == "l2":
            wide -= wanted
        costs.append(torch.linalg.vecdot(wide, wide) if metric == "l2" else -torch.linalg.vecdot(wide, wanted))
    return torch.cat(costs)
