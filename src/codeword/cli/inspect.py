"""``codeword inspect``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Inspect:
    """Say what a file or folder of ours is: its header, its rates, whether it is intact."""

    file: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    """A .cw file, the folder of a model, an index, or a checkpoint."""

    def run(self) -> None:
        """Read everything, check every checksum, print."""
        from codeword.evaluation.inspection import inspect_path

        report = inspect_path(self.file)
        for line in report.lines:
            print(line)
        if not report.intact:
            raise ValueError(f"{self.file} is damaged; decode --salvage reads what is intact")
