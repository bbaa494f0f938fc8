"""Additive quantization by alternation: codes by search, codebooks by least squares."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from codeword.functional.beam import beam_search
from codeword.functional.cross_tables import cross_tables, means_to_first
from codeword.functional.icm import icm
from codeword.functional.least_squares import CodeStatistics, code_statistics, least_squares_codebooks
from codeword.functional.ranks import sum_over_ranks_
from codeword.training.lloyd import mean_error, shaken, stage_seed, train_product, train_residual
from codeword.training.run import EMConfig, Run, Stepped
from codeword.training.stream import Chunk, VectorStream

_START_STEPS = 10  # passes per level of residual codebooks that are only a start
_TRIAL_ROUNDS = 2  # rounds from every start, after which the better one goes on
_JUDGES = 16384  # training vectors that judge where there is no validation


def train_additive(
    stream: VectorStream,
    sizes: Sequence[int],
    run: Run,
    *,
    validation: VectorStream | None = None,
    name: str = "",
) -> list[Float[Tensor, "size dim"]]:
    """Codebooks whose sums represent vectors, all levels learned together.

    ::

        residual codebooks ──► two rounds ──┐                      ┌───────────── noise ◄─────────────┐
                                            ├─► the better ──► codebooks ──► beam + ICM ──► codes ──► least squares
        product codebooks ───► two rounds ──┘

    Rounds of codes for given codebooks and codebooks for given codes (Babenko and Lempitsky 2014), with noise on the
    codebooks that falls to nothing (after the stochastic relaxation SR-D of Martinez et al. 2018, section 3.2). The
    codebooks of a product, filled up with zeros, are additive codebooks as well; of both starts and all rounds the best
    is kept, so the result is not worse than the product quantizer that the same configuration trains. Which start is
    better depends on the data: on SIFT two rounds from the product go further than forty from residual codebooks, on
    correlated features it is the other way round.

    Args:
        stream: Vectors about their mean.
        sizes: Codewords of every level.
        run: The run this belongs to.
        validation: Vectors, about the same mean, that choose the round to keep; else a sample of the stream does.
        name: Of the stages.

    Note:
        Martinez et al. draw noise as large as the data around random codes; here it is a share of the present error,
        since the start is good. Codes are searched afresh in every round and never kept: memory does not depend on the
        number of vectors, and codebooks suit the search that will be used with them.
    """
    config = run.config
    if validation is None:
        judges = VectorStream(*stream.sample(_JUDGES, stage_seed(run, f"{name}judges")), chunk=stream.chunk)
    else:
        judges = validation

    def judge(books: list[Tensor]) -> float:
        return additive_error(judges, books, config)

    def advance(stage: str, books: list[Tensor], count: int, noise: float) -> list[Tensor]:
        def start() -> list[Tensor]:
            return [*books, torch.zeros(stream.dim, device=stream.device)]

        def step(state: list[Tensor], number: int) -> Stepped:
            # The last two rounds are without noise, and so is the first, since the error is not known yet.
            share = noise * max(0.0, 1 - (number + 1) / max(count - 1, 1))
            return _round(stream, state, share, run, f"{stage} {number}")

        return run.stage(
            stage,
            start,
            step,
            count,
            judge=lambda state: judge(state[:-1]),
            cost=len(stream),
            unsettled=count - 2 if noise else 0,
        )[:-1]

    steps, trial = min(config.steps, _START_STEPS), min(config.rounds, _TRIAL_ROUNDS)
    residual = train_residual(stream, sizes, run, validation=validation, name=f"{name}residual / ", steps=steps)
    tried = [advance(f"{name}from residual", residual, trial, 0.0)]
    if stream.dim >= len(sizes):
        product = _padded_product(stream, sizes, run, validation, name)
        tried.append(advance(f"{name}from product", product, trial, 0.0))
    best = min(tried, key=judge)
    if config.rounds > trial:
        best = advance(f"{name}rounds", best, config.rounds - trial, config.perturbation)
    return means_to_first(best)


def _round(stream: VectorStream, state: list[Tensor], noise: float, run: Run, name: str) -> Stepped:
    """Codes for the codebooks, with noise, and the codebooks for these codes.

    Args:
        stream: Vectors.
        state: Codebooks, and the deviation of every feature from its reconstruction.
        noise: Deviation of the sum of the noise of all levels, relative to that.
        run: The run this belongs to.
        name: Seeds the noise.
    """
    *books, deviation = state
    books = _shaken(means_to_first(books), deviation * noise, stage_seed(run, name))
    counts, sums, squares, error = _statistics(stream, books, run)
    statistics = CodeStatistics(counts, sums)
    books = least_squares_codebooks(statistics, books, ridge=run.config.ridge)
    left = _remaining(statistics, squares, torch.cat(books).double())
    return Stepped([*books, (left / stream.moments.weight).sqrt().float()], error)


def additive_passes(levels: int, dim: int, config: EMConfig) -> int:
    """Passes over the data of :func:`train_additive`, if no stage ends early."""
    trial = min(config.rounds, _TRIAL_ROUNDS)
    product = config.steps + trial if dim >= levels else 0
    return min(config.steps, _START_STEPS) * levels + product + config.rounds


def additive_codes(
    x: Float[Tensor, "count dim"], books: Sequence[Float[Tensor, "_ dim"]], config: EMConfig
) -> Int[Tensor, "count levels"]:
    """Codes as training searches for them."""
    tables = cross_tables(means_to_first(books))
    return icm(x, beam_search(x, tables, config.width), tables, sweeps=config.sweeps)


def additive_error(stream: VectorStream, books: Sequence[Float[Tensor, "_ dim"]], config: EMConfig) -> float:
    """Mean squared error of a stream under codes as training searches for them."""
    return mean_error(stream, lambda chunk: [_errors(chunk, books, additive_codes(chunk.vectors, books, config))])


def _errors(chunk: Chunk, books: Sequence[Tensor], codes: Tensor) -> Tensor:
    total = torch.stack([book[codes[:, level]] for level, book in enumerate(books)]).sum(0)
    return (chunk.vectors - total).square().sum(1)


def _padded_product(
    stream: VectorStream, sizes: Sequence[int], run: Run, validation: VectorStream | None, name: str
) -> list[Tensor]:
    """Codebooks of a product of as many blocks as there are levels, zero outside of their block."""
    widths = [stream.dim // len(sizes) + (block < stream.dim % len(sizes)) for block in range(len(sizes))]
    # The random numbers of a product on its own: additive codes must not lose to it by an unlucky start.
    stage = f"{name}product / "
    tables = train_product(stream, widths, sizes, run, validation=validation, name=stage, drawn_as=name)
    left, padded = 0, list[Tensor]()
    for width, table in zip(widths, tables, strict=True):
        padded.append(F.pad(table, (left, stream.dim - left - width)))
        left += width
    return padded


def _shaken(books: Sequence[Tensor], deviation: Tensor, seed: int) -> list[Tensor]:
    """Codebooks with independent noise whose sum over levels has the given deviation."""
    generator = torch.Generator().manual_seed(seed)
    scale = deviation / len(books) ** 0.5
    return [shaken(book, scale, generator) for book in books]


def _statistics(stream: VectorStream, books: list[Tensor], run: Run) -> tuple[Tensor, Tensor, Tensor, float]:
    """Counts, sums and squares of the vectors under their codes, and the mean squared error; over all ranks."""
    sizes = [len(book) for book in books]
    tables = cross_tables(means_to_first(books))
    counts, sums, squares, error = (
        torch.zeros(shape, dtype=torch.float64, device=stream.device)
        for shape in [(sum(sizes), sum(sizes)), (sum(sizes), stream.dim), (stream.dim,), ()]
    )
    for chunk in run.passing(stream):
        codes = beam_search(chunk.vectors, tables, run.config.width)
        codes = icm(chunk.vectors, codes, tables, sweeps=run.config.sweeps)
        found = code_statistics(chunk.vectors, codes, sizes, chunk.weights)
        counts += found.counts
        sums += found.sums
        weights = torch.ones(len(codes), device=stream.device) if chunk.weights is None else chunk.weights
        squares += (chunk.vectors.double().square() * weights.unsqueeze(1)).sum(0)
        error += (_errors(chunk, books, codes) * weights).double().sum()
    for part in (counts, sums, squares, error):
        sum_over_ranks_(part)
    return counts, sums, squares, float(error) / stream.moments.weight


def _remaining(statistics: CodeStatistics, squares: Tensor, books: Tensor) -> Tensor:
    """Summed squared error of every feature under the codes of the statistics."""
    explained = 2 * (books * statistics.sums).sum(0) - (books * (statistics.counts @ books)).sum(0)
    return (squares - explained).clamp_min(0)
