"""The integers that files of a trained speech model need."""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from codeword.codecs.speech.model import SpeechModel
from codeword.entropy.counting import FrameCounter
from codeword.entropy.lines import SpeechTables
from codeword.functional.bands import UNIT
from codeword.quantizers import Quantizer


@torch.no_grad()
def export(model: SpeechModel, signals: Iterable[Float[Tensor, " time"]]) -> SpeechTables:
    """The integers of a trained model: codebooks, and tables of codes and lines.

    Args:
        model: Trained; it is moved to the CPU, where files are made.
        signals: Of training, at its rate, whose codes are counted.

    Raises:
        ValueError: If envelopes are not sums of codewords.
    """
    model.cpu().eval()
    books = integer_books(model.quantizer)
    counter = FrameCounter(model.quantizer.sizes, variable_depth=False)
    for signal in signals:
        codes = model.encode_envelope(model.analyse(signal.unsqueeze(0)))
        counter.add(codes.numpy())
    return SpeechTables(counter.tables(), books, model.envelope.bands, tuple(map(tuple, model.lines.tables())))


@torch.no_grad()
def integer_books(quantizer: Quantizer) -> tuple[Int64[np.ndarray, "_ bands"], ...]:
    """What every code of every level adds to an envelope, in 64ths of an octave.

    Raises:
        ValueError: If the vectors of a quantizer are not sums of what its codes stand for.
    """
    levels = len(quantizer.sizes)
    none = torch.zeros(1, levels, dtype=torch.long)
    base = quantizer.decode(none)
    books: list[Tensor] = []
    for level, size in enumerate(quantizer.sizes):
        codes = none.repeat(size, 1)
        codes[:, level] = torch.arange(size)
        books.append(quantizer.decode(codes) - (base if level else 0))
    some = torch.stack([torch.arange(64) * (2 * level + 3) % size for level, size in enumerate(quantizer.sizes)], 1)
    parts = torch.stack([book[some[:, level]] for level, book in enumerate(books)])
    if not torch.allclose(parts.sum(0), quantizer.decode(some), atol=1e-3):
        raise ValueError(f"envelopes must be sums of codewords, those of a {type(quantizer).__name__} are not")
    return tuple((UNIT * book).round().long().numpy() for book in books)


def belongs(tables: SpeechTables, model: SpeechModel) -> bool:
    """Whether tables are those of a model: codes stand for the same envelopes, but for rounding."""
    if tables.sizes != model.quantizer.sizes or tables.bands != model.envelope.bands:
        return False
    books = zip(tables.books, integer_books(model.quantizer), strict=True)
    return all(np.abs(ours - own).max() <= 1 for ours, own in books)
