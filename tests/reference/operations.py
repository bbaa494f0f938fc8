"""Encoders that do nothing but count what they would do, one operation at a time; slow."""

from collections.abc import Sequence

from codeword.functional.complexity import Cost


def beam_with_tables(dim: int, sizes: Sequence[int], beam: int) -> Cost:
    flops = table_adds = comparisons = 0
    for size in sizes:
        for _codeword in range(size):
            flops += 2 * dim  # <x, c>
    tuples: list[tuple[int, ...]] = [()]
    for size in sizes:
        candidates = []
        for chosen in tuples:
            for codeword in range(size):
                table_adds += len(chosen)
                comparisons += 1
                candidates.append((*chosen, codeword))
        tuples = candidates[:beam]
    return Cost(flops, table_adds, comparisons, 4 * dim + 8 * len(sizes))


def icm(sizes: Sequence[int], sweeps: int) -> Cost:
    table_adds = comparisons = 0
    for _sweep in range(sweeps):
        for level, size in enumerate(sizes):
            for _codeword in range(size):
                table_adds += sum(other != level for other in range(len(sizes)))
                comparisons += 1
    return Cost(table_adds=table_adds, comparisons=comparisons)
