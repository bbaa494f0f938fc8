"""Entropies by counting in dictionaries; slow."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence


def entropy(symbols: Iterable[Hashable]) -> float:
    counts = Counter(symbols)
    total = sum(counts.values())
    return -math.fsum(n / total * math.log2(n / total) for n in counts.values())


def complete(rows: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    return [tuple(row) for row in rows if all(code != -1 for code in row)]


def conditional_entropy(pairs: Sequence[tuple[int, int]]) -> float:
    """H(first | second), as the mean over values of the second of the entropy of the first there."""
    groups: dict[int, list[int]] = {}
    for first, second in pairs:
        groups.setdefault(second, []).append(first)
    return math.fsum(len(group) / len(pairs) * entropy(group) for group in groups.values())


def mutual_information(pairs: Sequence[tuple[int, int]]) -> float:
    """sum_ab p(a, b) log2 (p(a, b) / p(a) p(b))"""
    total = len(pairs)
    joint, first, second = Counter(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    return math.fsum(n / total * math.log2(n * total / (first[a] * second[b])) for (a, b), n in joint.items())
