"""``codeword compress``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from codeword.cli.common import (
    OptionalCount,
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
    """Turn audio into a .cw file, or a folder of audio into a folder of them."""

    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="AUDIO")]]
    """Audio file of any format and rate, - for standard input, or a folder."""
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
    """File of codes, .cw, - for standard output, or a folder."""
    model: Annotated[Path, tyro.conf.arg(metavar="MODEL")] = Path("speech-16k")
    """Folder of an audio model; unset, the one for speech that comes with codeword."""
    kbps: OptionalNumber = None
    """Kilobits a second of the file; 3 if nothing else is chosen. From a pipe on the average."""
    cap: OptionalNumber = None
    """From a pipe, the most that a frame may take, as kilobits a second; any stretch at most what --kbps allows it
    and four seconds more."""
    scale: OptionalNumber = None
    """What frames may spend on their importance: from 1 to six times the levels."""
    levels: OptionalCount = None
    """The same number of codebooks for every frame."""
    mono: bool = False
    """Mix all channels into one; else two are coded as mid and side, more one by one."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        """Compress one file, or all of a folder that are not there yet."""
        from codeword.codecs.audio.codec import AudioCodec
        from codeword.data.audio_corpus import EXTENSIONS

        rate = self._rate()
        work = pairs(self.source, self.out, ".cw", overwrite=self.overwrite)
        if self.out.suffix.lower() in EXTENSIONS:
            raise ValueError(f"{self.out} would be audio by its name, codes are written: name it {self.out.stem}.cw")
        codec = AudioCodec.open(self.model)
        codec.check_rate(rate)
        if self.source.is_dir():
            report_failures(work, lambda pair, place: self._one(codec, rate, *pair, place=place))
            return
        self._one(codec, rate, *work[0])

    def _rate(self) -> "RateChoice":
        from codeword.codecs.audio.choice import Kbps
        from codeword.codecs.rates import Levels, Scale

        chosen = [name for name in ("kbps", "scale", "levels") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ValueError(f"--{' and --'.join(chosen)} contradict each other: choose one")
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
