"""Speech to ``.cw`` files and back."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from codeword.codecs.folders import digest
from codeword.codecs.speech.model import SpeechModel
from codeword.entropy.counting import FrameCounter
from codeword.entropy.lines import MOST_BITS, LineCoder, SpeechTables
from codeword.formats.container import BinaryWriter
from codeword.formats.counted import Counted
from codeword.formats.fields import check_model, short_fingerprint
from codeword.formats.speech import SpeechFileReader, SpeechFileWriter, SpeechHeader
from codeword.functional.bands import UNIT, step_exponents
from codeword.functional.threads import one_thread
from codeword.quantizers import Quantizer

_COARSEST, _FINEST = 24 * UNIT, -40 * UNIT  # exponents of steps
_PROMISED = 0.01  # a rate that is met worse than this is noted


class CompressedSpeech(NamedTuple):
    """What was written.

    Attributes:
        seconds: Length of the signal.
        num_bytes: Length of the file.
        step: Exponent of its steps, in 64ths of an octave of energy.
        note: Empty, or why a rate was not met.
    """

    seconds: float
    num_bytes: int
    step: int
    note: str

    @property
    def kbps(self) -> float:
        """Of the file, headers included; 0 for no signal."""
        return 8e-3 * self.num_bytes / self.seconds if self.seconds else 0.0


class _Analysed(NamedTuple):
    """A signal before its step is chosen."""

    lines: Float32[np.ndarray, "frames lines"]
    codes: Int64[np.ndarray, "frames levels"]
    energies: Int64[np.ndarray, "frames lines"]


class SpeechCodec:
    """A speech model with the integers that files need.

    ::

        audio ──► lines ──┬──► envelope ──► codes ──► energies, as integers ──► steps, tables
                          └──► rounded by their steps ──────────────────────────► message

    Args:
        model: A trained model.
        tables: What :func:`export` has made of it.
    """

    def __init__(self, model: SpeechModel, tables: SpeechTables):
        if tables.sizes != model.quantizer.sizes or tables.bands != model.envelope.bands:
            raise ValueError("these tables belong to another model: export them with export(model, signals)")
        self.model, self.tables = model.eval(), tables
        self._coder = LineCoder(tables)
        self.fingerprint = digest(model, model.arguments(), lambda _: False)

    def compress(
        self, audio: Float[Tensor, " time"], target: BinaryWriter, *, kbps: float | None = None, step: int | None = None
    ) -> CompressedSpeech:
        """Write the codes of a signal.

        Args:
            audio: At the model's rate.
            target: Where the file goes.
            kbps: Kilobits a second of the file, met by the choice of its step.
            step: Exponent of its steps in place of that.

        Raises:
            ValueError: If not exactly one of the two is given, or it is out of range.
        """
        if (kbps is None) == (step is None):
            raise ValueError("a file has a rate or a step: give kbps or step")
        if kbps is not None and not 0 < kbps < float("inf"):
            raise ValueError(f"a rate in kbps is positive, got {kbps}")
        if step is not None and not _FINEST <= step <= _COARSEST:
            raise ValueError(f"steps have exponents from {_FINEST} to {_COARSEST}, got {step}")
        analysed, samples = self._analyse(audio), audio.shape[-1]
        seconds = samples / self.model.sample_rate
        note = ""
        if step is None:
            assert kbps is not None
            step = self._step_for(analysed, samples, 125 * kbps * seconds)
            size = self._size(analysed, samples, step)
            if seconds and abs(size - 125 * kbps * seconds) > _PROMISED * 125 * kbps * seconds:
                note = f"{kbps:g} kbps was asked for, {8e-3 * size / seconds:.3f} is nearest"
        counted = Counted(target)
        self._write(counted, analysed, samples, step)
        return CompressedSpeech(seconds, counted.num_bytes, step, note)

    def decompress(self, reader: SpeechFileReader) -> Float[Tensor, " time"]:
        """The signal of a file.

        Raises:
            ValueError: If the file is of another model.
            FormatError: If it is damaged.
        """
        check_model(reader.header.model, self.fingerprint)
        steps, codes, values = np.split(reader.read_all(), [1, 1 + reader.header.levels], axis=1)
        exponents = step_exponents(self._coder.energies(codes), steps)
        lines = torch.from_numpy(values * np.exp2(exponents / (2 * UNIT))).float()
        total = reader.header.num_samples
        samples = max(0, len(lines) * self.model.hop - self.model.delay) if total is None else total
        with torch.inference_mode():
            return self.model.synthesise(lines.unsqueeze(0), samples)[0]

    @torch.inference_mode()
    @one_thread()
    def _analyse(self, audio: Float[Tensor, " time"]) -> _Analysed:
        lines = self.model.analyse(audio.unsqueeze(0))
        codes = self.model.encode_envelope(lines)[0].numpy()
        return _Analysed(lines[0].numpy(), codes, self._coder.energies(codes))

    def _step_for(self, analysed: _Analysed, samples: int, num_bytes: float) -> int:
        """The step whose file is nearest to so many bytes; coarser ones make smaller files."""
        low, high = _FINEST, _COARSEST
        sizes: dict[int, int] = {}
        while high - low > 1:
            middle = (low + high) // 2
            sizes[middle] = self._size(analysed, samples, middle)
            low, high = (low, middle) if sizes[middle] < num_bytes else (middle, high)
        for end in (low, high):
            sizes.setdefault(end, self._size(analysed, samples, end))
        return min((low, high), key=lambda step: abs(sizes[step] - num_bytes))

    def _size(self, analysed: _Analysed, samples: int, step: int) -> int:
        counted = Counted()
        self._write(counted, analysed, samples, step)
        return counted.num_bytes

    def _write(self, target: Counted, analysed: _Analysed, samples: int, step: int) -> None:
        exponents = step_exponents(analysed.energies, step)
        # Beyond what can be written nothing is heard that a step so fine would be chosen for.
        most = 2**MOST_BITS - 1
        values = np.rint(analysed.lines / np.exp2(exponents / (2 * UNIT))).clip(-most, most).astype(np.int64)
        header = SpeechHeader(
            model=short_fingerprint(self.fingerprint),
            sample_rate=self.model.sample_rate,
            lines=self.model.hop,
            sizes=self.tables.sizes,
            num_samples=samples,
        )
        steps = np.full((len(values), 1), step, dtype=np.int64)
        with SpeechFileWriter(target, header, tables=self.tables) as writer:
            writer.write(np.concatenate([steps, analysed.codes, values], axis=1))


@torch.no_grad()
def export(model: SpeechModel, signals: Iterable[Float[Tensor, " time"]]) -> SpeechTables:
    """The integers of a trained model: codebooks, and tables of codes and lines.

    Args:
        model: Trained.
        signals: Of training, at its rate, whose codes are counted.

    Raises:
        ValueError: If envelopes are not sums of codewords.
    """
    model.eval()
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
    some = torch.stack([torch.randint(size, (64,)) for size in quantizer.sizes], 1)
    total = sum(book[some[:, level]] for level, book in enumerate(books))
    if not torch.allclose(torch.as_tensor(total), quantizer.decode(some), atol=1e-3):
        raise ValueError(f"envelopes must be sums of codewords, those of a {type(quantizer).__name__} are not")
    return tuple((UNIT * book).round().long().numpy() for book in books)
