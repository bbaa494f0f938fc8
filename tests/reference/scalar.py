"""Finite scalar and binary quantization one number at a time, in Python's own integers and float64; slow."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Rounded(NamedTuple):
    """A feature's digit and value, the value before rounding, and the way to the nearest border in steps."""

    digit: int
    value: float
    bounded: float
    clear: float


def half_step(x: float, size: int) -> Rounded:
    """From the text of Mentzer et al. 2023: tanh shifted so that 0 stays a value."""
    if size == 1:
        return Rounded(0, 0.0, 0.0, 0.5)
    half = (size - 1) * 1.001 / 2
    offset = 0.5 if size % 2 == 0 else 0.0
    bounded = math.tanh(x + math.atanh(offset / half)) * half - offset
    lowest = -(size // 2)
    number = min(max(math.ceil(bounded - 0.5), lowest), lowest + size - 1)
    return Rounded(number - lowest, number / (size // 2), bounded / (size // 2), _to_border(bounded - lowest, size))


def symmetric(x: float, size: int) -> Rounded:
    """Values that lie evenly from -1 to 1."""
    if size == 1:
        return Rounded(0, 0.0, 0.0, 0.5)
    position = (math.tanh(x) + 1) / 2 * (size - 1)
    digit = min(max(math.ceil(position - 0.5), 0), size - 1)
    return Rounded(digit, 2 * digit / (size - 1) - 1, math.tanh(x), _to_border(position, size))


def _to_border(position: float, size: int) -> float:
    below = min(max(math.floor(position), 0), size - 2)
    return abs(position - below - 0.5)


def join(digits: Sequence[int], sizes: Sequence[int]) -> int:
    """Mixed radix, the first digit least significant."""
    code = 0
    for digit, size in reversed(list(zip(digits, sizes, strict=True))):
        code = code * size + digit
    return code


def split(code: int, sizes: Sequence[int]) -> list[int]:
    digits = []
    for size in sizes:
        code, digit = divmod(code, size)
        digits.append(digit)
    return digits


def corners(bits: int, side: float) -> Iterator[tuple[float, ...]]:
    return itertools.product((-side, side), repeat=bits)


def soft_assignment(x: Sequence[float], side: float, beta: float) -> list[float]:
    """Softmax of -beta |x - c|^2 over all 2^bits corners, one by one."""
    logits = [-beta * math.fsum((a - b) ** 2 for a, b in zip(x, c, strict=True)) for c in corners(len(x), side)]
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def entropy(probabilities: Sequence[float]) -> float:
    """In nats."""
    return -math.fsum(p * math.log(p) for p in probabilities if p > 0)
