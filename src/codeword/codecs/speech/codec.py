"""Speech to ``.cw`` files and back."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from huggingface_hub import ModelHubMixin
from jaxtyping import Float
from torch import Tensor

from codeword.codecs.folders import FILES
from codeword.codecs.rates import Kbps, Step, unmet
from codeword.codecs.sound import Progress, SalvagedSound, check_stretch, kilobits, missed
from codeword.codecs.speech.control import HOLD
from codeword.codecs.speech.export import belongs
from codeword.codecs.speech.framing import LineAnalysis
from codeword.codecs.speech.model import SpeechModel
from codeword.codecs.speech.rounding import COARSEST, FINEST, PART, Analysed, Frames, Rounding
from codeword.codecs.speech.storage import fingerprint, located, read_speech, write_speech
from codeword.codecs.speech.streaming import SpeechDecoder, SpeechEncoder, check_samples
from codeword.data.audio_stream import AudioStream
from codeword.entropy.lines import SpeechTables
from codeword.formats.container import CHUNK_HEAD, CRC, ENTRY, BinaryReader, BinaryWriter
from codeword.formats.counted import Counted
from codeword.formats.errors import FormatError
from codeword.formats.fields import check_model, short_fingerprint
from codeword.formats.speech import SpeechFileReader, SpeechFileWriter, SpeechHeader
from codeword.quantizers.storage import card, fetched

SpeechRate: TypeAlias = Kbps | Step
_TRIES = 4  # files that are measured before the nearest one is written
_OVERHEAD = 8 * (CHUNK_HEAD.size + CRC.size + ENTRY.size + 6)  # bits of a chunk of a stream, beside its message


class CompressedSpeech(NamedTuple):
    """What was written.

    Attributes:
        seconds: Length of the signal.
        num_bytes: Length of the file.
        step: Exponent of its steps, in 64ths of an octave of energy; of a stream, that of the last one.
        note: Empty, or why a rate was not met.
    """

    seconds: float
    num_bytes: int
    step: int
    note: str

    @property
    def kbps(self) -> float:
        """Of the file, headers included; 0 for no signal."""
        return kilobits(self.num_bytes, self.seconds)


_CARD = card(
    "A speech codec",
    "A codec of speech that codes the lines of a lapped transform under a vector-quantized envelope, written by "
    "codeword. `config.json` has its bands and its quantizer.",
    "from codeword.codecs.speech.codec import SpeechCodec\n\n"
    'codec = SpeechCodec.from_pretrained("this folder")\n# or: codeword compress --model FOLDER in.wav out.cw',
)


class SpeechCodec(ModelHubMixin, library_name="codeword", model_card_template=_CARD):
    """A speech model with the integers that files need.

    ::

        audio ──► lines ──┬──► envelope ──► codes ──► energies, as integers ──► steps, tables
                          └──► rounded by their steps ──────────────────────────► message

    Args:
        model: A trained model; it is moved to the CPU, where files are made.
        tables: What :func:`codeword.codecs.speech.export.export` has made of it.

    Raises:
        ValueError: If the tables are those of another model.
    """

    def __init__(self, model: SpeechModel, tables: SpeechTables):
        self.model, self.tables = model.cpu().eval(), tables
        if not belongs(tables, model):
            raise ValueError("these tables belong to another model: export them with export(model, signals)")
        self._rounding = Rounding(self.model, tables)
        self.fingerprint = fingerprint(model)

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.model.sample_rate

    @classmethod
    def open(cls, folder: Path) -> "SpeechCodec":
        """The codec in a folder, or the one that comes with the package under a name, without a look at any hub.

        Raises:
            ValueError: In one line that names the folder, if it holds no model or a damaged one.
        """
        return cls(*read_speech(folder))

    def reader(self, source: str | Path | BinaryReader) -> SpeechFileReader:
        """Open a file of this codec."""
        return SpeechFileReader(source, tables=self.tables, delay=self.model.delay)

    def encoder(self, rate: SpeechRate) -> SpeechEncoder:
        """For one channel of live speech at the model's rate."""
        self.check_rate(rate)
        return SpeechEncoder(self._rounding, rate)

    def decoder(self) -> SpeechDecoder:
        """For frames of live speech."""
        return SpeechDecoder(self._rounding)

    def compress(
        self,
        source: AudioStream,
        target: BinaryWriter,
        rate: SpeechRate,
        *,
        streaming: bool = False,
        progress: Progress | None = None,
    ) -> CompressedSpeech:
        """Write the codes of a signal.

        Args:
            source: A signal of one channel at the model's rate.
            target: Where the file goes.
            rate: What to spend.
            streaming: Write while reading; a rate is then met by a causal controller, never looking ahead.
            progress: Called after every block.

        Raises:
            ValueError: If the rate is out of range, or the signal another one.
        """
        self.check_rate(rate)
        if (source.rate, source.channels) != (self.model.sample_rate, 1):
            raise ValueError(
                f"the model is for one channel at {self.model.sample_rate} Hz, the signal has {source.channels} at "
                f"{source.rate} Hz: open it with rate={self.model.sample_rate}, channels=1"
            )
        blocks = _counted(source, progress)
        if streaming:
            return self._stream(blocks, target, rate)
        analysed = self._analyse(blocks)
        seconds, step, note = analysed.num_samples / self.model.sample_rate, 0, ""
        if isinstance(rate, Step):
            step = rate.exponent
        elif seconds:
            wanted = 125 * rate.value * seconds
            step, size = self._step_for(analysed, wanted)
            note = unmet(rate.value, "kbps", 8e-3 / seconds, size)
        counted = Counted(target)
        self._write(counted, analysed, step)
        return CompressedSpeech(seconds, counted.num_bytes, step, note)

    def decompress(
        self,
        reader: SpeechFileReader,
        *,
        start: float = 0.0,
        stop: float | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Float[Tensor, "1 _"]]:
        """The waveform of a file, block by block.

        Args:
            reader: The file, of this model.
            start: Seconds to begin at; anything but 0 needs a file that can be sought.
            stop: Seconds to end at.
            progress: Called after every block.

        Raises:
            ValueError: If the file is of another model.
            FormatError: If it is damaged.
        """
        self.check_reader(reader)
        if start or stop is not None:
            return self._stretch(reader, start, stop)
        return self._decode_all(reader, progress)

    def salvage(self, reader: SpeechFileReader) -> SalvagedSound:
        """The waveform of a damaged file, silent where frames were lost.

        Args:
            reader: The file, of this model.
        """
        self.check_reader(reader)
        frames, report = reader.salvage()
        parts = (_sound(frames[start : start + PART]) for start in range(0, len(frames), PART))
        return SalvagedSound(_cut(map(self.decoder().push, parts), reader.header.num_samples), report)

    def check_rate(self, rate: SpeechRate) -> None:
        """Refuse what the codec cannot spend.

        Raises:
            ValueError: Naming what it can.
        """
        if isinstance(rate, Step):
            if not (isinstance(rate.exponent, int) and FINEST <= rate.exponent <= COARSEST):
                raise ValueError(f"steps have whole exponents from {FINEST} to {COARSEST}, got {rate.exponent}")
            return
        if not isinstance(rate, Kbps):
            raise ValueError(f"a codec of speech spends Kbps or a Step, not {rate}")
        if rate.cap is not None:
            raise ValueError("a cap is for frames of a neural codec: leave it out")

    def check_reader(self, reader: SpeechFileReader) -> None:
        """Refuse a file of another model.

        Raises:
            ValueError: Naming both fingerprints.
            FormatError: If it claims what this model does not write.
        """
        rate, lines, sizes = self.model.sample_rate, self.model.hop, self.tables.sizes
        check_model(reader.header, self.fingerprint, sample_rate=rate, lines=lines, sizes=sizes)

    def _analyse(self, blocks: Iterable[Float[Tensor, "1 _"]]) -> Analysed:
        # One growing buffer each: hours of small arrays would tear the heap apart.
        lines, codes, analysis = BytesIO(), BytesIO(), LineAnalysis(self.model)

        def keep(found: Tensor) -> None:
            lines.write(found.numpy().tobytes())
            codes.write(self._rounding.encode(found).tobytes())

        for block in blocks:
            check_samples(block)
            keep(analysis.push(block[0]))
        keep(analysis.finish())
        return Analysed(
            np.frombuffer(lines.getbuffer(), np.float32).reshape(-1, self.model.hop),
            np.frombuffer(codes.getbuffer(), np.int64).reshape(-1, len(self.tables.sizes)),
            analysis.num_samples,
        )

    def _step_for(self, analysed: Analysed, num_bytes: float) -> tuple[int, int]:
        """The step whose file is nearest to so many bytes, and its size; coarser ones make smaller files."""
        if all(self._rounding.silent(*part, FINEST) for part in analysed.parts()):
            return self._sized(analysed, COARSEST)
        bits: dict[int, float] = {}
        sizes: dict[int, int] = {}
        beside = 0.0  # bits that a file has beside those of its lines

        def expected(step: int) -> float:
            if step not in bits:
                parts = analysed.rounded(self._rounding, step)
                bits[step] = sum(float(self._rounding.bits(part).sum()) for part in parts)
            return (bits[step] + beside) / 8

        for _ in range(_TRIES):
            low, high = FINEST, COARSEST
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if expected(middle) < num_bytes else (middle, high)
            step = min((low, high), key=lambda step: abs(expected(step) - num_bytes))
            if step in sizes:
                break
            sizes[step] = self._sized(analysed, step)[1]
            beside = 8 * sizes[step] - bits[step]
        return min(sizes.items(), key=lambda found: abs(found[1] - num_bytes))

    def _sized(self, analysed: Analysed, step: int) -> tuple[int, int]:
        """A step and the bytes of its file."""
        counted = Counted()
        self._write(counted, analysed, step)
        return step, counted.num_bytes

    def _write(self, target: BinaryWriter, analysed: Analysed, step: int) -> None:
        with SpeechFileWriter(target, self._header(analysed.num_samples), tables=self.tables) as writer:
            for frames in analysed.rounded(self._rounding, step):
                writer.write(frames)

    def _stream(
        self, blocks: Iterable[Float[Tensor, "1 _"]], target: BinaryWriter, rate: SpeechRate
    ) -> CompressedSpeech:
        counted, encoder = Counted(target), SpeechEncoder(self._rounding, rate, overhead=_OVERHEAD)
        writer = SpeechFileWriter(counted, self._header(None), tables=self.tables, chunk_frames=HOLD)
        for block in blocks:
            writer.write(encoder.push(block))
        samples = encoder.num_samples
        last = encoder.finish()
        writer.write(last)
        writer.close(samples)
        seconds, note = samples / self.model.sample_rate, ""
        if isinstance(rate, Kbps):
            note = missed(rate.value, seconds, counted.num_bytes)
        return CompressedSpeech(seconds, counted.num_bytes, int(last[-1, 0]), note)

    def _decode_all(self, reader: SpeechFileReader, progress: Progress | None) -> Iterator[Float[Tensor, "1 _"]]:
        rate, decoder, frames = self.model.sample_rate, self.decoder(), 0
        held = torch.zeros(1, 0)  # only the end of the file tells how much of it counts
        done = 0
        for block in reader:
            yield held
            done += held.shape[-1]
            frames += len(block)
            held = decoder.push(_sound(block))
            if progress is not None:
                total = reader.header.num_samples
                progress(done / rate, None if total is None else total / rate)
        yield held[:, : self._length(reader, frames) - done]

    def _stretch(self, reader: SpeechFileReader, start: float, stop: float | None) -> Iterator[Float[Tensor, "1 _"]]:
        model = self.model
        known = self._length(reader, reader.num_frames) if reader.seekable else None
        first, last = check_stretch(start, stop, known, model.sample_rate)
        # What a frame before the first one shares with it lies before the stretch.
        begin, end = first // model.hop, model.num_frames(last)
        decoder = SpeechDecoder(self._rounding, begin)
        skip, left = first - begin * model.hop, last - first
        for frames in reader.stretch(begin, end):
            made = decoder.push(_sound(frames))
            block = made[:, skip:][:, :left]
            skip, left = max(0, skip - made.shape[-1]), left - block.shape[-1]
            if block.shape[-1]:
                yield block

    def _length(self, reader: SpeechFileReader, frames: int) -> int:
        """Samples of a file that has so many frames.

        Raises:
            FormatError: If it says otherwise.
        """
        samples = reader.num_samples or 0
        if reader.header.num_samples is None and samples == frames * self.model.hop:  # nobody told where it ends
            return max(0, samples - self.model.delay)
        if frames != (due := self.model.num_frames(samples)):
            raise FormatError("header", f"{samples} samples have {due} frames, not {frames}")
        return samples

    def _header(self, num_samples: int | None) -> SpeechHeader:
        return SpeechHeader(
            model=short_fingerprint(self.fingerprint),
            sample_rate=self.model.sample_rate,
            lines=self.model.hop,
            sizes=self.tables.sizes,
            num_samples=num_samples,
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "SpeechCodec":
        """The codec in a folder, in a repository of a hub, or under the name of the one that comes with the package."""
        return super().from_pretrained(located(Path(pretrained_model_name_or_path)), **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_speech(save_directory, self.model, self.tables)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "SpeechCodec":
        return cls(*read_speech(fetched(model_id, FILES, **options)))


def _counted(source: AudioStream, progress: Progress | None) -> Iterator[Float[Tensor, "1 _"]]:
    """The blocks of a source, told of."""
    total = None if source.frames is None else source.frames / source.rate
    done = 0
    for block in source:
        yield block
        done += block.shape[-1]
        if progress is not None:
            progress(done / source.rate, total)


def _sound(frames: Frames) -> Frames:
    """Frames whose steps are such as an encoder takes; those of lost ones, -1, are.

    Raises:
        FormatError: If they are not.
    """
    steps = frames[:, 0]
    if len(steps) and not FINEST <= steps.min() <= steps.max() <= COARSEST:
        raise FormatError(
            "chunks", f"steps have exponents from {FINEST} to {COARSEST}, here {steps.min()} to {steps.max()}"
        )
    return frames


def _cut(blocks: Iterable[Float[Tensor, "1 _"]], samples: int | None) -> Iterator[Float[Tensor, "1 _"]]:
    """No more than so many samples."""
    for block in blocks:
        yield block if samples is None else block[:, :samples]
        samples = None if samples is None else max(0, samples - block.shape[-1])
