"""``codeword decompress``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

import tyro

from codeword.cli.common import (
    CODES,
    OptionalCount,
    OptionalModel,
    OptionalNumber,
    check_output,
    offering_salvage,
    pairs,
    progress_bar,
    report_failures,
)

if TYPE_CHECKING:
    from codeword.codecs.audio.codec import AudioCodec
    from codeword.data.audio_writer import AudioWriter
    from codeword.formats.audio import AudioFileReader


@dataclass(frozen=True)
class Decompress:
    """Turn a .cw file back into audio or an image, or a folder of them."""

    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="CODES")]]
    """File of codes, - for standard input, or a folder."""
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
    """Audio: .wav, .flac or .ogg; an image: .png, .jpg, .webp, .bmp, .tif; - for WAV or PNG to standard output; or a
    folder, which gets .wav or .png."""
    model: OptionalModel = None
    """Folder of the model that compressed it; unset, the one for speech that comes with codeword."""
    levels: OptionalCount = None
    """Use at most so many levels of every frame."""
    start: OptionalNumber = None
    """Begin here, in seconds."""
    stop: OptionalNumber = None
    """End here, in seconds."""
    bits: Literal[16, 24, 32] = 16
    """Of a sample; 32 are floats."""
    salvage: bool = False
    """Decode what is intact of a damaged file; lost frames become silence and are reported."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        """Decompress one file, or all of a folder that are not there yet."""
        from codeword.cli.kinds import kind_of_codes, no_image_model

        if self.salvage and (self.levels, self.start, self.stop) != (None, None, None):
            raise ValueError("--salvage decodes all that is left: leave out --levels, --start and --stop")
        if kind_of_codes(self.source, self.model) == "audio":
            self._audio()
        elif self.model is None:
            raise no_image_model(self.source)
        else:
            self._images(self.model)

    def _audio(self) -> None:
        from codeword.codecs.audio.codec import AudioCodec
        from codeword.codecs.audio.storage import SPEECH

        work = pairs(self.source, self.out, ".wav", CODES, overwrite=self.overwrite)
        codec = AudioCodec.open(self.model or Path(SPEECH))
        if self.source.is_dir():
            report_failures(work, lambda pair, place: self._one(codec, *pair, place=place))
            return
        self._one(codec, *work[0])

    def _images(self, model: Path) -> None:
        from codeword.cli.images import decompress_image
        from codeword.codecs.image.codec import ImageCodec

        given = {"levels": self.levels, "start": self.start, "stop": self.stop}
        if strange := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"--{strange[0]} is not for images: leave it out")
        work = pairs(self.source, self.out, ".png", CODES, overwrite=self.overwrite)
        codec = ImageCodec.open(model)

        def one(pair: tuple[Path, Path], _: str = "") -> None:
            decompress_image(codec, *pair, salvage=self.salvage, overwrite=self.overwrite)

        if self.source.is_dir():
            report_failures(work, one)
            return
        one(work[0])

    def _one(self, codec: "AudioCodec", source: Path, out: Path, place: str = "") -> None:
        from codeword.data.audio_writer import AudioWriter
        from codeword.formats.audio import AudioFileReader

        piped = str(source) == "-"
        given: Path | BinaryIO = sys.stdin.buffer if piped else source
        target: Path | BinaryIO = sys.stdout.buffer if str(out) == "-" else out
        with (
            AudioFileReader(given, tables=codec.tables) as reader,
            progress_bar(f"decompressing {place}".strip(), unit=" s") as progress,
        ):
            codec.check_reader(reader)
            header = reader.header
            writer = AudioWriter(target, rate=header.sample_rate, channels=header.channels, bits=self.bits)
            if isinstance(target, Path):
                check_output(target, overwrite=self.overwrite, inputs=() if piped else (source,))
            with writer:
                if self.salvage:
                    self._salvage(codec, reader, writer)
                else:
                    blocks = codec.decompress(
                        reader, levels=self.levels, start=self.start or 0.0, stop=self.stop, progress=progress
                    )
                    with offering_salvage():
                        for block in blocks:
                            writer.write(block)
        seconds = writer.frames / header.sample_rate
        told = sys.stderr if str(out) == "-" else sys.stdout
        channels = f"{header.channels} channel{'' if header.channels == 1 else 's'}"
        print(f"{out}: {seconds:.2f} seconds, {channels} at {header.sample_rate} Hz", file=told)
        if writer.cut:
            print(f"codeword: {out}: {writer.cut} samples were beyond full scale and were cut", file=sys.stderr)

    def _salvage(self, codec: "AudioCodec", reader: "AudioFileReader", writer: "AudioWriter") -> None:
        codes, report = reader.salvage()
        for block in codec.salvage(codes, reader.header.channel_mode):
            writer.write(block)
        for problem in report.problems:
            print(f"codeword: {self.source}: {problem}", file=sys.stderr)
        for first, last in report.missing:
            span = codec.model.hop / codec.model.sample_rate
            print(f"codeword: {self.source}: {first * span:.2f} to {last * span:.2f} s are lost", file=sys.stderr)
