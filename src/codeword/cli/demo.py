"""``codeword demo``."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Train, encode, store, search and compare on real word vectors and image descriptors, in about two minutes."""

    out: Path = Path("demo")
    """Folder for the models, the files of codes and report.html."""

    def run(self) -> None:
        """Run everything and write the report."""
        from codeword.recipes.demo import run_demo

        run_demo(self.out, print)
