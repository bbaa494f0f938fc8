"""``codeword index``."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from codeword.cli.common import check_output


@dataclass(frozen=True)
class Index:
    """Make a searchable index of vectors, or of codes encoded before."""

    model: tyro.conf.Positional[Path]
    """Folder of a trained model."""
    data: tyro.conf.Positional[Path]
    """Matrix of vectors, or a .cw file of this model."""
    out: tyro.conf.Positional[Path]
    """File of the index."""
    lists: int = 0
    """Inverted lists, for searches that look at a part of the codes only; 0 scans all. Lists need the vectors."""
    column: str | None = None
    """Column of a Parquet file, or array of an .npz file."""
    overwrite: bool = False
    """Replace an existing index."""

    def run(self) -> None:
        """Encode what is not encoded and save."""
        from codeword.evaluation.indexing import build_index

        check_output(self.out, overwrite=self.overwrite)
        index = build_index(self.model, self.data, lists=self.lists, column=self.column)
        index.save(self.out)
        print(f"{self.out}: {len(index)} vectors")
