"""``codeword decode``."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from codeword.cli.common import ModelFolder, check_output, offering_salvage, progress_bar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Decode:
    """Turn a .cw file back into vectors."""

    model: ModelFolder
    """Folder of the model that encoded them."""
    codes: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="CODES")]]
    """File of codes."""
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="OUT")]]
    """Vectors: .npy or .fvecs."""
    salvage: bool = False
    """Decode what is intact of a damaged file; lost vectors become zeros and are reported."""
    overwrite: bool = False
    """Replace an existing file."""

    def run(self) -> None:
        """Decode chunk by chunk, in constant memory."""
        from codeword.codecs.vectors import VectorCodec
        from codeword.data.vectors import check_writable, write_vectors

        check_output(self.out, overwrite=self.overwrite, inputs=(self.model, self.codes))
        check_writable(self.out)
        codec = VectorCodec.from_pretrained(self.model)
        with codec.open(self.codes) as reader, progress_bar("decoding") as progress:
            if not self.salvage:
                chunks = _counted(codec.decode(reader), reader.header.num_vectors, progress)
                with offering_salvage():
                    count = write_vectors(self.out, chunks, dim=codec.quantizer.dim)
            else:
                vectors, report = codec.salvage(reader)
                count = write_vectors(self.out, [vectors], dim=codec.quantizer.dim)
                for problem in report.problems:
                    print(f"codeword: {self.codes}: {problem}", file=sys.stderr)
                for start, stop in report.missing:
                    print(f"codeword: {self.codes}: vectors {start} to {stop - 1} are lost", file=sys.stderr)
        print(f"{self.out}: {count} vectors of {codec.quantizer.dim} features, float32")


def _counted(
    chunks: "Iterable[Tensor]", total: int | None, progress: Callable[[int, int], None] | None
) -> "Iterator[Tensor]":
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if progress is not None:
            progress(done, total or done)
