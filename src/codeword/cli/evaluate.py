"""``codeword evaluate``."""

from dataclasses import dataclass

from codeword.cli.common import Column, DataFile, ModelFolder, progress_bar


@dataclass(frozen=True)
class Evaluate:
    """Report what a model loses on a matrix of vectors, and how it uses its codebooks."""

    model: ModelFolder
    """Folder of a trained model."""
    data: DataFile
    """Matrix of vectors the model has not seen."""
    column: Column = None
    """Column of a Parquet file, or array of an .npz file."""

    def run(self) -> None:
        """Encode, decode, print."""
        from codeword.evaluation.vectors import evaluate

        with progress_bar("encoding") as progress:
            report = evaluate(self.model, self.data, column=self.column, progress=progress)
        print(report.table())
