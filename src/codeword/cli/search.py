"""``codeword search``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from codeword.cli.common import Column, OptionalCount, OptionalPath, check_output


@dataclass(frozen=True)
class Search:
    """Find the nearest vectors of an index for every query."""

    index: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="INDEX")]]
    """File of an index."""
    queries: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="QUERIES")]]
    """Matrix of queries."""
    k: int = 10
    """Neighbours per query."""
    probes: OptionalCount = None
    """Lists looked at per query, of an index with lists; unset 8."""
    out: OptionalPath = None
    """Write ids and distances to this .npz file; otherwise those of the first queries are printed."""
    base: OptionalPath = None
    """The vectors that were indexed: also report recall against an exact search of them."""
    column: Column = None
    """Column or array of the queries' file (and of the base), where it is Parquet or .npz."""
    overwrite: bool = False
    """Replace an existing file."""

    def run(self) -> None:
        """Search, print or save, and measure where the exact vectors are given."""
        from codeword.evaluation.indexing import SearchSettings, search_report

        if self.out is not None:
            inputs = [self.index, self.queries, *([self.base] if self.base else [])]
            check_output(self.out, overwrite=self.overwrite, inputs=inputs)
        settings = SearchSettings(k=self.k, probes=self.probes, out=self.out, base=self.base, column=self.column)
        for line in search_report(self.index, self.queries, settings):
            print(line)
