"""``codeword index``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from codeword.cli.common import Column, DataFile, ModelFolder, check_output, progress_bar


@dataclass(frozen=True)
class Index:
    """Make a searchable index of vectors, or of codes encoded before."""

    model: ModelFolder
    """Folder of a trained model."""
    data: DataFile
    """Matrix of vectors, or a .cw file of this model."""
    out: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="INDEX")]]
    """File of the index."""
    lists: int = 0
    """Inverted lists, for searches that look at a part of the codes only; 0 scans all. Lists need the vectors."""
    column: Column = None
    """Column of a Parquet file, or array of an .npz file."""
    overwrite: bool = False
    """Replace an existing index."""

    def run(self) -> None:
        """Encode what is not encoded and save."""
        from codeword.evaluation.indexing import build_index

        check_output(self.out, overwrite=self.overwrite, inputs=(self.model, self.data))
        with progress_bar("encoding") as progress:
            index = build_index(self.model, self.data, lists=self.lists, column=self.column, progress=progress)
        index.save(self.out)
        lists = f" in {self.lists} list{'s' * (self.lists > 1)}" if self.lists else ""
        print(f"{self.out}: {len(index)} vectors{lists}, {self.out.stat().st_size} bytes with the codebooks")
