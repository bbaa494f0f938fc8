"""``codeword encode``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from codeword.cli.common import check_output


@dataclass(frozen=True)
class Encode:
    """Turn vectors into codes and write them to a .cw file."""

    model: tyro.conf.Positional[Path]
    """Folder of a trained model."""
    data: tyro.conf.Positional[Path]
    """Matrix of vectors."""
    out: tyro.conf.Positional[Path]
    """File of codes, .cw."""
    coding: Literal["ranged", "packed"] | None = None
    """Range-coded by the model's tables (the default where it has some), or packed at fixed width."""
    column: str | None = None
    """Column of a Parquet file, or array of an .npz file."""
    overwrite: bool = False
    """Replace an existing file."""

    def run(self) -> None:
        """Encode chunk by chunk, in constant memory."""
        from tqdm import tqdm

        from codeword.codecs.vectors import VectorCodec
        from codeword.data.vectors import open_vectors

        check_output(self.out, overwrite=self.overwrite)
        codec, source = VectorCodec.from_pretrained(self.model), open_vectors(self.data, self.column)
        with tqdm(total=len(source), unit=" vectors", unit_scale=True, disable=None, leave=False) as bar:
            size = codec.encode(source, self.out, coding=self.coding, progress=bar.update)
        share = 8 * size / len(source) if len(source) else 0.0
        print(
            f"{self.out}: {len(source)} vectors, {size} bytes, {share:.3f} bits per vector "
            f"(fixed width {codec.quantizer.bits_per_vector:g}; as float32 {32 * source.dim})"
        )
