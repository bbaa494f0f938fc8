"""``codeword train vectors``, ``train audio``, ``train image`` and ``train speech``."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from codeword.cli.common import Column, DataFile, OptionalCount, OptionalPath, check_folder, print_table
from codeword.recipes.names import Image as ImageName
from codeword.recipes.names import Speech as SpeechName

if TYPE_CHECKING:
    from codeword.training.loop import Outcome
    from codeword.training.loop_config import LoopConfig


@dataclass(frozen=True, kw_only=True)
class TrainVectors:
    """Train a quantizer of a matrix of vectors, in closed form."""

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

        check_model_folder(self.out, overwrite=self.overwrite)
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
        with resumable_training(resumable), ExitStack() as stack:
            bar = stack.enter_context(ProgressBar()) if sys.stderr and sys.stderr.isatty() else None
            result = train(config, self.data, self.out, column=self.column, progress=bar)
        print_table(
            [
                ("", "training", "validation"),
                ("squared error", f"{result.training.squared_error:.6g}", f"{result.validation.squared_error:.6g}"),
                ("relative error", f"{result.training.relative_error:.4f}", f"{result.validation.relative_error:.4f}"),
                ("vectors", str(result.training.num_vectors), str(result.validation.num_vectors)),
            ]
        )
        print(f"{self.out}: {result.bits_per_vector:g} bits per vector, trained in {result.seconds:.1f} s")


@dataclass(frozen=True, kw_only=True)
class TrainAudio:
    """Train an audio codec of variable bitrate on your own recordings."""

    data: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RECORDINGS")]]
    """Folder of recordings of any format, or a CSV manifest with a column path and perhaps kind, group, split."""
    out: Annotated[Path, tyro.conf.arg(metavar="MODEL")]
    """Folder of the trained model."""
    recipe: Literal["paper", "paper-16", "small", "speech-16k", "stream-16k", "smoke"] = "speech-16k"
    """What to train: the paper's model with 8 or 16 codebooks, a small one, one for processors, one that never looks
    ahead, or one that shows that everything runs."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="CORPUS", help_behavior_hint="(optional)")] = None
    """The folder is a known corpus as it was unpacked, with its authors' splits: daps, musdb18, audioset, common_voice,
    vctk, libritts, librispeech, dns_speech or jamendo."""
    start_from: OptionalPath = None
    """Model to go on from (fine-tuning), with its discriminators where the recipe has the same."""
    root: OptionalPath = None
    """Folder that the paths of a manifest start from."""
    steps: OptionalCount = None
    """Steps: unset, the recipe's."""
    workers: int = 2
    """Threads that read ahead."""
    dry_run: bool = False
    """Make two steps and one validation, and write nothing."""
    overwrite: bool = False
    """Replace an existing model and start anew; without it, an interrupted training goes on."""

    def run(self) -> None:
        """Train and save."""
        from codeword.data.audio_corpus import scan
        from codeword.data.audio_presets import preset
        from codeword.recipes.audio import recipe, train

        config = recipe(self.recipe, steps=self.steps)
        with model_training(self.out, overwrite=self.overwrite):
            result = train(
                replace(config, loop=shown(config.loop)),
                self.data if self.preset is None else scan(preset(self.preset, self.data)),
                self.out,
                root=self.root,
                workers=self.workers,
                dry_run=self.dry_run,
                start_from=self.start_from,
            )
        print(result.report)
        what = f"{result.codec.model.levels} levels"
        print_trained(self.out, what, result.outcome, "mel distance {:.4f}", dry_run=self.dry_run)


@dataclass(frozen=True, kw_only=True)
class TrainImage:
    """Train an image codec on your own pictures."""

    data: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="IMAGES")]]
    """Folder of images, IDX or CIFAR files, tar shards, or a CSV manifest with a column path and perhaps split, group;
    codeword data check says what is recognised."""
    out: Annotated[Path, tyro.conf.arg(metavar="MODEL")]
    """Folder of the trained model."""
    recipe: ImageName = "photos"
    """What to train: a codec of variable rate for photos, the VQ-VAE of the NSVQ paper, or one that shows that
    everything runs."""
    start_from: OptionalPath = None
    """Model to go on from (fine-tuning)."""
    steps: OptionalCount = None
    """Steps: unset, the recipe's."""
    dry_run: bool = False
    """Make two steps and one validation, and write nothing."""
    overwrite: bool = False
    """Replace an existing model and start anew; without it, an interrupted training goes on."""

    def run(self) -> None:
        """Train and save."""
        from codeword.recipes.image import recipe, train

        config = recipe(self.recipe, steps=self.steps)
        config = replace(config, loop=shown(config.loop))
        with model_training(self.out, overwrite=self.overwrite):
            result = train(config, self.data, self.out, dry_run=self.dry_run, start_from=self.start_from)
        print(result.report)
        what = f"{result.codec.model.levels} levels"
        print_trained(self.out, what, result.outcome, "error {:.6f}", dry_run=self.dry_run)


@dataclass(frozen=True, kw_only=True)
class TrainSpeech:
    """Train a speech codec whose spectral envelopes are vector-quantized, on your own recordings."""

    data: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RECORDINGS")]]
    """Folder of recordings of any format, or a CSV manifest with a column path and perhaps kind, group, split."""
    out: Annotated[Path, tyro.conf.arg(metavar="MODEL")]
    """Folder of the trained model."""
    recipe: SpeechName = "envelope-12"
    """What to train: envelopes of 12 bits in one codebook, in two that add up, or in one for each half of the bands; or
    one that shows that everything runs."""
    steps: OptionalCount = None
    """Steps: unset, the recipe's."""
    dry_run: bool = False
    """Make two steps and one validation, and write nothing."""
    overwrite: bool = False
    """Replace an existing model and start anew; without it, an interrupted training goes on."""

    def run(self) -> None:
        """Train and save."""
        from codeword.recipes.speech import recipe, train

        config = recipe(self.recipe, steps=self.steps)
        config = replace(config, loop=shown(config.loop))
        with model_training(self.out, overwrite=self.overwrite):
            result = train(config, self.data, self.out, dry_run=self.dry_run)
        print(result.report)
        what = f"envelopes of {result.codec.tables.sizes}"
        print_trained(self.out, what, result.outcome, "{:.2f} bits a frame", dry_run=self.dry_run)


def shown(loop: "LoopConfig") -> "LoopConfig":
    """A loop whose progress is shown on a terminal alone."""
    return replace(loop, progress=loop.progress and sys.stderr is not None and sys.stderr.isatty())


@contextmanager
def model_training(out: Path, *, overwrite: bool) -> Iterator[None]:
    """What a training may lose is refused, and an interrupted one says how it goes on.

    Args:
        out: Folder of the model.
        overwrite: Start anew, whatever is there.
    """
    from shutil import rmtree

    from codeword.recipes.resuming import resume_folder

    check_model_folder(out, overwrite=overwrite)
    if overwrite:
        rmtree(resume_folder(out), ignore_errors=True)
    with resumable_training(resume_folder(out)):
        yield


@contextmanager
def resumable_training(home: Path) -> Iterator[None]:
    """An interrupted training says how it goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        again = f"; the same command goes on from {home}" if home.exists() else ""
        raise type(stop)(f"interrupted, no model was written{again}") from None


def print_dry_run(outcome: "Outcome") -> None:
    """Say what a dry run did."""
    print(f"two steps and a validation run, {outcome.seconds_per_step:.2f} s a step; nothing was written")


def print_trained(out: Path, what: str, outcome: "Outcome", best: str, *, dry_run: bool) -> None:
    """Say what was trained, and how well in the words of ``best``."""
    if dry_run:
        print_dry_run(outcome)
    else:
        found = "" if outcome.best is None else f", {best.format(outcome.best)}"
        print(f"{out}: {what}, {outcome.step} steps{found}")


def check_model_folder(out: Path, *, overwrite: bool) -> None:
    """Refuse what would be lost or cannot be written.

    Raises:
        ValueError: If it is a file, holds another model or other files, or its folder cannot be written to.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, and a model is a folder: choose another name")
    if (out / "config.json").exists():
        if not overwrite:
            raise ValueError(f"{out} exists already: choose another name, or pass --overwrite")
    elif out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is a folder of other files: choose another name for the model")
    check_folder(out)
