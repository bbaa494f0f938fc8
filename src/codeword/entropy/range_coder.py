"""Streams of integers to bytes and back, through the range coder of constriction with integer tables.

constriction works with probabilities of 24 bits; a table of counts that sum to 2**16 is the exact model of
256 * counts[k] in 2**24. The words that constriction emits are a part of the format (docs/formats.md says how to read
them with integers alone).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import constriction
import numpy as np
from jaxtyping import Int64, Integer

from codeword.entropy.tables import PRECISION, check_counts

_MODEL_PRECISION = 24
_stream: Any = constriction.stream  # pyrefly: ignore[missing-attribute]  # the compiled module has no type stubs

Model = Any  # constriction's model of one table; None for an alphabet of one symbol, of which constriction knows none


def exact_model(counts: Int64[np.ndarray, " size"]) -> Model:
    """The categorical model whose integer probabilities are exactly 256 * counts; ``None`` for one symbol.

    With ``perfect=False`` constriction places the left edge of symbol k at floor(scale * sum_{j<k} p_j) + k, with
    scale = (2**24 - size) / sum(p). Given p_k = 256 * counts[k] - 1 the scale is exactly 1.0, and every sum is an
    integer below 2**24, which float64 holds exactly: the edge is 256 * sum_{j<k} counts[j], nothing is ever rounded.

    Note:
        Handing over counts / 2**16 with ``perfect=True`` ends at the same integers, but by a search that compares
        logarithms; with ``perfect=False`` it does not end there.
    """
    if len(counts) == 1:
        return None
    weights = counts * 2 ** (_MODEL_PRECISION - PRECISION) - 1
    return _stream.model.Categorical(weights.astype(np.float64), perfect=False)


# The first model binds NumPy, where an interrupt would be a panic of the compiled module: here, no file is open yet.
exact_model(np.full(2, 1 << (PRECISION - 1)))


class MessageWriter:
    """One run of the coder: symbols go in one after another, under any models, and bytes come out at the end."""

    def __init__(self) -> None:
        self._encoder = _stream.queue.RangeEncoder()

    def write(self, symbols: Integer[np.ndarray, " count"], model: Model) -> None:
        """Encode symbols that share a model."""
        if model is not None and len(symbols):
            self._encoder.encode(symbols.astype(np.int32), model)

    def write_each(self, symbols: Iterable[int], models: Iterable[Model]) -> None:
        """Encode every symbol under a model of its own, none of them ``None``."""
        encode = self._encoder.encode
        for symbol, model in zip(symbols, models, strict=True):
            encode(symbol, model)

    def data(self) -> bytes:
        """The message, in 32-bit words stored little-endian."""
        return self._encoder.get_compressed().astype("<u4", copy=False).tobytes()


class MessageReader:
    """Reads back what a :class:`MessageWriter` wrote, in the same order and under the same models.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) % 4:
            raise ValueError(f"range-coded data consists of 4-byte words, got {len(data)} bytes")
        self._decoder = _stream.queue.RangeDecoder(np.frombuffer(data, dtype="<u4").astype(np.uint32))

    def read(self, length: int, model: Model) -> Int64[np.ndarray, " {length}"]:
        """Decode symbols that share a model.

        Raises:
            ValueError: If no encoder makes such words.
        """
        if model is None or not length:
            return np.zeros(length, dtype=np.int64)
        return self.read_each(lambda step: step(model, length)).astype(np.int64)

    def read_each(self, loop: Callable[[Callable[..., Any]], Any]) -> Any:
        """Run ``loop`` with the function that decodes one symbol under the model given to it.

        A loop of the caller's may choose every model by what it has decoded before, at the price of one call a symbol.

        Raises:
            ValueError: If no encoder makes such words.
        """
        try:
            return loop(self._decoder.decode)
        except AssertionError as error:  # constriction's word for an impossible state
            raise ValueError("the words are not a range-coded message under these tables") from error

    def finish(self) -> None:
        """Check that nothing is left over."""
        if not self._decoder.maybe_exhausted():
            raise ValueError("words are left over after the last symbol")


class RangeCoder:
    """Codes several streams of symbols, one static table each, into one string of bytes.

    The streams follow one another in one run of the coder, whole streams in the order of the tables; a stream whose
    alphabet has one symbol leaves no trace. The coder's 32-bit words are stored little-endian.

    Args:
        tables: Counts >= 1 that sum to 2**16, one table a stream.
    """

    def __init__(self, tables: Sequence[Integer[np.ndarray, " _"]]) -> None:
        counts = [check_counts(table) for table in tables]
        self.sizes = tuple(len(table) for table in counts)
        self.models = [exact_model(table) for table in counts]

    def encode(self, streams: Sequence[Integer[np.ndarray, " _"]]) -> bytes:
        """Encode one array of symbols per table; arrays may differ in length and may be empty."""
        message = MessageWriter()
        for index, (symbols, model, size) in enumerate(zip(streams, self.models, self.sizes, strict=True)):
            if len(symbols) and not 0 <= symbols.min() <= symbols.max() < size:
                raise ValueError(
                    f"stream {index} has symbols {symbols.min()} to {symbols.max()}, its table is for 0 to {size - 1}"
                )
            message.write(symbols, model)
        return message.data()

    def decode(self, data: bytes, lengths: Sequence[int]) -> list[Int64[np.ndarray, " _"]]:
        """Decode ``lengths[i]`` symbols of every stream.

        Raises:
            ValueError: If ``data`` is not what these tables and lengths can have produced.
        """
        reader = RangeReader(self, data)
        streams = [reader.read(length) for length in lengths]
        reader.finish()
        return streams


class RangeReader:
    """Decodes the streams of a :class:`RangeCoder` one after another, when a length depends on what was decoded before.

    Args:
        coder: The coder that made the bytes, or one with equal tables.
        data: The bytes.
    """

    def __init__(self, coder: RangeCoder, data: bytes) -> None:
        self._models = iter(coder.models)
        self._message = MessageReader(data)

    def read(self, length: int) -> Int64[np.ndarray, " {length}"]:
        """Decode the next stream, which has ``length`` symbols."""
        return self._message.read(length, next(self._models))

    def finish(self) -> None:
        """Check that nothing is left over."""
        self._message.finish()
