"""A range decoder in plain Python integers: what docs/formats.md says about range-coded payloads, and nothing else.

It knows neither constriction nor NumPy. Slow on purpose: one symbol at a time, linear search in the table.
"""

from collections.abc import Sequence

STATE_BITS, WORD_BITS, MODEL_BITS = 64, 32, 24
STATE_MASK = 2**STATE_BITS - 1


class RangeDecoder:
    def __init__(self, data: bytes) -> None:
        self.words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        self.lower, self.width = 0, STATE_MASK
        self.point = 0
        for _ in range(STATE_BITS // WORD_BITS):
            self.shift_in()

    def shift_in(self) -> None:
        word = self.words.pop(0) if self.words else 0
        self.point = (self.point << WORD_BITS | word) & STATE_MASK

    def decode(self, counts: Sequence[int]) -> int:
        if len(counts) == 1:
            return 0
        total = sum(counts)
        probabilities = [count * 2**MODEL_BITS // total for count in counts]
        scale = self.width >> MODEL_BITS
        quantile = ((self.point - self.lower) & STATE_MASK) // scale
        assert quantile < 2**MODEL_BITS, "impossible state"
        left = symbol = 0
        while left + probabilities[symbol] <= quantile:
            left += probabilities[symbol]
            symbol += 1
        self.lower = (self.lower + scale * left) & STATE_MASK
        self.width = scale * probabilities[symbol]
        if self.width < 2 ** (STATE_BITS - WORD_BITS):
            self.width <<= WORD_BITS
            self.lower = (self.lower << WORD_BITS) & STATE_MASK
            self.shift_in()
        return symbol


def decode_streams(data: bytes, lengths: Sequence[int], tables: Sequence[Sequence[int]]) -> list[list[int]]:
    decoder = RangeDecoder(data)
    return [[decoder.decode(table) for _ in range(length)] for length, table in zip(lengths, tables, strict=True)]
