"""Integers of any width from 0 to 63 bits, packed into a little-endian bit stream and back.

Bit ``i`` of a stream is bit ``i % 8`` (counted from the least significant) of byte ``i // 8``. A row of codes is
written level 0 first, every code least significant bit first::

    byte         0                 1                 2
    bit          0 1 2 3 4 5 6 7   0 1 2 3 4 5 6 7   0 ...
    widths 3,7   a a a b b b b b   b b A A A B B B   B ...      a, b: row 0    A, B: row 1
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, Integer, UInt8, UInt64

MAX_WIDTH = 63
_WORD = 64
_NATIVE = {8: "<u1", 16: "<u2", 32: "<u4"}


class _Run(NamedTuple):
    """Neighbouring levels of a row that travel as one field of at most 64 bits."""

    levels: range
    width: int


def code_width(size: int) -> int:
    """Bits of one code out of ``size``: ceil(log2(size)), 0 when there is no choice."""
    if size < 1:
        raise ValueError(f"a codebook size is at least 1, got {size}")
    return (size - 1).bit_length()


def pack_bits(codes: Integer[np.ndarray, "count levels"], widths: Sequence[int]) -> bytes:
    """Pack rows of codes without any gap; only the last byte of the stream is padded, with zero bits.

    Args:
        codes: Integers, ``0 <= codes[:, m] < 2**widths[m]``.
        widths: Bits of every level, 0 to 63.

    Returns:
        ceil(count * sum(widths) / 8) bytes.
    """
    return _pack(codes, widths, sum(widths)).tobytes()


def unpack_bits(data: bytes, count: int, widths: Sequence[int]) -> Int64[np.ndarray, "{count} levels"]:
    """Undo :func:`pack_bits`.

    Raises:
        ValueError: If ``data`` has another length than ``count`` rows need, or padding bits that are not zero.
    """
    num_bits = count * sum(widths)
    return _unpack(stream_words(data, num_bits), count, widths, sum(widths))


def pack_rows(codes: Integer[np.ndarray, "count levels"], widths: Sequence[int]) -> UInt8[np.ndarray, "count bytes"]:
    """Pack every row into whole bytes of its own, the layout of FAISS (``faiss.pack_bitstrings``).

    Args:
        codes: Integers, ``0 <= codes[:, m] < 2**widths[m]``.
        widths: Bits of every level, 0 to 63.

    Returns:
        ceil(sum(widths) / 8) bytes a row; the last byte of each is padded with zero bits.
    """
    row_bytes = _num_bytes(sum(widths))
    return _pack(codes, widths, 8 * row_bytes).reshape(len(codes), row_bytes)


def unpack_rows(rows: UInt8[np.ndarray, "count bytes"], widths: Sequence[int]) -> Int64[np.ndarray, "count levels"]:
    """Undo :func:`pack_rows`; padding bits are not looked at."""
    count, row_bytes = rows.shape
    if row_bytes != _num_bytes(sum(widths)):
        raise ValueError(
            f"widths {tuple(widths)} make rows of {_num_bytes(sum(widths))} bytes, got rows of {row_bytes}"
        )
    return _unpack(stream_words(rows.tobytes(), 8 * rows.size), count, widths, 8 * row_bytes)


def scatter_fields(
    values: UInt64[np.ndarray, " fields"], offsets: Int64[np.ndarray, " fields"], num_bits: int
) -> UInt8[np.ndarray, " bytes"]:
    """OR fields of at most 64 bits into a stream of ``num_bits`` zero bits.

    Args:
        values: The fields; no bit is set beyond a field's width.
        offsets: Bit position of every field, ascending; fields do not overlap.
        num_bits: Length of the stream.
    """
    words = np.zeros(num_bits // _WORD + 2, dtype=np.uint64)
    if len(values):
        index, shift = offsets >> 6, (offsets & 63).astype(np.uint64)
        starts = np.flatnonzero(np.diff(index, prepend=-1))
        words[index[starts]] = np.bitwise_or.reduceat(values << shift, starts)
        # A shift by 64 is undefined, hence two steps. Only the last field that starts in a word can cross into the
        # next one, so no index occurs twice.
        spill = (values >> np.uint64(1)) >> (np.uint64(63) - shift)
        crossing = np.flatnonzero(spill)
        words[index[crossing] + 1] |= spill[crossing]
    return words.astype("<u8", copy=False).view(np.uint8)[: _num_bytes(num_bits)]


def gather_fields(
    words: UInt64[np.ndarray, " words"], offsets: Int64[np.ndarray, "*fields"], widths: Integer[np.ndarray, "*#fields"]
) -> UInt64[np.ndarray, "*fields"]:
    """Read fields of at most 64 bits out of the words of :func:`stream_words`.

    Args:
        words: The stream, followed by at least one spare word.
        offsets: Bit position of every field.
        widths: Bits of every field; broadcast.
    """
    index, shift = offsets >> 6, (offsets & 63).astype(np.uint64)
    values = (words[index] >> shift) | ((words[index + 1] << np.uint64(1)) << (np.uint64(63) - shift))
    mask = np.where(
        widths > 0, np.uint64(2**64 - 1) >> (np.maximum(_WORD - widths, 0) & 63).astype(np.uint64), np.uint64(0)
    )
    return values & mask


def stream_words(data: bytes, num_bits: int) -> UInt64[np.ndarray, " words"]:
    """The 64-bit words of a stream of exactly ``num_bits`` bits, followed by spare zero words.

    Raises:
        ValueError: If ``data`` has another length, or padding bits that are not zero.
    """
    if len(data) != _num_bytes(num_bits):
        raise ValueError(f"{num_bits} bits need {_num_bytes(num_bits)} bytes, got {len(data)}")
    if num_bits % 8 and data[-1] >> (num_bits % 8):
        raise ValueError(f"the {8 - num_bits % 8} padding bits at the end are not zero")
    padded = np.zeros(8 * (num_bits // _WORD + 2), dtype=np.uint8)
    padded[: len(data)] = np.frombuffer(data, dtype=np.uint8)
    return padded.view("<u8").astype(np.uint64, copy=False)


def _num_bytes(num_bits: int) -> int:
    return (num_bits + 7) // 8


def _check_widths(widths: Sequence[int]) -> None:
    if not all(0 <= width <= MAX_WIDTH for width in widths):
        raise ValueError(f"widths are 0 to {MAX_WIDTH} bits, got {tuple(widths)}")


def _runs(widths: Sequence[int]) -> list[_Run]:
    """Cut a row into as few fields as possible: scattering costs the same for a field of 3 bits and one of 64."""
    runs = [_Run(range(0), 0)]
    for level, width in enumerate(widths):
        last = runs[-1]
        if last.width + width <= _WORD:
            runs[-1] = _Run(range(last.levels.start, level + 1), last.width + width)
        else:
            runs.append(_Run(range(level, level + 1), width))
    return runs


def _pack(
    codes: Integer[np.ndarray, "count levels"], widths: Sequence[int], row_bits: int
) -> UInt8[np.ndarray, " bytes"]:
    _check_widths(widths)
    if codes.shape[1] != len(widths):
        raise ValueError(f"codes have {codes.shape[1]} levels, but there are {len(widths)} widths")
    codes = codes.astype(np.int64, copy=False)
    # An arithmetic shift leaves 0 only of codes that fit, and -1 of negative ones.
    if (wrong := (codes >> np.array(widths, dtype=np.int64)) != 0).any():
        row, level = (int(axis[0]) for axis in np.nonzero(wrong))
        raise ValueError(f"codes[{row}, {level}] = {codes[row, level]} does not fit into {widths[level]} bits")
    if len(set(widths)) == 1 and widths[0] in _NATIVE:
        return np.ascontiguousarray(codes, dtype=_NATIVE[widths[0]]).view(np.uint8).reshape(-1)
    runs = _runs(widths)
    fields = np.zeros((len(codes), len(runs)), dtype=np.uint64)
    for position, run in enumerate(runs):
        shift = 0
        for level in run.levels:
            fields[:, position] |= codes[:, level].astype(np.uint64) << np.uint64(shift & 63)
            shift += widths[level]
    return scatter_fields(fields.reshape(-1), _offsets(len(codes), runs, row_bits).reshape(-1), len(codes) * row_bits)


def _unpack(
    words: UInt64[np.ndarray, " words"], count: int, widths: Sequence[int], row_bits: int
) -> Int64[np.ndarray, "count levels"]:
    _check_widths(widths)
    if len(set(widths)) == 1 and widths[0] in _NATIVE:
        stored = words.astype("<u8", copy=False).view(_NATIVE[widths[0]])[: count * len(widths)]
        return stored.reshape(count, len(widths)).astype(np.int64)
    runs = _runs(widths)
    fields = gather_fields(
        words, _offsets(count, runs, row_bits), np.array([run.width for run in runs], dtype=np.int64)
    )
    codes = np.empty((count, len(widths)), dtype=np.int64)
    for position, run in enumerate(runs):
        shift = 0
        for level in run.levels:
            mask = np.uint64((1 << widths[level]) - 1)
            codes[:, level] = (fields[:, position] >> np.uint64(shift & 63)) & mask
            shift += widths[level]
    return codes


def _offsets(count: int, runs: Sequence[_Run], row_bits: int) -> Int64[np.ndarray, "count runs"]:
    inside = np.array(list(accumulate((run.width for run in runs[:-1]), initial=0)), dtype=np.int64)
    return np.arange(count, dtype=np.int64)[:, None] * row_bits + inside
