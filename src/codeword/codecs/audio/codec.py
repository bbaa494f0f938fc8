"""Audio to ``.cw`` files and back."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from huggingface_hub import ModelHubMixin
from jaxtyping import Float, Float32, Int16, Int64
from torch import Tensor

from codeword.codecs.audio.choice import Compressed, RateChoice
from codeword.codecs.audio.model import AudioModel
from codeword.codecs.audio.rate import FileSize, bits_for, write_at
from codeword.codecs.audio.spending import Spending, check_rate
from codeword.codecs.audio.storage import fingerprint, located, read_audio, write_audio
from codeword.codecs.audio.transform import AudioTransform, CodedFrames
from codeword.codecs.folders import FILES
from codeword.codecs.rates import Kbps, Levels, Scale, unmet
from codeword.codecs.sound import Progress, SalvagedSound, check_stretch, missed
from codeword.data.audio_stream import AudioStream
from codeword.entropy.counting import FrameCounter
from codeword.entropy.frames import FrameTables
from codeword.formats.audio import AudioFileReader, AudioFileWriter
from codeword.formats.audio_payload import AudioHeader
from codeword.formats.container import ENTRY, BinaryReader, BinaryWriter
from codeword.formats.counted import Counted
from codeword.formats.fields import check_model, short_fingerprint
from codeword.functional.rate import codes_at, depth_for_bits, depths_at, scale_for_bits
from codeword.quantizers.storage import card, fetched


class _Measured:
    """The blocks of a stream, counted."""

    def __init__(self, source: AudioStream) -> None:
        self.source, self.channels, self.num_samples = source, source.channels, 0

    def __iter__(self) -> Iterator[Float[Tensor, "channels _"]]:
        for block in self.source:
            self.num_samples += block.shape[-1]
            yield _mid_side(block)


class _Coded(NamedTuple):
    """A whole signal in codes of all levels: a few kilobytes a second."""

    codes: Int16[np.ndarray, "channels frames levels"]
    importance: Float32[np.ndarray, "channels frames"] | None
    num_samples: int


_CARD = card(
    "An audio codec",
    "A neural codec that spends as many codebooks on every frame as it needs, written by codeword. `config.json` has "
    "its sample rate and its networks.",
    "from codeword.codecs.audio.codec import AudioCodec\n\n"
    'codec = AudioCodec.from_pretrained("this folder")\n# or: codeword compress --model FOLDER in.wav out.cw',
)


class AudioCodec(ModelHubMixin, library_name="codeword", model_card_template=_CARD):
    """An audio model with what files need.

    ::

        audio ──► windows ──► codes, importance ──► depths for a rate ──► chunks of a .cw file
        audio ◄── windows ◄── codes ◄─────────────────────────────────────────────┘

    Args:
        model: A trained model; its weight norm is removed.
        tables: Its entropy tables; without them codes are packed.
    """

    def __init__(self, model: AudioModel, tables: FrameTables | None = None):
        self.model, self.tables, self.transform = model, tables, AudioTransform(model)
        self.fingerprint = fingerprint(model)

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.model.sample_rate

    @classmethod
    def open(cls, folder: Path) -> "AudioCodec":
        """The codec in a folder, or the one that comes with the package under a name, without a look at any hub.

        ``AudioCodec.open(Path("speech-16k"))`` is for speech at 16 kHz.

        Raises:
            ValueError: In one line that names the folder, if it holds no model or a damaged one.
        """
        return cls(*read_audio(folder))

    def reader(self, source: str | Path | BinaryReader) -> AudioFileReader:
        """Open a file of this codec."""
        return AudioFileReader(source, tables=self.tables)

    def learn_tables(self, signals: Iterable[Iterable[Float[Tensor, "channels _"]]], scales: Iterable[float]) -> None:
        """Count the codes of training signals at the scales in use, for range coding.

        Args:
            signals: Waveforms at the model's rate, in blocks.
            scales: Scales, taken in turn; not used by a model of constant depth.
        """
        varies = self.model.importance is not None
        counter = FrameCounter(self.model.quantizer.quantizer.sizes, variable_depth=varies)
        scales = list(scales)
        for number, blocks in enumerate(signals):
            for coded in self.transform.encode(blocks):
                codes = coded.codes.numpy()
                if coded.importance is not None:
                    scale = scales[number % len(scales)]
                    codes = codes_at(codes, depths_at(coded.importance.numpy(), scale, self.model.levels))
                counter.add(codes)
        self.tables = counter.tables()

    def compress(
        self,
        source: AudioStream,
        target: BinaryWriter,
        rate: RateChoice,
        *,
        streaming: bool = False,
        progress: Progress | None = None,
    ) -> Compressed:
        """Write the codes of a signal.

        Args:
            source: A signal at the model's rate. Two channels are coded as mid and side, others one by one.
            target: Where the file goes.
            rate: What to spend.
            streaming: Write while reading; a rate is then met by a causal controller, never looking ahead.
            progress: Called after every window.

        Raises:
            ValueError: If the rate does not suit the model.
        """
        self.check_rate(rate)
        signal = _Measured(source)
        windows = self._windows(signal, progress)
        if streaming:
            return self._stream(signal, windows, target, rate)
        coded = self._whole(signal, windows)
        header = self._header(source.channels, coded.num_samples)
        counted = Counted(target)
        depths, note = self._depths(rate, header, coded)
        if isinstance(depths, int):
            header = self._header(source.channels, coded.num_samples, depths)
        with AudioFileWriter(counted, header, tables=self.tables) as writer:
            write_at(writer, coded.codes, depths)
        levels = float(np.mean(depths)) if coded.num_samples else 0.0
        return Compressed(coded.num_samples / self.model.sample_rate, counted.num_bytes, levels, note)

    def decompress(
        self,
        reader: AudioFileReader,
        *,
        levels: int | None = None,
        start: float = 0.0,
        stop: float | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Float[Tensor, "channels _"]]:
        """The waveform of a file, block by block.

        Args:
            reader: The file, of this model.
            levels: How many levels to use at most.
            start: Seconds to begin at; anything but 0 needs a file that can be sought.
            stop: Seconds to end at.
            progress: Called after every window.

        Raises:
            ValueError: If the file is of another model.
            FormatError: If it is damaged.
        """
        self.check_reader(reader)
        if start or stop is not None:
            return self._stretch(reader, levels, start, stop)
        return self._decode_all(reader, reader.blocks(levels), progress)

    def salvage(self, reader: AudioFileReader) -> SalvagedSound:
        """The waveform of a damaged file, silent where frames were lost.

        Args:
            reader: The file, of this model.
        """
        self.check_reader(reader)
        codes, report = reader.salvage()
        return SalvagedSound(self._restore(codes, reader.header.channel_mode), report)

    def check_rate(self, rate: RateChoice) -> None:
        """Refuse what the model cannot spend.

        Raises:
            ValueError: Naming what it can.
        """
        check_rate(self.model, rate)

    def check_reader(self, reader: AudioFileReader) -> None:
        """Refuse a file of another model.

        Raises:
            ValueError: Naming both fingerprints.
            FormatError: If it claims what this model does not write.
        """
        rate, hop, sizes = self.model.sample_rate, self.model.hop, self.model.quantizer.quantizer.sizes
        check_model(reader.header, self.fingerprint, sample_rate=rate, hop=hop, sizes=sizes)

    def _restore(
        self, codes: Int64[np.ndarray, "channels frames levels"], mode: str
    ) -> Iterator[Float[Tensor, "channels _"]]:
        done, hop = 0, self.model.hop
        for made in self.transform.decode([torch.from_numpy(codes)]):
            frames = made.shape[-1] // hop
            lost = torch.from_numpy((codes[:, done : done + frames] < 0).all(-1)).repeat_interleave(hop, 1)
            done += frames
            yield _left_right(torch.where(lost, 0.0, made), mode)

    def _windows(self, signal: _Measured, progress: Progress | None) -> Iterator[CodedFrames]:
        source = signal.source
        if source.rate != self.model.sample_rate:
            raise ValueError(f"the model works at {self.model.sample_rate} Hz, the signal is at {source.rate} Hz")
        total = None if source.frames is None else source.frames / source.rate
        done = 0.0
        for coded in self.transform.encode(signal):
            done += coded.codes.shape[1] / self.model.frame_rate
            yield coded
            if progress is not None:
                progress(done if total is None else min(done, total), total)

    def _header(self, channels: int, num_samples: int | None, depth: int | None = None) -> AudioHeader:
        return AudioHeader(
            model=short_fingerprint(self.fingerprint),
            sample_rate=self.model.sample_rate,
            hop=self.model.hop,
            sizes=self.model.quantizer.quantizer.sizes,
            num_samples=num_samples,
            channels=channels,
            channel_mode="mid_side" if channels == 2 else "dual",
            depth=depth,
        )

    def _whole(self, signal: _Measured, windows: Iterator[CodedFrames]) -> _Coded:
        # One growing buffer each: small arrays kept between the large ones of the networks would tear the heap apart.
        codes, importance = BytesIO(), BytesIO()
        for coded in windows:
            codes.write(coded.codes.numpy().astype(np.int16).transpose(1, 0, 2).tobytes())
            if coded.importance is not None:
                importance.write(coded.importance.numpy().T.tobytes())
        found = np.frombuffer(codes.getbuffer(), np.int16).reshape(-1, signal.channels, self.model.levels)
        spent = None
        if self.model.importance is not None:
            spent = np.frombuffer(importance.getbuffer(), np.float32).reshape(-1, signal.channels).T
        return _Coded(found.transpose(1, 0, 2), spent, signal.num_samples)

    def _depths(
        self, rate: RateChoice, header: AudioHeader, coded: _Coded
    ) -> tuple[Int64[np.ndarray, "channels frames"] | int, str]:
        """Depths of a whole signal, one number for all if they are constant; and a note."""
        match rate:
            case Levels(count):
                return count, ""
            case Scale(value):
                assert coded.importance is not None
                return depths_at(coded.importance, value, self.model.levels), ""
            case Kbps(value, cap):
                if cap is not None:
                    raise ValueError(
                        "a cap is for pipes and streams; the rate of a file is met as a whole: leave it out"
                    )
                if not coded.num_samples:
                    return 1, ""
                seconds = coded.num_samples / header.sample_rate
                bits = bits_for(value, coded.num_samples, header.sample_rate)
                if coded.importance is None:
                    sizes = self._sizes(coded, header)
                    depth = depth_for_bits(sizes, bits)
                    return depth, unmet(value, "kbps", 8e-3 / seconds, sizes[depth - 1], (sizes[0], sizes[-1]))
                size = FileSize(coded.codes, header, tables=self.tables)
                found = scale_for_bits(
                    coded.importance, self.model.levels, bits, size, scales=self.model.quantizer.scales
                )
                return found.depths, unmet(value, "kbps", 8e-3 / seconds, found.num_bytes, found.reach)

    def _sizes(self, coded: _Coded, header: AudioHeader) -> list[int]:
        """Bytes of the file at every constant depth."""
        codes = coded.codes

        def size(depth: int) -> int:
            own = replace(header, depth=depth)
            return FileSize(codes, own, tables=self.tables)(np.full(codes.shape[:2], depth))

        return [size(depth) for depth in range(1, self.model.levels + 1)]

    def _stream(
        self, signal: _Measured, windows: Iterator[CodedFrames], target: BinaryWriter, rate: RateChoice
    ) -> Compressed:
        constant = rate.count if isinstance(rate, Levels) else None
        header, counted = self._header(signal.channels, None, constant), Counted(target)
        spending = Spending(self.model, rate, signal.channels)
        spent = frames = 0
        writer = AudioFileWriter(counted, header, tables=self.tables)
        for coded in windows:
            depths = spending.depths(coded.importance)
            before = counted.num_bytes
            writer.write(codes_at(coded.codes.numpy(), depths))
            writer.flush()
            if written := counted.num_bytes - before:
                spending.settle(8 * (written + ENTRY.size))  # the footer will hold an entry for every chunk
            spent += float(np.mean(depths)) * coded.codes.shape[1]
            frames += coded.codes.shape[1]
        writer.close(signal.num_samples)
        seconds = signal.num_samples / self.model.sample_rate
        note = missed(rate.value, seconds, counted.num_bytes) if isinstance(rate, Kbps) else ""
        note = note and f"{note}: model or cap allow no nearer rate"
        return Compressed(seconds, counted.num_bytes, spent / max(frames, 1), note)

    def _decode_all(
        self,
        reader: AudioFileReader,
        blocks: Iterator[Int64[np.ndarray, "channels _ levels"]],
        progress: Progress | None,
    ) -> Iterator[Float[Tensor, "channels _"]]:
        held: Tensor | None = None  # only the end of the file tells how much of the last frame counts
        done, mode = 0, reader.header.channel_mode
        for made in self.transform.decode(torch.from_numpy(block) for block in blocks):
            if held is not None:
                yield held
                done += held.shape[-1]
                if progress is not None:
                    total = reader.header.num_samples
                    rate = self.model.sample_rate
                    progress(done / rate, None if total is None else total / rate)
            held = _left_right(made, mode)
        if held is not None:
            total = reader.num_samples
            yield held if total is None else held[:, : total - done]

    def _stretch(
        self, reader: AudioFileReader, levels: int | None, start: float, stop: float | None
    ) -> Iterator[Float[Tensor, "channels _"]]:
        hop = self.model.hop
        known = reader.num_samples if reader.seekable else None
        first, last = check_stretch(start, stop, known, self.model.sample_rate)
        before = max(0, first // hop - self.model.reach[1])
        after = min(-(-(reader.num_samples or 0) // hop), -(-last // hop) + self.model.reach[1])
        skip, left = first - before * hop, last - first
        for made in self.transform.decode(map(torch.from_numpy, reader.stretch(before, after, levels))):
            block = _left_right(made, reader.header.channel_mode)[:, skip:][:, :left]
            skip, left = max(0, skip - made.shape[-1]), left - block.shape[-1]
            if block.shape[-1]:
                yield block

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "AudioCodec":
        """The codec in a folder, in a repository of a hub, or under the name of the one that comes with the package."""
        return super().from_pretrained(located(Path(pretrained_model_name_or_path)), **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_audio(save_directory, self.model, self.tables)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "AudioCodec":
        return cls(*read_audio(fetched(model_id, FILES, **options)))


def _mid_side(block: Float[Tensor, "channels time"]) -> Float[Tensor, "channels time"]:
    """Half the sum and half the difference of two channels; others as they are."""
    if len(block) != 2:
        return block
    left, right = block
    return torch.stack([left + right, left - right]) / 2


def _left_right(block: Float[Tensor, "channels time"], mode: str) -> Float[Tensor, "channels time"]:
    """Undo ``_mid_side``."""
    if mode != "mid_side":
        return block
    mid, side = block
    return torch.stack([mid + side, mid - side])
