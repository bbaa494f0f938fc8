"""How evenly codes use their codebooks, and how much one level tells about another.

Codes are integers; -1 marks an absent code (a gate that is closed, padding) and counts nowhere. What describes one
level takes its histogram, because histograms add up over chunks and over ranks; what describes several levels takes
the codes themselves.

Entropies are in bits, and they are those of the observed frequencies: over ``N`` codes the estimate is low by about
``(K - 1) / (2 N ln 2)`` bits and never above ``log2 N``, so two independent levels seem to share information when
``N`` is not far above ``K * K``. ``shuffled_information`` measures how much.
"""

import math

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

_INT64_STATES = 2**63


def histogram(codes: Int[Tensor, "*batch"], size: int) -> Int[Tensor, " size"]:
    """Count how often each of ``size`` codewords is used.

    Raises:
        ValueError: A code is below -1 or not below ``size``.
    """
    # One place is kept in front for the absent codes; int64 first, because 127 + 1 does not fit an int8.
    shifted = codes.reshape(-1).long() + 1
    if shifted.numel() and (shifted.amin() < 0 or shifted.amax() > size):
        came = f"{int(shifted.amin()) - 1}..{int(shifted.amax()) - 1}"
        raise ValueError(f"codes must lie in -1..{size - 1}, got {came}: is this the histogram of another level?")
    return torch.bincount(shifted, minlength=size + 1)[1:]


def usage_rate(counts: Num[Tensor, " size"]) -> Float[Tensor, ""]:
    """Fraction of the codewords that are used at all."""
    return (counts > 0).double().mean()


def entropy(counts: Num[Tensor, " size"]) -> Float[Tensor, ""]:
    r"""Entropy of a histogram, ``H = -sum_k p_k log2 p_k``, in bits; 0 for a histogram of nothing.

    Shapes: counts, integers or weighted sums, ``(size,)``; the result is a float64 scalar.
    """
    weights = counts.double()
    frequencies = weights / weights.sum().clamp_min(torch.finfo(torch.float64).tiny)
    return torch.special.entr(frequencies).sum() / math.log(2)


def perplexity(counts: Num[Tensor, " size"]) -> Float[Tensor, ""]:
    """Number of equally used codewords that would have the same entropy, ``2 ** H``: ``size`` at best, 1 at worst."""
    return torch.exp2(entropy(counts))


def perplexity_share(counts: Num[Tensor, " size"]) -> Float[Tensor, ""]:
    """Perplexity over the codebook's size: 1 when all codewords are equally used."""
    return perplexity(counts) / counts.numel()


def joint_entropy(codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, ""]:
    """Entropy in bits of whole code tuples, of two levels or of all.

    Only tuples without an absent code count. Memory is O(N) whatever the sizes: a table of all possible tuples is made
    only where it is small, else distinct tuples are found by sorting their mixed-radix numbers.
    """
    return _tuple_entropy(_complete(codes.reshape(-1, codes.shape[-1])))


def conditional_entropy(codes: Int[Tensor, "*batch"], given: Int[Tensor, "*#batch"]) -> Float[Tensor, ""]:
    """Bits that remain in ``codes`` for who knows ``given``: ``H(codes | given) = H(codes, given) - H(given)``.

    ``given`` may be another level's codes or any other integers from 0 up, such as the position in a sequence; it is
    broadcast to ``codes``. Vectors where either is -1 do not count.
    """
    pairs = _pairs(codes, given)
    return (_tuple_entropy(pairs) - _tuple_entropy(pairs[:, 1:])).clamp_min(0)  # zero may come out as -1e-16


def mutual_information(first: Int[Tensor, "*batch"], second: Int[Tensor, "*#batch"]) -> Float[Tensor, ""]:
    """Bits that two levels share, over the vectors that have both.

    ``I = H(first) + H(second) - H(first, second)``

    Note:
        The estimate is high by about ``(K_1 - 1)(K_2 - 1) / (2 N ln 2)`` bits: compare it with
        ``shuffled_information``.
    """
    return _information(_pairs(first, second))


def shuffled_information(
    first: Int[Tensor, "*batch"], second: Int[Tensor, "*#batch"], *, seed: int = 0
) -> Float[Tensor, ""]:
    """What ``mutual_information`` reads when nothing is shared: the second level shuffled over the vectors."""
    pairs = _pairs(first, second)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).to(pairs.device)
    return _information(torch.stack([pairs[:, 0], pairs[order, 1]], dim=-1))


# BRIDLE (2025), appendix D, names two of the quantities above anew; tables that compare with the paper use its words.
code_usage_rate = usage_rate
usage_entropy = entropy


def effective_code_usage(counts: Num[Tensor, " size"]) -> Float[Tensor, ""]:
    """Effective Code Usage of BRIDLE, appendix D: ``ECU = CUR / (UE * ln K)``, UE in bits; infinite when UE is 0.

    Note:
        As published it SHRINKS as usage gets better: entropy stands in the denominator. Perfectly even use gives its
        lowest value for a given usage rate (0.0225 at K = 256), a collapsed codebook a large one, and a small
        codebook more than a large one. It is here to compare with the paper's table; judge a codebook by
        ``perplexity_share``.
    """
    bits = entropy(counts)
    share = usage_rate(counts) / (bits * math.log(counts.numel()))
    return torch.where(bits > 0, share, math.inf)


def _complete(rows: Int[Tensor, "rows levels"]) -> Int[Tensor, "complete levels"]:
    """The rows that have a code at every level."""
    present: Bool[Tensor, "rows levels"] = rows >= 0
    if not bool((present | (rows == -1)).all()):
        raise ValueError(f"codes must be -1 or more, got {int(rows.amin())}: -1 alone marks an absent code")
    return rows[present.all(dim=-1)].long()


def _pairs(codes: Int[Tensor, "*batch"], other: Int[Tensor, "*#batch"]) -> Int[Tensor, "complete 2"]:
    return _complete(torch.stack([codes.reshape(-1).long(), other.expand_as(codes).reshape(-1).long()], dim=-1))


def _tuple_entropy(rows: Int[Tensor, "rows levels"]) -> Float[Tensor, ""]:
    numbers, states = _mixed_radix(rows)
    if states <= 4 * len(rows):  # a table no larger than the data: counting is many times faster than sorting
        return entropy(torch.bincount(numbers))
    return entropy(torch.unique(numbers, return_counts=True)[1])


def _information(pairs: Int[Tensor, "rows 2"]) -> Float[Tensor, ""]:
    apart = _tuple_entropy(pairs[:, :1]) + _tuple_entropy(pairs[:, 1:])
    return (apart - _tuple_entropy(pairs)).clamp_min(0)  # zero may come out as -1e-16


def _mixed_radix(rows: Int[Tensor, "rows levels"]) -> tuple[Int[Tensor, " rows"], int]:
    """Number the tuples below some number of states, so that equal tuples, and only those, have equal numbers."""
    numbers, states = torch.zeros_like(rows[:, 0]), 1
    if not len(rows):
        return numbers, states
    for level in rows.unbind(-1):
        digits, size = level, int(level.amax()) + 1
        if states * size > _INT64_STATES:  # renumber what occurs: at most N states each, and N * N fits
            numbers, states = _renumber(numbers)
            digits, size = _renumber(digits)
        numbers, states = numbers * size + digits, states * size
    return numbers, states


def _renumber(numbers: Int[Tensor, " rows"]) -> tuple[Int[Tensor, " rows"], int]:
    distinct, places = torch.unique(numbers, return_inverse=True)
    return places, len(distinct)
