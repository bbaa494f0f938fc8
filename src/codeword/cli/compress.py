"""``codeword compress``."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from codeword.cli.common import (
    OptionalCount,
    OptionalModel,
    OptionalNumber,
    check_output,
    pairs,
    progress_bar,
    report_failures,
)

if TYPE_CHECKING:
    from codeword.codecs.audio.choice import RateChoice
    from codeword.codecs.audio.codec import AudioCodec


@dataclass(frozen=True)
class Compress:
    """Turn audio or an image into a .cw file, or a folder of one of them into a folder of such files."""

    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    """Audio file of any format and rate, an image, - for standard input (audio, or what the model is for), or a
    folder."""
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
    """File of codes, .cw, - for standard output, or a folder."""
    model: OptionalModel = None
    """Folder of an audio or image model; unset, the one for speech that comes with codeword."""
    bpp: OptionalNumber = None
    """Of images: bits per pixel of the file; 0.5 if nothing else is chosen."""
    kbps: OptionalNumber = None
    """Of audio: kilobits a second of the file; 3 if nothing else is chosen. From a pipe on the average."""
    cap: OptionalNumber = None
    """From a pipe, the most that a frame may take, as kilobits a second; any stretch at most what --kbps allows it
    and four seconds more."""
    scale: OptionalNumber = None
    """What frames and places may spend on their importance: from 1 to six times the levels."""
    levels: OptionalCount = None
    """The same number of codebooks for every frame or place."""
    mono: bool = False
    """Mix all channels into one; else two are coded as mid and side, more one by one."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        """Compress one file, or all of a folder that are not there yet."""
        from codeword.cli.kinds import kind_of_media, no_image_model

        kind = kind_of_media(self.source, self.model)
        others = ("kbps", "cap", "mono") if kind == "image" else ("bpp",)
        if strange := [name for name in others if getattr(self, name) not in (None, False)]:
            raise ValueError(f"--{strange[0]} is not for {'images' if kind == 'image' else 'audio'}: leave it out")
        if kind == "audio":
            self._audio()
        elif self.model is None:
            raise no_image_model(self.source)
        else:
            self._images(self.model)

    def _audio(self) -> None:
        from codeword.codecs.audio.codec import AudioCodec
        from codeword.codecs.audio.storage import SPEECH
        from codeword.data.audio_corpus import EXTENSIONS

        rate = self._rate()
        work = pairs(self.source, self.out, ".cw", EXTENSIONS, overwrite=self.overwrite)
        self._check_name(EXTENSIONS, "audio")
        codec = AudioCodec.open(self.model or Path(SPEECH))
        codec.check_rate(rate)
        self._all(work, lambda pair, place: self._one(codec, rate, *pair, place=place))

    def _images(self, model: Path) -> None:
        from codeword.cli.images import compress_image
        from codeword.codecs.image.codec import BitsPerPixel, ImageCodec
        from codeword.codecs.rates import Levels, Scale
        from codeword.data.image_files import EXTENSIONS

        self._check_one("bpp")
        rate = BitsPerPixel(0.5 if self.bpp is None else self.bpp)
        if self.scale is not None:
            rate = Scale(self.scale)
        elif self.levels is not None:
            rate = Levels(self.levels)
        work = pairs(self.source, self.out, ".cw", EXTENSIONS, overwrite=self.overwrite)
        self._check_name(EXTENSIONS, "an image")
        codec = ImageCodec.open(model)
        codec.check_rate(rate)
        self._all(work, lambda pair, _: compress_image(codec, rate, *pair, overwrite=self.overwrite))

    def _check_one(self, own: str) -> None:
        """Refuse several rates."""
        chosen = [name for name in (own, "scale", "levels") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ValueError(f"--{' and --'.join(chosen)} contradict each other: choose one")

    def _check_name(self, extensions: frozenset[str], what: str) -> None:
        if self.out.suffix.lower() in extensions:
            raise ValueError(f"{self.out} would be {what} by its name, codes are written: name it {self.out.stem}.cw")

    def _all(self, work: list[tuple[Path, Path]], do: Callable[[tuple[Path, Path], str], None]) -> None:
        if self.source.is_dir():
            report_failures(work, do)
        else:
            do(work[0], "")

    def _rate(self) -> "RateChoice":
        from codeword.codecs.audio.choice import Kbps
        from codeword.codecs.rates import Levels, Scale

        self._check_one("kbps")
        if self.cap is not None and (str(self.source) != "-" or self.scale is not None or self.levels is not None):
            raise ValueError("--cap belongs to --kbps and a pipe: the rate of a file is met as a whole")
        if self.scale is not None:
            return Scale(self.scale)
        return Kbps(3.0 if self.kbps is None else self.kbps, self.cap) if self.levels is None else Levels(self.levels)

    def _one(self, codec: "AudioCodec", rate: "RateChoice", source: Path, out: Path, place: str = "") -> None:
        from codeword.data.audio_stream import stream_audio
        from codeword.formats.atomic import atomic_write

        piped, printed = str(source) == "-", sys.stdout
        stream = stream_audio(
            sys.stdin.buffer if piped else source,
            rate=codec.model.sample_rate,
            channels=1 if self.mono else None,
        )
        with stream, progress_bar(f"compressing {place}".strip(), unit=" s") as progress:
            if str(out) == "-":
                printed = sys.stderr
                done = codec.compress(stream, sys.stdout.buffer, rate, streaming=piped, progress=progress)
                sys.stdout.buffer.flush()
            else:
                check_output(out, overwrite=self.overwrite, inputs=() if piped else (source,))
                with atomic_write(out) as file:
                    done = codec.compress(stream, file, rate, streaming=piped, progress=progress)
        print(
            f"{out}: {done.seconds:.2f} seconds in {done.num_bytes} bytes, {done.kbps:.3f} kbps, "
            f"{done.levels:.2f} of {codec.model.levels} levels",
            file=printed,
        )
        if done.note:
            print(f"codeword: {source}: {done.note}", file=sys.stderr)
