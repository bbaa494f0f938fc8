"""k-means: additive statistics, the k-means++ start, and Lloyd's iteration built from them."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from codeword.functional.matmul import fast_matmul
from codeword.functional.nearest import nearest

_BLOCK = 16384  # rows summed in float32 before the sums join float64 totals
_PLACES = 64  # badly served vectors a pass remembers, as places for codewords that nothing chose
_JITTER = 0.01  # distance of surplus codewords from the vectors they copy, relative to the spread of the data


class ClusterSums(NamedTuple):
    """Additive statistics of a partition: those of two batches add up to those of both.

    Attributes:
        counts: Number, or summed weight, of the vectors of every cluster; float64.
        sums: Their (weighted) sum; float64.
    """

    counts: Float[Tensor, " size"]
    sums: Float[Tensor, "size dim"]


def cluster_sums(
    x: Float[Tensor, "count dim"],
    codes: Int[Tensor, " count"],
    size: int,
    weights: Float[Tensor, " count"] | None = None,
) -> ClusterSums:
    """Count and sum the vectors of every cluster; negative codes are counted nowhere.

    Args:
        x: Vectors.
        codes: The cluster of every vector.
        size: Number of clusters.
        weights: Weight of every vector, 1 if not given.

    Note:
        Blocks of 16384 rows are summed in float32, where an average cluster keeps six digits; their totals
        are float64, so that the statistics of 10^9 vectors, in any number of chunks and ranks, lose nothing more.
    """
    counts = torch.zeros(size, dtype=torch.float64, device=x.device)
    sums = torch.zeros(size, x.shape[1], dtype=torch.float64, device=x.device)
    rows = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    for start in range(0, len(rows), _BLOCK):
        code, order = torch.sort(codes[start : start + _BLOCK], stable=True)
        bounds = torch.searchsorted(code, torch.arange(size + 1, device=x.device))
        order, offsets = order[bounds[0] :], bounds[:-1] - bounds[0]
        block, weight = rows[start : start + _BLOCK], None
        if weights is None:
            counts += bounds.diff()
        else:
            weight = weights[start : start + _BLOCK].to(rows.dtype)[order]
            counts.index_add_(0, code[bounds[0] :], weight.double())
        if len(order):
            sums += embedding_bag(order, block, offsets, mode="sum", per_sample_weights=weight)
    return ClusterSums(counts, sums)


class LloydStatistics(NamedTuple):
    """What one pass of Lloyd's iteration learns from a chunk; see :func:`merge` and :func:`moved`.

    Attributes:
        counts: As in :class:`ClusterSums`.
        sums: As in :class:`ClusterSums`, but of the differences from the codeword: an offset costs no digits.
        errors: Sum of (weighted) squared distances to the codeword of every cluster; float64.
        places: Vectors drawn without repetition in proportion to their squared distances, most likely first.
        keys: What orders the draw: the largest keys of all chunks together are a draw from all chunks.
    """

    counts: Float[Tensor, " size"]
    sums: Float[Tensor, "size dim"]
    errors: Float[Tensor, " size"]
    places: Float[Tensor, "places dim"]
    keys: Float[Tensor, " places"]


def lloyd_statistics(
    x: Float[Tensor, "count dim"],
    codebook: Float[Tensor, "size dim"],
    codes: Int[Tensor, " count"],
    generator: torch.Generator,
    weights: Float[Tensor, " count"] | None = None,
) -> LloydStatistics:
    """Statistics of a chunk of vectors, each with its nearest codeword.

    Args:
        x: Vectors.
        codebook: Codewords.
        codes: The codeword of every vector.
        generator: Draws the places for codewords that nothing chooses; on the processor.
        weights: Weight of every vector, 1 if not given.
    """
    difference = x - codebook[codes]
    counts, sums = cluster_sums(difference, codes, len(codebook), weights)
    error = difference.square().sum(1).double()
    if weights is not None:
        error *= weights
    # The largest of log(error) + Gumbel noise are a draw without repetition in proportion to the error.
    noise = torch.rand(len(x), generator=generator, dtype=torch.float64).to(x.device)
    keys, place = (error.log() - (-noise.log()).log()).topk(min(_PLACES, len(codebook), len(x)))
    errors = torch.zeros_like(counts).index_add_(0, codes, error)
    return LloydStatistics(counts, sums, errors, x[place], keys)


def merge(first: LloydStatistics, second: LloydStatistics) -> LloydStatistics:
    """Statistics of two chunks together."""
    keys, place = torch.cat([first.keys, second.keys]).topk(max(len(first.keys), len(second.keys)))
    places = torch.cat([first.places, second.places])[place]
    return LloydStatistics(
        first.counts + second.counts, first.sums + second.sums, first.errors + second.errors, places, keys
    )


def moved(codebook: Float[Tensor, "size dim"], found: LloydStatistics) -> Float[Tensor, "size dim"]:
    """The codebook after one step: means of clusters; codewords without a vector go to badly served vectors.

    Codewords that find no vector with an error keep their place.
    """
    used = found.counts > 0
    result = (codebook + found.sums / found.counts.where(used, 1.0).unsqueeze(1)).to(codebook.dtype)
    idle = (~used).nonzero().squeeze(1)
    places = found.places[torch.isfinite(found.keys)]
    result[idle[: len(places)]] = places[: len(idle)].to(codebook.dtype)
    return result


def plus_plus(
    x: Float[Tensor, "count dim"],
    size: int,
    seed: int,
    weights: Float[Tensor, " count"] | None = None,
    *,
    spread: float | None = None,
) -> Float[Tensor, "size dim"]:
    """k-means++ start: every codeword is a vector drawn in proportion to its squared distance to those before it.

    Arthur and Vassilvitskii 2007. Codewords are drawn in batches from the distances at the start of the batch, and a
    draw is kept with probability new distance / old distance: the same distribution, at the speed of matrix products.

    Args:
        x: Vectors, at least one.
        size: Codewords. If there are fewer distinct vectors, the rest are copies moved by 1 % of the spread.
        seed: Of the draws.
        weights: Weight of every vector in the draws.
        spread: Root mean square of a coordinate that stands in where the vectors are all alike (a residual level after
            one that represents every vector exactly); by default that of the vectors themselves, or 1 if they are zero.

    Note:
        At most ``max(8 * size, 16384)`` vectors, drawn at random, are looked at: more do not improve the start.
    """
    if not len(x):
        raise ValueError(f"k-means needs at least one vector to place {size} codewords: got none")
    generator = torch.Generator().manual_seed(seed)
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    most = max(8 * size, _BLOCK)
    if len(x) > most:
        kept = torch.randperm(len(x), generator=generator)[:most].to(x.device)
        x, weights = x[kept], None if weights is None else weights[kept]
    mean = x.mean(0)
    centred = x - mean
    weight = torch.ones(len(x), dtype=torch.float64, device=x.device) if weights is None else weights.double()
    chosen = _draw(centred, weight, size, generator)
    codebook = x[chosen[torch.arange(size, device=x.device) % len(chosen)]]
    scale = _JITTER * _spread(centred, mean, spread)
    codebook[len(chosen) :] += torch.randn(size - len(chosen), x.shape[1], generator=generator).to(x) * scale
    return codebook


def _draw(x: Tensor, weight: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Rows of different vectors, ``size`` or as many as there are."""

    def sample(probability: Tensor, count: int) -> Tensor:
        total = probability.cumsum(0)
        point = torch.rand(count, generator=generator, dtype=torch.float64).to(x.device) * total[-1]
        return torch.searchsorted(total, point, right=True).clamp_(max=len(total) - 1)

    chosen = sample(weight, 1)
    distance = _least_distance(x, x[chosen])
    while len(chosen) < size:
        probability = weight * distance
        if not probability.sum() > 0:
            break
        proposal = sample(probability, min(size - len(chosen), 1 + len(chosen) // 4))
        coins = torch.rand(len(proposal), generator=generator, dtype=torch.float64).tolist()
        among = torch.cdist(x[proposal], x[proposal], compute_mode="donot_use_mm_for_euclid_dist").square().tolist()
        kept: list[int] = []
        for new, old in enumerate(distance[proposal].tolist()):
            left = min([old, *(among[new][other] for other in kept)])
            if left > 0 and coins[new] * old <= left:
                kept.append(new)
        chosen = torch.cat([chosen, proposal[kept]])
        distance = torch.minimum(distance, _least_distance(x, x[proposal[kept]]))
        distance[chosen] = 0
    return chosen


def _least_distance(x: Tensor, codebook: Tensor) -> Tensor:
    """Squared distances to the nearest codeword, zero where they drown in the rounding of the float32 product."""
    squares = x.square().sum(1)
    with fast_matmul():
        distance = torch.addmm(codebook.square().sum(1), x, codebook.t(), alpha=-2).amin(1) + squares
    return torch.where(distance > 1e-6 * squares, distance, 0).double()


def _spread(centred: Tensor, mean: Tensor, fallback: float | None) -> float:
    own = centred.square().mean().sqrt().item()
    # Vectors that are all alike leave nothing but the rounding of their mean.
    level = mean.square().mean().sqrt().item()
    if own > 1e-6 * level:
        return own
    if fallback is not None:
        return fallback
    return level or 1.0


def kmeans(
    x: Float[Tensor, "count dim"],
    size: int,
    *,
    steps: int = 10,
    seed: int = 0,
    weights: Float[Tensor, " count"] | None = None,
    spherical: bool = False,
    spread: float | None = None,
) -> Float[Tensor, "size dim"]:
    r"""A codebook that locally minimises the mean squared distance of vectors to their nearest codeword.

    .. math:: c_k \leftarrow \sum_{n: k_n = k} w_n x_n \Big/ \sum_{n: k_n = k} w_n, \quad k_n = \arg\min_k |x_n - c_k|^2

    from a k-means++ start (Lloyd 1982). Codewords that no vector chooses go to vectors drawn in proportion to their
    squared error. Deterministic for a seed; defined for any number of vectors but none, see :func:`plus_plus`.

    Args:
        x: Vectors; at least one.
        size: Codewords.
        steps: Passes over the vectors.
        seed: Of the start and of new places.
        weights: Weight of every vector, 1 if not given.
        spherical: Vectors and codewords are brought to length 1, so that angles decide (Dhillon and Modha 2001).
        spread: See :func:`plus_plus`.
    """
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    if spherical:
        x = normalize(x, dim=1)
    codebook = plus_plus(x, size, seed, weights, spread=spread)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        if spherical:
            codebook = normalize(codebook, dim=1)
        codebook = moved(codebook, lloyd_statistics(x, codebook, nearest(x, codebook), generator, weights))
    return normalize(codebook, dim=1) if spherical else codebook
