"""``codeword encode``."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from codeword.cli.common import Column, DataFile, ModelFolder, check_output, progress_bar


@dataclass(frozen=True)
class Encode:
    """Turn vectors into codes and write them to a .cw file."""

    model: ModelFolder
    """Folder of a trained model."""
    data: DataFile
    """Matrix of vectors."""
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="CODES")]]
    """File of codes, .cw."""
    coding: Literal["auto", "ranged", "packed"] = "auto"
    """Range-coded by the model's tables, or packed at fixed width; auto: ranged where there are tables."""
    column: Column = None
    """Column of a Parquet file, or array of an .npz file."""
    overwrite: bool = False
    """Replace an existing file."""

    def run(self) -> None:
        """Encode chunk by chunk, in constant memory."""
        from codeword.codecs.vectors import VectorCodec
        from codeword.data.vectors import open_vectors

        check_output(self.out, overwrite=self.overwrite, inputs=(self.model, self.data))
        codec, source = VectorCodec.from_pretrained(self.model), open_vectors(self.data, self.column)
        codec.warm_up()
        start = time.perf_counter()
        with progress_bar("encoding") as progress:
            coding = None if self.coding == "auto" else self.coding
            size = codec.encode(source, self.out, coding=coding, progress=progress)
        rate = len(source) / (time.perf_counter() - start)
        print(
            f"{self.out}: {len(source)} vectors in {size} bytes, {8 * size / len(source):.3f} bits per vector "
            f"({codec.quantizer.bits_per_vector:g} at fixed width, {32 * source.dim} as float32), "
            f"{rate:.0f} vectors per second"
        )
