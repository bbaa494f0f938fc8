"""``codeword train``."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from codeword.cli.common import Column, DataFile, OptionalCount, check_folder, print_table


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model by a recipe; vectors: a quantizer of a matrix of vectors, in closed form."""

    recipe: tyro.conf.Positional[Literal["vectors"]]
    """What to train."""
    data: DataFile
    """Matrix: .npy (memory-mapped), .npz, .fvecs, .bvecs, .ivecs or .parquet."""
    out: Annotated[Path, tyro.conf.arg(metavar="MODEL")]
    """Folder of the trained model."""
    quantizer: Literal["vector", "product", "optimized", "residual", "additive"] = "residual"
    """Family: optimized is a product in learned rotated coordinates."""
    levels: OptionalCount = None
    """Codes per vector: unset 8, or 1 for the family vector."""
    size: int = 256
    """Codewords per level, any number."""
    beam: int = 5
    """Width of the search of residual and additive codes."""
    sweeps: int = 4
    """Sweeps of iterated conditional modes after the beam of additive codes."""
    steps: OptionalCount = None
    """Iterations of training at most: unset, what the family needs."""
    seed: int = 0
    """Seeds every draw."""
    seeds: int = 1
    """Runs from different seeds; the best on the validation vectors is kept."""
    validation: float = 0.05
    """Share of the vectors held out, to stop early and to report an error on unseen data."""
    column: Column = None
    """Column of a Parquet file, or array of an .npz file."""
    overwrite: bool = False
    """Replace an existing model and start anew; without it, an interrupted training goes on."""

    def run(self) -> None:
        """Train and save."""
        from codeword.recipes.vectors import Family, VectorsConfig, resume_file, train
        from codeword.training.progress import ProgressBar

        self._check_out()
        config = VectorsConfig(
            quantizer=Family(self.quantizer),
            levels=self.levels if self.levels is not None else 1 if self.quantizer == "vector" else 8,
            size=self.size,
            beam=self.beam,
            sweeps=self.sweeps,
            steps=self.steps,
            seed=self.seed,
            seeds=self.seeds,
            validation=self.validation,
        )
        resumable = resume_file(self.out)
        if self.overwrite:
            resumable.unlink(missing_ok=True)
        try:
            with ExitStack() as stack:
                bar = stack.enter_context(ProgressBar()) if sys.stderr and sys.stderr.isatty() else None
                result = train(config, self.data, self.out, column=self.column, progress=bar)
        except KeyboardInterrupt as stop:
            again = f"; the same command goes on from {resumable}" if resumable.exists() else ""
            raise type(stop)(f"interrupted, no model was written{again}") from None
        print_table(
            [
                ("", "training", "validation"),
                ("squared error", f"{result.training.squared_error:.6g}", f"{result.validation.squared_error:.6g}"),
                ("relative error", f"{result.training.relative_error:.4f}", f"{result.validation.relative_error:.4f}"),
                ("vectors", str(result.training.num_vectors), str(result.validation.num_vectors)),
            ]
        )
        print(f"{self.out}: {result.bits_per_vector:g} bits per vector, trained in {result.seconds:.1f} s")

    def _check_out(self) -> None:
        """Refuse what would be lost or cannot be written."""
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"{self.out} is a file, and a model is a folder: choose another name")
        if (self.out / "config.json").exists():
            if not self.overwrite:
                raise ValueError(f"{self.out} exists already: choose another name, or pass --overwrite")
        elif self.out.is_dir() and any(self.out.iterdir()):
            raise ValueError(f"{self.out} is a folder of other files: choose another name for the model")
        check_folder(self.out)
