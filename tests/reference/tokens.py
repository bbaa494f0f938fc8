"""Token layouts by loops over Python lists; slow."""

from collections.abc import Sequence


def flatten(codes: Sequence[Sequence[int]], sizes: Sequence[int], order: str, first: int) -> list[int]:
    """Codes of one sequence, a list of levels per vector."""
    places = [(t, m) for t in range(len(codes)) for m in range(len(sizes))]
    if order == "level":
        places.sort(key=lambda place: place[1])
    return [-1 if codes[t][m] == -1 else first + sum(sizes[:m]) + codes[t][m] for t, m in places]


def delay(codes: Sequence[Sequence[int]], pad: int, delays: Sequence[int]) -> list[list[int]]:
    steps = []
    for step in range(len(codes) + max(delays)):
        times = [step - d for d in delays]
        steps.append([codes[t][m] if 0 <= t < len(codes) else pad for m, t in enumerate(times)])
    return steps
