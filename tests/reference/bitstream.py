"""Bit packing and mixed radix in plain Python integers, one code at a time, as docs/formats.md words them."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache


def pack(fields: Sequence[tuple[int, int]]) -> bytes:
    """Fields (value, width), least significant bit first, into one little-endian stream."""
    stream = position = 0
    for value, width in fields:
        stream |= value << position
        position += width
    return stream.to_bytes((position + 7) // 8, "little")


@cache
def width_of(values: int) -> int:
    """Smallest w with 2**w >= values."""
    width = 0
    while 2**width < values:
        width += 1
    return width


@cache
def group_of(size: int) -> int:
    """Codes per group: fewest bits a code among all groups of at most 63 bits, then the fewest codes."""
    fitting = [g for g in range(1, 64) if size**g <= 2**63]
    return min(fitting, key=lambda g: (Fraction(width_of(size**g), g), g))


def pack_radix(rows: Sequence[Sequence[int]], sizes: Sequence[int]) -> bytes:
    fields = []
    waiting = [[row[level] for row in rows if row[level] >= 0] for level in range(len(sizes))]
    in_group = [0] * len(sizes)
    for row in rows:
        for level, size in enumerate(sizes):
            if row[level] < 0:
                continue
            if not in_group[level]:
                digits = waiting[level][: group_of(size)]
                del waiting[level][: len(digits)]
                fields.append((sum(d * size**i for i, d in enumerate(digits)), width_of(size ** len(digits))))
                in_group[level] = len(digits)
            in_group[level] -= 1
    return pack(fields)


def unpack_radix(data: bytes, depths: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    stream, position = int.from_bytes(data, "little"), 0
    left = [sum(depth > level for depth in depths) for level in range(len(sizes))]
    open_group: list[list[int]] = [[] for _ in sizes]
    rows = []
    for depth in depths:
        row = [-1] * len(sizes)
        for level in range(depth):
            size = sizes[level]
            if not open_group[level]:
                group = min(group_of(size), left[level])
                width = width_of(size**group)
                number = (stream >> position) % 2**width
                position += width
                left[level] -= group
                open_group[level] = [number // size**i % size for i in range(group)]
            row[level] = open_group[level].pop(0)
        rows.append(row)
    return rows
