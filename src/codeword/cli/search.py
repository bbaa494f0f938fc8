"""``codeword search``."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from codeword.cli.common import check_output


@dataclass(frozen=True)
class Search:
    """Find the nearest vectors of an index for every query."""

    index: tyro.conf.Positional[Path]
    """File of an index."""
    queries: tyro.conf.Positional[Path]
    """Matrix of queries."""
    k: int = 10
    """Neighbours per query."""
    probes: int | None = None
    """Lists looked at per query, of an index with lists."""
    out: Path | None = None
    """Write ids and distances to this .npz file; otherwise they are printed."""
    base: Path | None = None
    """The vectors that were indexed: also report recall against an exact search of them."""
    overwrite: bool = False
    """Replace an existing file."""

    def run(self) -> None:
        """Search, print or save, and measure where the exact vectors are given."""
        from codeword.evaluation.indexing import search_report

        if self.out is not None:
            check_output(self.out, overwrite=self.overwrite)
        for line in search_report(self.index, self.queries, k=self.k, probes=self.probes, out=self.out, base=self.base):
            print(line)
