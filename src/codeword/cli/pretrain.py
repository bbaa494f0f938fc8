"""``codeword pretrain``."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from codeword.cli.common import OptionalCount, OptionalNumber, OptionalPath, progress_bar
from codeword.cli.train import check_model_folder
from codeword.recipes.names import Pretraining as Recipe


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Pretrain an encoder on unlabelled audio, images or video."""

    recipe: tyro.conf.Positional[Annotated[Recipe, tyro.conf.arg(metavar="RECIPE")]]
    """audioset, imagenet, kinetics: the paper's runs of full size; small-audio, small-image, small-video: for one
    processor; smoke-...: shows that everything runs."""
    data: Path
    """A folder, a table or tar shards; see codeword data check."""
    out: Annotated[OptionalPath, tyro.conf.arg(metavar="MODEL")] = None
    """Folder of the encoder."""
    epochs: OptionalNumber = None
    """Epochs of an encoder; those of tokenizers change by the same factor. Unset: the recipe's."""
    iterations: OptionalCount = None
    """Encoders in all; before each but the first a tokenizer is trained. Unset: the recipe's."""
    batch: OptionalCount = None
    """Samples of a step, all processes together; unset: the recipe's."""
    accumulate: OptionalCount = None
    """Batches of a step of the optimizer; unset: 1."""
    learning_rate: OptionalNumber = None
    """Of encoders; unset: the recipe's."""
    views: OptionalCount = None
    """Fixed augmented views of a sample, whose tokens are cached; 0 makes tokens for every batch anew. Unset: the
    recipe's."""
    window: OptionalCount = None
    """Samples within which those of a few tar shards are mixed, for disks slow to seek. Unset: all with all."""
    codebooks: OptionalCount = None
    """Levels of residual quantization; 1 is plain vector quantization. Unset: 4."""
    codebook_size: OptionalCount = None
    """Codewords of a level; unset: the recipe's."""
    precision: Literal["recipe", "32-true", "bf16-mixed"] = "recipe"
    """Of forward and backward."""
    sharding: Literal["none", "full"] = "none"
    """Under torchrun, what a process has of weights, gradients and the optimizer's moments: all, or a share (full)."""
    seed: int = 0
    """Seeds every draw."""
    workers: int = 2
    """Threads that read files."""
    tensorboard: bool = False
    """Write TensorBoard's event files, too."""
    dry_run: bool = False
    """Make two steps and one validation of every kind of phase, and write nothing."""
    overwrite: bool = False
    """Replace an existing encoder and start anew; without it, an interrupted run goes on."""

    def run(self) -> None:
        """Pretrain and save."""
        from shutil import rmtree

        from codeword.recipes.pretraining import pretrain, recipe, resume_folder
        from codeword.recipes.pretraining_options import Options, changed

        if self.out is None and not self.dry_run:
            raise ValueError("where to? give --out MODEL, or --dry-run")
        out = self.out or Path("unused")
        if not self.dry_run:
            check_model_folder(out, overwrite=self.overwrite)
        first = os.environ.get("RANK", "0") == "0"  # torchrun starts many, of which one talks
        quiet = not first or sys.stderr is None or not sys.stderr.isatty()
        config = changed(
            recipe(self.recipe),
            Options(
                epochs=self.epochs,
                iterations=self.iterations,
                batch=self.batch,
                accumulate=self.accumulate,
                learning_rate=self.learning_rate,
                views=self.views,
                window=self.window,
                codebooks=self.codebooks,
                codebook_size=self.codebook_size,
                precision=None if self.precision == "recipe" else self.precision,
                sharding=self.sharding,
                seed=self.seed,
                tensorboard=self.tensorboard,
                quiet=quiet,
            ),
        )
        resumable = resume_folder(out)
        if self.overwrite:
            rmtree(resumable, ignore_errors=True)
        try:
            with progress_bar("tokens", unit=" samples") as progress:
                result = pretrain(
                    config,
                    self.data,
                    out,
                    workers=self.workers,
                    dry_run=self.dry_run,
                    progress=progress,
                    told=lambda part: print(part.line(), flush=True) if first else None,
                )
        except KeyboardInterrupt as stop:
            again = f"; the same command goes on from {resumable}" if resumable.exists() else ""
            raise type(stop)(f"interrupted, no encoder was written{again}") from None
        if not first:
            return
        print(result.report)
        if self.dry_run:
            print("every kind of phase runs; nothing was written")
        else:
            print(f"{out}: codeword probe {out} DATA tells how much it knows")
