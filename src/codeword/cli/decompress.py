"""``codeword decompress``."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from codeword.cli.common import (
    CODES,
    CodecName,
    OptionalCount,
    OptionalModel,
    OptionalNumber,
    pairs,
    report_failures,
)


@dataclass(frozen=True)
class Decompress:
    """Turn a .cw file back into audio or an image, or a folder of them."""

    source: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="CODES")]]
    """File of codes, - for standard input, or a folder."""
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
    """Audio: .wav, .flac or .ogg; an image: .png, .jpg, .webp, .bmp, .tif; - for WAV or PNG to standard output; or a
    folder, which gets .wav or .png."""
    model: OptionalModel = None
    """Folder of the model that compressed it; unset, the one that comes with codeword."""
    codec: CodecName = None
    """From standard input: which codec it is of; files say so themselves."""
    levels: OptionalCount = None
    """Use at most so many levels of every frame."""
    start: OptionalNumber = None
    """Begin here, in seconds."""
    stop: OptionalNumber = None
    """End here, in seconds."""
    bits: Literal[16, 24, 32] = 16
    """Of a sample; 32 are floats."""
    salvage: bool = False
    """Decode what is intact of a damaged file; lost frames become silence, lost rows grey, and are reported."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        """Decompress one file, or all of a folder that are not there yet."""
        from codeword.cli.kinds import kind_of_codes

        if self.salvage and (self.levels, self.start, self.stop) != (None, None, None):
            raise ValueError("--salvage decodes all that is left: leave out --levels, --start and --stop")
        kind = kind_of_codes(self.source, self.model, self.codec)
        if kind != "image":
            self._sounds(speech=kind == "speech")
        else:
            self._images()

    def _sounds(self, *, speech: bool) -> None:
        from codeword.cli.sounds import decompress_sound

        stretch = {"start": self.start or 0.0, "stop": self.stop}
        if speech and self.levels is not None:
            raise ValueError("--levels is not for the codec speech: leave it out")
        work = pairs(self.source, self.out, ".wav", CODES, overwrite=self.overwrite)
        if speech:
            from codeword.codecs.speech.codec import SpeechCodec
            from codeword.codecs.speech.storage import ENVELOPES, SHIPPED

            codec = SpeechCodec.open(self.model or SHIPPED / ENVELOPES)
        else:
            from codeword.codecs.audio.codec import AudioCodec
            from codeword.codecs.audio.storage import SHIPPED, SPEECH

            codec, stretch["levels"] = AudioCodec.open(self.model or SHIPPED / SPEECH), self.levels
        one = partial(
            decompress_sound, codec, bits=self.bits, salvage=self.salvage, overwrite=self.overwrite, **stretch
        )
        if self.source.is_dir():
            report_failures(work, lambda pair, place: one(*pair, place))
            return
        one(*work[0], "")

    def _images(self) -> None:
        from codeword.cli.images import decompress_image
        from codeword.codecs.image.codec import ImageCodec
        from codeword.codecs.image.storage import PHOTOS, SHIPPED

        given = {"levels": self.levels, "start": self.start, "stop": self.stop}
        if strange := [name for name, value in given.items() if value is not None] or ["bits"] * (self.bits != 16):
            raise ValueError(f"--{strange[0]} is not for images: leave it out")
        work = pairs(self.source, self.out, ".png", CODES, overwrite=self.overwrite)
        codec = ImageCodec.open(self.model or SHIPPED / PHOTOS)

        def one(pair: tuple[Path, Path], _: str = "") -> None:
            decompress_image(codec, *pair, salvage=self.salvage, overwrite=self.overwrite)

        if self.source.is_dir():
            report_failures(work, one)
            return
        one(work[0])
