"""Codes whose number is not a power of two, packed at nearly log2(size) bits (mixed radix).

One code out of 5 carries 2.32 bits; alone it needs 3, three of them (125 values) need 7. Each level joins its present
codes, in the order of the rows, into groups of digits in base ``size``, the first digit least significant; a group is
one number of a fixed width. The stream is walked row by row, level by level; a group stands where its first code
would::

    sizes 5, 4      level 0: groups of 3, 7 bits      level 1: groups of 1, 2 bits
    row             0             1        2          3             4
    fields          [abc] [A]     [B]      [C]        [de] [D]      [E]      [de] is short: 25 values, 5 bits

With powers of two every group is one code, and the stream is that of :func:`codeword.functional.bits.pack_bits`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, Integer

from codeword.functional.bits import (
    MAX_WIDTH,
    code_width,
    gather_fields,
    pack_bits,
    scatter_fields,
    stream_words,
    unpack_bits,
)


class Grouping(NamedTuple):
    """How many codes of one level form a number, and the bits of that number."""

    codes: int
    bits: int


@lru_cache(maxsize=4096)
def grouping(size: int) -> Grouping:
    """The group of codes out of ``size`` with the fewest bits a code.

    Among all g with size**g <= 2**63 it minimises ceil(log2(size**g)) / g; equal ratios go to the smallest g. Therefore
    a code never costs more than ceil(log2(size)) bits.
    """
    if code_width(size) > MAX_WIDTH:
        raise ValueError(f"a codebook size is at most 2**{MAX_WIDTH}, got {size}")
    best, power = Grouping(1, code_width(size)), size
    if size == 1:
        return best
    for codes in range(2, MAX_WIDTH + 1):
        power *= size
        if power > 2**MAX_WIDTH:
            break
        if code_width(power) * best.codes < best.bits * codes:
            best = Grouping(codes, code_width(power))
    return best


def radix_bits(counts: Sequence[int], sizes: Sequence[int]) -> int:
    """Length in bits of a stream that holds ``counts[m]`` codes out of ``sizes[m]``."""
    total = 0
    for count, size in zip(counts, sizes, strict=True):
        group = grouping(size)
        total += count // group.codes * group.bits + code_width(size ** (count % group.codes))
    return total


def pack_radix(codes: Integer[np.ndarray, "count levels"], sizes: Sequence[int]) -> bytes:
    """Pack rows of codes at about log2(size) bits each; negative codes are absent and cost nothing.

    Args:
        codes: Integers below ``sizes[m]``; -1 where a level is absent, which the reader has to know.
        sizes: Number of codes of every level, 1 to 2**63.

    Returns:
        ceil(radix_bits / 8) bytes, the last one padded with zero bits.
    """
    if codes.shape[1] != len(sizes):
        raise ValueError(f"codes have {codes.shape[1]} levels, but there are {len(sizes)} sizes")
    codes = codes.astype(np.int64, copy=False)
    if (wrong := codes > np.array([size - 1 for size in sizes], dtype=np.int64)).any():
        row, level = (int(axis[0]) for axis in np.nonzero(wrong))
        raise ValueError(f"codes[{row}, {level}] = {codes[row, level]} is outside a codebook of size {sizes[level]}")
    present = codes >= 0
    if present.all() and all(grouping(size).codes == 1 for size in sizes):
        return pack_bits(codes, [code_width(size) for size in sizes])
    widths = _field_widths(present, sizes)
    values = np.zeros(codes.shape, dtype=np.uint64)
    for level, size in enumerate(sizes):
        rows, group = np.flatnonzero(present[:, level]), grouping(size).codes
        digits = np.zeros((-(-len(rows) // group), group), dtype=np.uint64)
        digits.reshape(-1)[: len(rows)] = codes[rows, level]
        number = digits[:, group - 1].copy()
        for place in range(group - 2, -1, -1):
            number = number * np.uint64(size) + digits[:, place]
        values[rows[::group], level] = number
    used = widths > 0
    ends = np.cumsum(widths[used])
    return scatter_fields(values[used], ends - widths[used], int(widths.sum())).tobytes()


def unpack_radix(
    data: bytes, count: int, sizes: Sequence[int], depths: Integer[np.ndarray, " {count}"] | None = None
) -> Int64[np.ndarray, "{count} levels"]:
    """Undo :func:`pack_radix`.

    Args:
        data: The stream.
        count: Number of rows.
        sizes: Number of codes of every level.
        depths: Number of levels that are present in every row (the first ones); all of them without it.

    Returns:
        Codes, -1 where a level is absent.

    Raises:
        ValueError: If ``data`` has another length than these rows need, or holds a number that no codes make.
    """
    if depths is None:
        if all(grouping(size).codes == 1 for size in sizes):
            codes = unpack_bits(data, count, [code_width(size) for size in sizes])
            _check_below(codes, sizes)
            return codes
        counts = [count] * len(sizes)
    elif ((depths < 0) | (depths > len(sizes))).any():
        raise ValueError(f"depths are 0 to {len(sizes)}, got {depths.min()} to {depths.max()}")
    else:
        counts = [int(np.count_nonzero(depths > level)) for level in range(len(sizes))]
    words = stream_words(data, radix_bits(counts, sizes))
    present = np.arange(len(sizes)) < (np.full(count, len(sizes)) if depths is None else depths)[:, None]
    widths = _field_widths(present, sizes)
    used = widths > 0
    ends = np.cumsum(widths[used])
    values = np.zeros(present.shape, dtype=np.uint64)
    values[used] = gather_fields(words, ends - widths[used], widths[used])
    codes = np.full(present.shape, -1, dtype=np.int64)
    for level, size in enumerate(sizes):
        rows, group = np.flatnonzero(present[:, level]), grouping(size).codes
        number = values[rows[::group], level]
        digits = np.zeros((len(number), group), dtype=np.int64)
        for place in range(group - 1):
            number, digits[:, place] = np.divmod(number, np.uint64(size))
        # What is left of a valid number is its last digit; a short group has zeros in the places that it does not use.
        digits[:, group - 1] = number
        codes[rows, level] = digits.reshape(-1)[: len(rows)]
        if digits.reshape(-1)[len(rows) :].any():
            raise ValueError(
                f"level {level}: the last group is not a number of {len(rows) % group} codes out of {size}"
            )
    _check_below(codes, sizes)
    return codes


def _check_below(codes: Int64[np.ndarray, "count levels"], sizes: Sequence[int]) -> None:
    if (wrong := codes > np.array([size - 1 for size in sizes], dtype=np.int64)).any():
        row, level = (int(axis[0]) for axis in np.nonzero(wrong))
        raise ValueError(f"row {row}, level {level}: {codes[row, level]} is outside a codebook of size {sizes[level]}")


def _field_widths(present: Bool[np.ndarray, "count levels"], sizes: Sequence[int]) -> Int64[np.ndarray, "count levels"]:
    """Bits of the group that starts at each code; 0 where none starts."""
    widths = np.zeros(present.shape, dtype=np.int64)
    for level, size in enumerate(sizes):
        rows, group = np.flatnonzero(present[:, level]), grouping(size)
        widths[rows[:: group.codes], level] = group.bits
        if short := len(rows) % group.codes:
            widths[rows[-short], level] = code_width(size**short)
    return widths
