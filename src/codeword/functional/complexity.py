"""What encoding costs: the published calculator, the counts of our own algorithms, and the machine's limit.

The first part is the calculator of the ICASSP 2023 paper on additive, residual and product quantization, in the unit
of ITU-T G.191: an addition, a multiplication and a move weigh 1, a branch 4. Its "WMOPS" are millions of weighted
operations *per vector*. The second part counts what the algorithms of this library do to one vector and relates it to
what the machine can do.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

import torch

from codeword.functional.matmul import fast_matmul


class Convention(Enum):
    """How the ICASSP calculator counts.

    ``PUBLISHED`` reproduces the figures of the paper: residual and product quantizers are charged for one level less
    than they have (at four levels a quarter is missing), and a beam wider than the codebook counts negative
    comparisons. ``CORRECTED`` charges every level and refuses such a beam.
    """

    PUBLISHED = "published"
    CORRECTED = "corrected"


def residual_wmops(dim: int, size: int, levels: int, *, convention: Convention = Convention.CORRECTED) -> float:
    """Weighted operations, in millions, to encode one vector greedily with a residual quantizer.

    ``n [K (3D - 1) + 2 (K - 1) + D] + (n - 1) D + (M - 1) D``: distances, arg-min, copy of the codeword; residuals;
    final sum. Levels counted: ``n = M`` corrected, ``n = M - 1`` published.
    """
    counted = _counted_levels(dim, size, levels, convention)
    per_level = _distances(size, dim) + _argmin(size) + dim
    return _millions(counted * per_level + (counted - 1) * dim + (levels - 1) * dim)


def product_wmops(dim: int, size: int, levels: int, *, convention: Convention = Convention.CORRECTED) -> float:
    """Weighted operations, in millions, to encode one vector with a product quantizer.

    ``2D + n [K (3D/M - 1) + 2 (K - 1) + D/M]``: split and concatenation; distances, arg-min, copy of the codeword.
    Levels counted: ``n = M`` corrected, ``n = M - 1`` published.
    """
    counted = _counted_levels(dim, size, levels, convention)
    block = _block_width(dim, levels)
    return _millions(2 * dim + counted * (_distances(size, block) + _argmin(size) + block))


def additive_wmops(
    dim: int, size: int, levels: int, beam: int, *, convention: Convention = Convention.CORRECTED
) -> float:
    """Weighted operations, in millions, to encode one vector with the paper's beam search over additive codes.

    Each of ``M - 1`` steps extends ``H`` tuples of codewords by ``H`` candidates each, from the levels not used yet,
    and keeps the best ``H`` of the ``H^2``. Both conventions agree: the paper's count is complete here.

    Note:
        The last step picks ``H`` of ``K`` candidates by ``H`` successive arg-mins; with ``H > K`` these have a
        negative length. The 12-bit point of the paper's figure 4c (H = 16, K = 8) is such a case: only ``PUBLISHED``
        computes it.
    """
    _check_positive(dim=dim, size=size, levels=levels, beam=beam)
    if convention is Convention.CORRECTED and beam > size:
        raise ValueError(f"beam must be at most the codebook size {size}, got {beam}: Convention.PUBLISHED takes it")
    operations = _distances(levels * size, dim) + _sort(levels * size, beam) + beam
    for used in range(1, levels):
        free = (levels - used) * size
        operations += 2 * used * beam * dim + 4 * (math.comb(levels, used) - 1)  # residuals; branches over level sets
        operations += beam * (_distances(free, dim) + _sort(free, beam))
        operations += beam**2 * (1 + dim + used * dim + 3 * dim)  # store, fetch, sum and compare H^2 tuples
        operations += _sort(beam**2, beam) + beam if used < levels - 1 else _argmin(beam**2)
    return _millions(operations)


def _counted_levels(dim: int, size: int, levels: int, convention: Convention) -> int:
    _check_positive(dim=dim, size=size, levels=levels)
    if convention is Convention.CORRECTED:
        return levels
    if levels < 2:
        raise ValueError("the published count leaves one level out and needs two, got 1: use Convention.CORRECTED")
    return levels - 1


def _check_positive(**settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def _block_width(dim: int, levels: int) -> int:
    if dim % levels:
        raise ValueError(f"{dim} dimensions do not split into {levels} equal blocks: choose levels that divide {dim}")
    return dim // levels


def _distances(count: int, dim: int) -> int:
    return count * (3 * dim - 1)


def _argmin(count: int) -> int:
    return 2 * (count - 1)


def _sort(count: int, keep: int) -> int:
    """``keep`` successive arg-mins over what is left of ``count``."""
    return sum(_argmin(count - taken) for taken in range(keep))


def _millions(operations: int) -> float:
    return operations / 10**6


@dataclass(frozen=True, slots=True)
class Cost:
    """What an algorithm does, per vector unless scaled by ``cost * count``; costs of consecutive steps add up.

    Attributes:
        flops: Floating-point operations in matrix products and vector arithmetic; a multiply-add counts 2.
        table_adds: Additions of table entries that stay in the cache.
        comparisons: Candidates looked at by a minimum or a top-k.
        bytes: What must cross the memory bus: vectors in float32 and codes. Codebooks and tables are taken to stay in
            the cache.
    """

    flops: int = 0
    table_adds: int = 0
    comparisons: int = 0
    bytes: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.flops + other.flops,
            self.table_adds + other.table_adds,
            self.comparisons + other.comparisons,
            self.bytes + other.bytes,
        )

    def __mul__(self, count: int) -> "Cost":
        return Cost(self.flops * count, self.table_adds * count, self.comparisons * count, self.bytes * count)


_FLOAT, _CODE = 4, 8  # bytes of a float32 and of an int64


def nearest_cost(dim: int, size: int) -> Cost:
    """Nearest of ``size`` codewords: one matrix product with ``|c|^2`` folded in, ``2 K D`` flops, and a minimum."""
    return Cost(flops=2 * size * dim, comparisons=size, bytes=_FLOAT * dim + _CODE)


def product_encode_cost(dim: int, sizes: Sequence[int]) -> Cost:
    """A product quantizer with equal blocks: a nearest search in each. Of unequal ones, add up the ``nearest_cost``."""
    width = _block_width(dim, len(sizes))
    return sum((nearest_cost(width, size) for size in sizes), Cost())


def residual_greedy_cost(dim: int, sizes: Sequence[int]) -> Cost:
    """A residual quantizer, level by level: ``sum_m 2 K_m D`` flops and ``D`` for each residual in between."""
    flops = 2 * dim * sum(sizes) + dim * (len(sizes) - 1)
    return Cost(flops=flops, comparisons=sum(sizes), bytes=_FLOAT * dim + _CODE * len(sizes))


def residual_beam_cost(dim: int, sizes: Sequence[int], beam: int) -> Cost:
    """A beam of width ``B`` over levels in a fixed order, with cross-product tables.

    One matrix product gives ``<x, c>`` for all codewords; at each level every tuple of the beam adds one table row
    ``<c_j, .>`` for each earlier level. All in all ``B K M (M - 1) / 2`` table adds and ``B K M`` comparisons, less
    what the narrow beam of the first levels saves.
    """
    _check_positive(beam=beam)
    width, table_adds, comparisons = 1, 0, 0
    for earlier, size in enumerate(sizes):
        table_adds += width * size * earlier
        comparisons += width * size
        width = min(beam, width * size)
    return Cost(2 * dim * sum(sizes), table_adds, comparisons, _FLOAT * dim + _CODE * len(sizes))


def icm_cost(sizes: Sequence[int], sweeps: int) -> Cost:
    """Iterated conditional modes on ready tables: a sweep re-chooses every level, ``M (M - 1) K`` table adds."""
    return Cost(table_adds=sweeps * (len(sizes) - 1) * sum(sizes), comparisons=sweeps * sum(sizes))


def additive_encode_cost(dim: int, sizes: Sequence[int], beam: int, sweeps: int) -> Cost:
    """An additive quantizer: beam search with cross-product tables, then ICM sweeps over its best tuple."""
    return residual_beam_cost(dim, sizes, beam) + icm_cost(sizes, sweeps)


def additive_decode_cost(dim: int, levels: int) -> Cost:
    """The sum of one codeword per level: ``(M - 1) D`` flops, ``M`` codes read, one vector written."""
    return Cost(flops=(levels - 1) * dim, bytes=_CODE * levels + _FLOAT * dim)


def product_decode_cost(dim: int, levels: int) -> Cost:
    """The concatenation of one codeword per block: copies only."""
    return Cost(bytes=_CODE * levels + _FLOAT * dim)


def scan_cost(sizes: Sequence[int], *, queries: int = 1, norm_bytes: int = 0) -> Cost:
    """Asymmetric distances of one stored vector to a batch of queries: ``M`` table adds and one comparison each.

    The code is read once for the whole batch, packed at ``ceil(log2 K)`` bits a level, with ``norm_bytes`` for the
    stored norm of an additive code, whose addition is counted too.
    """
    bits = sum((size - 1).bit_length() for size in sizes)
    lookups = len(sizes) + (norm_bytes > 0)
    return Cost(table_adds=lookups * queries, comparisons=queries, bytes=-(-bits // 8) + norm_bytes)


class MachineLimit(NamedTuple):
    """What the processor can do in a second with the threads PyTorch uses now.

    Attributes:
        flops: Float32 matrix product.
        table_adds: Float32 additions of table rows of 1 KiB that lie in the cache.
        comparisons: Minimum over rows of 256 floats in the cache.
        bytes: Copy in main memory, reads and writes together.
    """

    flops: float
    table_adds: float
    comparisons: float
    bytes: float

    def seconds(self, cost: Cost) -> float:
        """Least time ``cost`` can take: that of its arithmetic, or of its memory traffic, which overlaps with it."""
        arithmetic = cost.flops / self.flops + cost.table_adds / self.table_adds + cost.comparisons / self.comparisons
        return max(arithmetic, cost.bytes / self.bytes)


def share_of_limit(cost: Cost, seconds: float, limit: MachineLimit) -> float:
    """Fraction of the machine's limit that a run of ``cost`` in ``seconds`` reached; 1 is the best there is."""
    if seconds <= 0:
        raise ValueError(f"seconds must be positive, got {seconds}: time more repetitions")
    return limit.seconds(cost) / seconds


def machine_limit() -> MachineLimit:
    """Measure the limits of this processor, in less than 3 seconds, with the threads PyTorch uses now.

    The matrix product is timed as PyTorch is set and in the fastest mode that keeps float32 accuracy; the better time
    counts. Everything is also timed on one thread, which is faster than several when other programs hold their cores.
    """
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = _measure()
    finally:
        torch.set_num_threads(threads)
    return MachineLimit(*map(max, alone, _measure())) if threads > 1 else alone


def _measure() -> MachineLimit:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 1024, 1024, generator=generator).unbind()
    product = torch.empty_like(left)
    table, scores = torch.randn(256, 256, generator=generator), torch.randn(2048, 256, generator=generator)
    rows, least = torch.randint(len(table), (1024, 32), generator=generator), torch.empty(len(scores))
    large, copy = torch.zeros(2, 2**24).unbind()
    multiplying = _best_seconds(lambda: torch.mm(left, right, out=product))
    with fast_matmul():
        multiplying = min(multiplying, _best_seconds(lambda: torch.mm(left, right, out=product)))
    adding = _best_seconds(lambda: torch.nn.functional.embedding_bag(rows, table, mode="sum"))
    comparing = _best_seconds(lambda: torch.amin(scores, dim=1, out=least))
    copying = _best_seconds(lambda: copy.copy_(large))
    return MachineLimit(
        flops=2 * len(left) ** 3 / multiplying,
        table_adds=rows.numel() * table.shape[1] / adding,
        comparisons=scores.numel() / comparing,
        bytes=2 * large.nbytes / copying,
    )


def _best_seconds(action: Callable[[], object]) -> float:
    """Shortest of the repetitions that fit in an eighth of a second, so the first ones, which warm up, do not count."""
    stamps = [time.perf_counter()]
    while len(stamps) < 4 or stamps[-1] < stamps[0] + 1 / 8:
        action()
        stamps.append(time.perf_counter())
    return min(end - start for start, end in pairwise(stamps))
