"""``codeword inspect``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from codeword.cli.common import OptionalPath


@dataclass(frozen=True)
class Inspect:
    """Say what a file or folder of ours is: its header, its rates, whether it is intact."""

    file: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    """A .cw file, the folder of a model, an encoder, a tokenizer or a classifier, an index, or a checkpoint."""

    model: OptionalPath = None
    """Folder of the audio or image model, whose tables tell the depths of a range-coded file; not needed for the one
    that comes with codeword."""

    def run(self) -> None:
        """Read everything, check every checksum, print."""
        from codeword.evaluation.inspection import inspect_path

        tables = None
        if self.model is not None:
            from codeword.cli.kinds import kind_of_model
            from codeword.codecs.audio.storage import read_audio
            from codeword.codecs.image.storage import read_image_model

            read = read_image_model if kind_of_model(self.model) == "image" else read_audio
            tables = read(self.model)[1]
        report = inspect_path(self.file, tables)
        for line in report.lines:
            print(line)
        if not report.intact:
            raise ValueError(
                f"{self.file} is damaged; with --salvage, decode (vectors) and decompress (audio, speech, images) read "
                "what is intact"
            )
