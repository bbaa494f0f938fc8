"""Digits of features joined to one integer per group of features, exactly (mixed radix), and back.

Consecutive features share a code; the first is the least significant digit::

    sizes    8, 5, 5      3, 3        three features per code
    strides  1, 8, 40     1, 3
    codes    d0 + 8 d1 + 40 d2    d3 + 3 d4
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

_MOST_CODES = 1 << 63  # what int64 numbers from 0 can tell apart
_MOST_SCORES = 1 << 16  # a table of scores per vector beyond this is a mistake
_REPAIR = (
    "spread the features over several codes (features_per_code of ScalarQuantizer, bits_per_code of BinaryQuantizer)"
)


def code_sizes(sizes: Sequence[int], features_per_code: int) -> tuple[int, ...]:
    """How many values each code has: the product of the sizes of its features.

    Raises:
        ValueError: If a size is below 1, no feature is given, or a code has more values than int64 holds.
    """
    if not sizes or min(sizes) < 1 or features_per_code < 1:
        raise ValueError(
            "every feature needs at least 1 value and every code at least 1 feature, "
            f"got sizes {tuple(sizes)} and {features_per_code} features per code"
        )
    products = [math.prod(group) for group in _groups(sizes, features_per_code)]
    if max(products) > _MOST_CODES:
        raise ValueError(
            f"{features_per_code} features per code make up to {max(products):.3g} codes, more than the 2^63 of int64: "
            f"{_REPAIR}"
        )
    return tuple(products)


def digit_strides(sizes: Sequence[int], features_per_code: int) -> list[int]:
    """What one step of each feature adds to its code."""
    strides = []
    for group in _groups(sizes, features_per_code):
        stride = 1
        for size in group:
            # The digit of a single value is always 0; its stride could be 2^63, which int64 does not hold.
            strides.append(stride if size > 1 else 1)
            stride *= size
    return strides


def _groups(sizes: Sequence[int], features_per_code: int) -> list[Sequence[int]]:
    return [sizes[start : start + features_per_code] for start in range(0, len(sizes), features_per_code)]


def join_digits(
    digits: Int[Tensor, "*batch dim"], strides: Int[Tensor, " dim"], features_per_code: int
) -> Int[Tensor, "*batch codes"]:
    """Codes of digits; the last code may hold fewer features than the others."""
    groups = (digits * strides).split(features_per_code, dim=-1)
    return torch.stack([group.sum(-1) for group in groups], dim=-1)


def split_digits(
    codes: Int[Tensor, "*batch codes"],
    sizes: Int[Tensor, " dim"],
    strides: Int[Tensor, " dim"],
    features_per_code: int,
) -> Int[Tensor, "*batch dim"]:
    """The inverse of ``join_digits``; the features of a code of -1 are -1."""
    spread = codes.repeat_interleave(features_per_code, dim=-1)[..., : len(sizes)]
    digits = torch.div(spread, strides, rounding_mode="floor") % sizes
    return torch.where(spread >= 0, digits, -1)


def digit_scores(x: Float[Tensor, "*batch dim"], values: Sequence[Float[Tensor, " _"]]) -> Float[Tensor, "*batch size"]:
    """Minus the squared distance of every vector to the vector of every code, codes in the order of ``join_digits``.

    Args:
        x: Vectors.
        values: The values that each feature takes.

    Raises:
        ValueError: If there are more than 65536 codes.
    """
    size = math.prod(len(value) for value in values)
    if size > _MOST_SCORES:
        raise ValueError(
            f"{size} codes are too many to score one by one (at most {_MOST_SCORES}): {_REPAIR}; distances of "
            "different codes of a vector add up"
        )
    scores = x.new_zeros(*x.shape[:-1], 1)
    for feature, value in zip(x.unbind(-1), values, strict=True):
        step = -(feature.unsqueeze(-1) - value).square()
        scores = (step.unsqueeze(-1) + scores.unsqueeze(-2)).flatten(-2)
    return scores
