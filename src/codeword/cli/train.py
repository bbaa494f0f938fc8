"""``codeword train``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from codeword.cli.common import check_output, print_table


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model by a recipe; vectors: a quantizer of a matrix of vectors, in closed form."""

    recipe: tyro.conf.Positional[Literal["vectors"]]
    """What to train."""
    data: tyro.conf.Positional[Path]
    """Matrix: .npy (memory-mapped), .npz, .fvecs, .bvecs, .ivecs or .parquet."""
    out: Path
    """Folder of the trained model."""
    quantizer: Literal["vector", "product", "optimized", "residual", "additive"] = "residual"
    """Family: optimized is a product in learned rotated coordinates."""
    levels: int = 8
    """Codes per vector; 1 for the family vector."""
    size: int = 256
    """Codewords per level, any number."""
    beam: int = 5
    """Width of the search of residual and additive codes."""
    sweeps: int = 4
    """Sweeps of iterated conditional modes after the beam of additive codes."""
    steps: int | None = None
    """Iterations of training; unset, what the family needs."""
    seed: int = 0
    """Seeds every draw."""
    seeds: int = 1
    """Runs from different seeds; the best on the validation vectors is kept."""
    validation: float = 0.05
    """Share of the vectors held out, to stop early and to report an error on unseen data."""
    column: str | None = None
    """Column of a Parquet file, or array of an .npz file."""
    overwrite: bool = False
    """Replace an existing model; without it, an interrupted training is resumed."""

    def run(self) -> None:
        """Train and save."""
        from codeword.recipes.vectors import Family, VectorsConfig, train

        check_output(self.out, overwrite=self.overwrite or not (self.out / "config.json").exists())
        config = VectorsConfig(
            quantizer=Family(self.quantizer),
            levels=1 if self.quantizer == "vector" else self.levels,
            size=self.size,
            beam=self.beam,
            sweeps=self.sweeps,
            steps=self.steps,
            seed=self.seed,
            seeds=self.seeds,
            validation=self.validation,
        )
        result = train(config, self.data, self.out, column=self.column)
        print_table(
            [
                ("", "training", "validation"),
                ("squared error", f"{result.training.squared_error:.6g}", f"{result.validation.squared_error:.6g}"),
                ("relative error", f"{result.training.relative_error:.4f}", f"{result.validation.relative_error:.4f}"),
                ("vectors", str(result.training.num_vectors), str(result.validation.num_vectors)),
            ]
        )
        print(f"{self.out}: {result.bits_per_vector:g} bits per vector, trained in {result.seconds:.1f} s")
