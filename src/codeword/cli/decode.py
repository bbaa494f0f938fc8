"""``codeword decode``."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from codeword.cli.common import check_output


@dataclass(frozen=True)
class Decode:
    """Turn a .cw file back into vectors."""

    model: tyro.conf.Positional[Path]
    """Folder of the model that encoded them."""
    codes: tyro.conf.Positional[Path]
    """File of codes."""
    out: tyro.conf.Positional[Path]
    """Vectors: .npy or .fvecs."""
    salvage: bool = False
    """Decode what is intact of a damaged file; lost vectors become zeros and are reported."""
    overwrite: bool = False
    """Replace an existing file."""

    def run(self) -> None:
        """Decode chunk by chunk, in constant memory."""
        from codeword.codecs.vectors import VectorCodec
        from codeword.data.vectors import write_vectors

        check_output(self.out, overwrite=self.overwrite)
        codec = VectorCodec.from_pretrained(self.model)
        with codec.open(self.codes) as reader:
            if not self.salvage:
                count = write_vectors(self.out, codec.decode(reader), dim=codec.quantizer.dim)
            else:
                vectors, report = codec.salvage(reader)
                count = write_vectors(self.out, [vectors], dim=codec.quantizer.dim)
                for problem in report.problems:
                    print(f"codeword: {self.codes}: {problem}", file=sys.stderr)
                for start, stop in report.missing:
                    print(f"codeword: {self.codes}: vectors {start} to {stop - 1} are lost", file=sys.stderr)
        print(f"{self.out}: {count} vectors of {codec.quantizer.dim} features")
