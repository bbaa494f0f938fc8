"""``codeword extract``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from codeword.cli.common import DataFile, ModelFolder, check_output, progress_bar, report_left_out


@dataclass(frozen=True)
class Extract:
    """Write the embeddings of a data set: a row for every item, in a .npy or a Parquet file."""

    model: ModelFolder
    """Folder of a pretrained encoder."""
    data: DataFile
    """A folder, a table, tar shards, or one file; see codeword data check."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """A .npy file, beside which a .csv file names its rows, or a .parquet file, which names them itself."""
    layer: int = -1
    """Which block's output: 0 is the first's, -1 the last's."""
    pooling: Literal["mean", "bands", "quarters", "cls", "none"] = "mean"
    """Mean of the patches that are no padding, that over time with bands side by side, the same in four equal parts
    of the time, the cls token, or every patch for itself (.npy only)."""
    norm: bool = True
    """Apply the last norm of the network, whatever the layer."""
    batch: int = 64
    """Items at a time."""
    workers: int = 2
    """Threads that read files."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        """Extract and write."""
        from codeword.evaluation.data_check import open_listing
        from codeword.pretraining.encoder import read_encoder
        from codeword.pretraining.extraction import Embedding, extract, outputs

        if self.batch < 1:
            raise ValueError(f"--batch must be at least 1, got {self.batch}")
        for path in outputs(self.out, self.pooling):
            check_output(path, overwrite=self.overwrite, inputs=[self.model, self.data])
        encoder = read_encoder(self.model)
        if encoder.front_end is None:
            raise ValueError(f"{self.model} does not say what its inputs are made of, so that no file can become one")
        encoder.check(self.layer, self.pooling)
        found = open_listing(self.data, encoder.front_end.kind)
        listing = encoder.front_end.readable(found, workers=self.workers).not_empty()
        with progress_bar("extracting", unit=" items") as progress:
            shape = extract(
                encoder,
                listing,
                self.out,
                Embedding(self.layer, self.pooling, self.norm),
                batch=self.batch,
                workers=self.workers,
                progress=progress,
            )
        kind = "every patch" if self.pooling == "none" else f"{self.pooling} of patches"
        norm = "after the last norm" if self.norm else "without the last norm"
        print(f"{self.out}: {' x '.join(map(str, shape))}, block {self.layer}, {kind}, {norm}")
        report_left_out(listing.bad, self.data)
