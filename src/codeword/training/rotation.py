"""Optimized product quantization: the rotation and the codebooks of a product, learned in turns."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from codeword.functional.kmeans import LloydStatistics, cluster_sums, lloyd_statistics, merge, moved
from codeword.functional.nearest import nearest
from codeword.functional.ranks import sum_over_ranks_
from codeword.training.lloyd import mean_error, over_ranks, stage_seed, step_generator, train_product
from codeword.training.run import EMConfig, Run, Stepped
from codeword.training.stream import Chunk, VectorStream

_SAMPLE = 32768  # vectors, or 128 for every codeword if that is more, that the start is chosen on
_START_STEPS = 10  # passes over the sample for the codebooks of a start
_TRIAL_ROUNDS = 20  # rounds from every start, after which the best one goes on
_SAMPLE_ROUNDS = 4  # rounds of the best one on the sample, per round on all vectors


class RotatedTables(NamedTuple):
    """Result of :func:`train_rotated`.

    Attributes:
        rotation: Orthonormal; vectors are represented as ``x @ rotation.T``.
        tables: Codebooks of the blocks of rotated features.
    """

    rotation: Float[Tensor, "dim dim"]
    tables: list[Tensor]


def train_rotated(
    stream: VectorStream,
    widths: Sequence[int],
    sizes: Sequence[int],
    run: Run,
    *,
    validation: VectorStream | None = None,
    name: str = "",
) -> RotatedTables:
    r"""A rotation and the codebooks of a product of blocks after it.

    .. math:: \min_{R, C} \sum_n w_n | R x_n - \hat y_n |^2, \qquad R = V U^\top, \quad
        U S V^\top = \sum_n w_n x_n \hat y_n^\top

    (Ge et al. 2013, the non-parametric solution.) Every round is one pass: codes, one step of the codebooks, and the
    best rotation for both, from sums of whole vectors per codeword.

    ::

        features as they stand ──► codebooks ──► rounds ──┐
        principal axes, balanced ► codebooks ──► rounds ──┼─► the best ──► rounds ──► rounds on all vectors
        principal axes, dealt out► codebooks ──► rounds ──┘
        └────────────────────────────── on a sample ─────────────────────────────┘

    Args:
        stream: Vectors about their mean.
        widths: Features of every block.
        sizes: Codewords of every block.
        run: The run this belongs to.
        validation: Vectors, about the same mean, that choose the start and the round to keep.
        name: Of the stages.

    Note:
        The alternation creeps, and its end depends on its start. SIFT ends best from its features as they stand, where
        those of a block belong together; Gaussian vectors end best from principal axes. A sample is enough to choose,
        and for most of the way: a rotation has few parameters beside the numbers of the sample.
    """
    config, widths = run.config, list(widths)
    count = max(_SAMPLE, 128 * max(sizes))
    sample = VectorStream(*stream.sample(count, stage_seed(run, f"{name}sample")), chunk=stream.chunk)
    run.total += len(sample) * _sample_passes(config)
    judge = None if validation is None else partial(_judged, validation, widths)

    def advance(some: VectorStream, stage: str, state: list[Tensor], rounds: int) -> list[Tensor]:
        def step(state: list[Tensor], number: int) -> Stepped:
            return _round(some, widths, state, run, f"{stage} {number}")

        return run.stage(stage, lambda: state, step, rounds, judge=judge, cost=len(some))

    def tried(kind: str, rotation: Tensor) -> list[Tensor]:
        def turn(x: Tensor) -> Tensor:
            return x @ rotation.t()

        seen = None if validation is None else validation.changed(turn)
        stage, steps = f"{name}{kind}", min(config.steps, _START_STEPS)
        tables = train_product(
            sample.changed(turn), widths, sizes, run, validation=seen, name=f"{stage} / ", steps=steps
        )
        return advance(sample, stage, [rotation, *tables], min(config.rounds, _TRIAL_ROUNDS))

    ends = [tried(kind, rotation) for kind, rotation in _starts(sample, widths).items()]
    best = min(ends, key=partial(_judged, validation or sample, widths))
    best = advance(sample, f"{name}sample", best, _SAMPLE_ROUNDS * config.rounds)
    state = advance(stream, f"{name}rotation", best, config.rounds)
    return RotatedTables(state[0], state[1:])


def _sample_passes(config: EMConfig) -> int:
    """Passes over the sample, if no stage ends early."""
    trial = min(config.steps, _START_STEPS) + min(config.rounds, _TRIAL_ROUNDS)
    return 3 * trial + _SAMPLE_ROUNDS * config.rounds


def _starts(sample: VectorStream, widths: Sequence[int]) -> dict[str, Float[Tensor, "dim dim"]]:
    """Rotations to start from: none, and two ways to share the principal axes among the blocks."""
    covariance = torch.zeros(sample.dim, sample.dim, dtype=torch.float64, device=sample.device)
    for chunk in sample:
        x = chunk.vectors.double()
        covariance += x.t() @ (x if chunk.weights is None else x * chunk.weights.unsqueeze(1))
    variances, axes = torch.linalg.eigh(covariance)
    least = max(1e-12 * float(variances[-1]), 1e-300)
    logs = [math.log(max(variance, least) / least) for variance in variances.tolist()]
    return {
        "features": torch.eye(sample.dim, device=sample.device),
        # The axis of the next largest variance goes to the block with the least product so far (Ge et al. 2013, 3.2.2).
        "balanced": axes[:, _shared(logs, widths)].t().float().contiguous(),
        "dealt": axes[:, _shared([1.0] * sample.dim, widths)].t().float().contiguous(),
    }


def _shared(costs: Sequence[float], widths: Sequence[int]) -> list[int]:
    """Places of costs, last ones first, each given to the block with the least sum that has room; block by block."""
    blocks = [list[int]() for _ in widths]
    for place in reversed(range(len(costs))):
        roomy = [block for block, width in zip(blocks, widths, strict=True) if len(block) < width]
        min(roomy, key=lambda block: sum(costs[taken] for taken in block)).append(place)
    return [place for block in blocks for place in block]


def _round(stream: VectorStream, widths: Sequence[int], state: list[Tensor], run: Run, name: str) -> Stepped:
    """Codes for the rotation and the codebooks, then both for these codes.

    Args:
        stream: Vectors.
        widths: Features of every block.
        state: The rotation and the codebooks.
        run: The run this belongs to.
        name: Seeds new places of codewords.
    """
    rotation, *tables = state
    generator = step_generator(run, name, 0)
    found: list[LloydStatistics | None] = [None] * len(tables)
    sums = [torch.zeros(len(table), stream.dim, dtype=torch.float64, device=stream.device) for table in tables]
    for chunk in run.passing(stream):
        for place, (y, table) in enumerate(zip(_turned(chunk, rotation, widths), tables, strict=True)):
            codes = nearest(y, table)
            new = lloyd_statistics(y, table, codes, generator, chunk.weights)
            before = found[place]
            found[place] = new if before is None else merge(before, new)
            sums[place] += cluster_sums(chunk.vectors, codes, len(table), chunk.weights).sums
    total = [over_ranks(some, table) for some, table in zip(found, tables, strict=True)]
    tables = [moved(table, some) for table, some in zip(tables, total, strict=True)]
    sums = [sum_over_ranks_(some) for some in sums]
    # The columns of sum_n x_n y_n^T that belong to a block, with all vectors of a codeword taken together.
    cross = torch.cat([some.t() @ table.double() for some, table in zip(sums, tables, strict=True)], dim=1)
    u, _, vt = torch.linalg.svd(cross)
    error = sum(float(some.errors.sum()) for some in total) / stream.moments.weight
    return Stepped([(vt.t() @ u.t()).float(), *tables], error)


def _judged(held: VectorStream, widths: Sequence[int], state: list[Tensor]) -> float:
    """Mean squared error of a rotation and codebooks."""

    def errors(chunk: Chunk) -> list[Tensor]:
        parts = zip(_turned(chunk, state[0], widths), state[1:], strict=True)
        return [(y - table[nearest(y, table)]).square().sum(1) for y, table in parts]

    return mean_error(held, errors)


def _turned(chunk: Chunk, rotation: Tensor, widths: Sequence[int]) -> list[Tensor]:
    return [block.contiguous() for block in (chunk.vectors @ rotation.t()).split(list(widths), 1)]
