"""``codeword evaluate``."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Evaluate:
    """Report what a model loses on a matrix of vectors, and how it uses its codebooks."""

    model: tyro.conf.Positional[Path]
    """Folder of a trained model."""
    data: tyro.conf.Positional[Path]
    """Matrix of vectors the model has not seen."""
    column: str | None = None
    """Column of a Parquet file, or array of an .npz file."""

    def run(self) -> None:
        """Encode, decode, print."""
        from codeword.evaluation.vectors import evaluate

        print(evaluate(self.model, self.data, column=self.column).table())
