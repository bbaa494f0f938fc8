"""``codeword export audio``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from codeword.cli.common import ModelFolder, check_folder, check_output


@dataclass(frozen=True)
class ExportAudio:
    """Write encoder and decoder of an audio model as ONNX files, for runtimes without PyTorch."""

    model: ModelFolder
    """Folder of an audio model, or the name of one that comes with codeword."""
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
    """Folder of encoder.onnx and decoder.onnx, made if it is not there."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        """Check, export, say what was written."""
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"{self.out} is a file, and an export makes two: give the name of a folder")
        from codeword.codecs.audio.onnx import DECODER, ENCODER, export_onnx
        from codeword.codecs.audio.storage import read_audio

        check_folder(self.out)
        if self.out.is_dir():
            for name in (ENCODER, DECODER):
                check_output(self.out / name, overwrite=self.overwrite, inputs=(self.model,))
        model, _ = read_audio(self.model)
        files = export_onnx(model, self.out)
        for file in files:
            print(f"{file}: {file.stat().st_size} bytes")
