"""``codeword compress``."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from codeword.cli.common import (
    CodecName,
    OptionalCount,
    OptionalModel,
    OptionalNumber,
    pairs,
    report_failures,
)

if TYPE_CHECKING:
    from codeword.codecs.audio.choice import RateChoice

_LIVE = 1 << 12  # samples of speech from a pipe that are waited for


@dataclass(frozen=True)
class Compress:
    """Turn audio or an image into a .cw file, or a folder of one of them into a folder of such files."""

    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    """Audio file of any format and rate, an image, - for standard input (audio, or what the codec is for), or a
    folder."""
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
    """File of codes, .cw, - for standard output, or a folder."""
    codec: CodecName = None
    """What compresses: audio, the neural codec; speech, quantized envelopes at 8 to 32 kbps; or image. Unset: what the
    model is for, or else the names of files say."""
    model: OptionalModel = None
    """Folder of a model; unset, the one that comes with codeword."""
    bpp: OptionalNumber = None
    """Of images: bits per pixel of the file; 0.5 if nothing else is chosen."""
    kbps: OptionalNumber = None
    """Of audio: kilobits a second of the file; if nothing else is chosen 3, with the codec speech 16.4. From a pipe on
    the average."""
    cap: OptionalNumber = None
    """From a pipe to the neural codec, the most that a frame may take, as kilobits a second; any stretch at most what
    --kbps allows it and four seconds more."""
    scale: OptionalNumber = None
    """Of images and of the neural codec: what places and frames may spend on their importance, from 1 to six times the
    levels."""
    levels: OptionalCount = None
    """Of images and of the neural codec: the same number of codebooks for every place or frame."""
    mono: bool = False
    """Mix all channels into one, as the codec speech always does; else two are coded as mid and side, more one by
    one."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        """Compress one file, or all of a folder that are not there yet."""
        from codeword.cli.kinds import kind_of_media

        kind = kind_of_media(self.source, self.model, self.codec)
        others = {"image": ("kbps", "cap", "mono"), "audio": ("bpp",), "speech": ("bpp", "cap", "scale", "levels")}
        if strange := [name for name in others[kind] if getattr(self, name) not in (None, False)]:
            of = {"image": "images", "audio": "audio", "speech": "the codec speech"}[kind]
            raise ValueError(f"--{strange[0]} is not for {of}: leave it out")
        if kind == "audio":
            self._audio()
        elif kind == "speech":
            self._speech()
        else:
            self._images()

    def _audio(self) -> None:
        from codeword.cli.sounds import compress_sound
        from codeword.codecs.audio.codec import AudioCodec
        from codeword.codecs.audio.storage import SHIPPED, SPEECH

        rate, work = self._rate(), self._sounds()
        codec = AudioCodec.open(self.model or SHIPPED / SPEECH)
        codec.check_rate(rate)
        self._all(work, partial(compress_sound, codec, rate, mono=self.mono, overwrite=self.overwrite))

    def _speech(self) -> None:
        from codeword.cli.sounds import compress_sound
        from codeword.codecs.rates import Kbps
        from codeword.codecs.speech.codec import SpeechCodec
        from codeword.codecs.speech.storage import ENVELOPES, SHIPPED

        rate, work = Kbps(16.4 if self.kbps is None else self.kbps), self._sounds()
        codec = SpeechCodec.open(self.model or SHIPPED / ENVELOPES)
        codec.check_rate(rate)
        one = partial(compress_sound, codec, rate, mono=True, overwrite=self.overwrite, live=_LIVE)
        self._all(work, one)

    def _sounds(self) -> list[tuple[Path, Path]]:
        from codeword.data.audio_corpus import EXTENSIONS

        work = pairs(self.source, self.out, ".cw", EXTENSIONS, overwrite=self.overwrite)
        self._check_name(EXTENSIONS, "audio")
        return work

    def _images(self) -> None:
        from codeword.cli.images import compress_image
        from codeword.codecs.image.codec import BitsPerPixel, ImageCodec
        from codeword.codecs.image.storage import PHOTOS, SHIPPED
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
        codec = ImageCodec.open(self.model or SHIPPED / PHOTOS)
        codec.check_rate(rate)
        self._all(work, lambda source, out, _: compress_image(codec, rate, source, out, overwrite=self.overwrite))

    def _check_one(self, own: str) -> None:
        """Refuse several rates."""
        chosen = [name for name in (own, "scale", "levels") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ValueError(f"--{' and --'.join(chosen)} contradict each other: choose one")

    def _check_name(self, extensions: frozenset[str], what: str) -> None:
        if self.out.suffix.lower() in extensions:
            raise ValueError(f"{self.out} would be {what} by its name, codes are written: name it {self.out.stem}.cw")

    def _all(self, work: list[tuple[Path, Path]], do: Callable[[Path, Path, str], None]) -> None:
        if self.source.is_dir():
            report_failures(work, lambda pair, place: do(*pair, place))
        else:
            do(*work[0], "")

    def _rate(self) -> "RateChoice":
        from codeword.codecs.rates import Kbps, Levels, Scale

        self._check_one("kbps")
        if self.cap is not None and (str(self.source) != "-" or self.scale is not None or self.levels is not None):
            raise ValueError("--cap belongs to --kbps and a pipe: the rate of a file is met as a whole")
        if self.scale is not None:
            return Scale(self.scale)
        return Kbps(3.0 if self.kbps is None else self.kbps, self.cap) if self.levels is None else Levels(self.levels)
