"""A training run in closed form: stages of repeated steps that survive a kill, stop early and say how far they are."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from codeword.functional.ranks import rank
from codeword.training.checkpoint import CheckpointError, load_checkpoint, remove_parts, save_checkpoint
from codeword.training.stream import Chunk, VectorStream


@dataclass(frozen=True, kw_only=True)
class EMConfig:
    """How quantizers are trained in closed form.

    Attributes:
        steps: Lloyd passes per codebook.
        rounds: Alternations of codes and codebooks of additive codes, of codes and rotation of optimized products.
        width: Beam of the codes of additive training; the trained quantizer encodes with its own search.
        sweeps: Sweeps of iterated conditional modes after that beam.
        perturbation: Noise on additive codebooks before they are used for codes, relative to the error per codebook,
            falling linearly to 0 over the rounds; it leads out of local minima. On codebooks of k-means, relative to
            their error, half as much, over four fifths of the passes and 80 at most; in step with it, up to 2.5 % of
            the codewords go from where the error is least to where it is greatest.
        ridge: See :func:`~codeword.functional.least_squares.least_squares_codebooks`.
        tolerance: A step that lowers the error by less than this share counts as none.
        patience: Steps without progress after which a stage ends.
        seed: Seeds every draw.
        seeds: Runs from different seeds; the one with the least validation error is kept.
        chunk: Vectors read at once.
        checkpoint_seconds: Least time between two checkpoints.
    """

    steps: int = 40
    rounds: int = 30
    width: int = 5
    sweeps: int = 2
    perturbation: float = 0.5
    ridge: float = 1e-2
    tolerance: float = 1e-4
    patience: int = 3
    seed: int = 0
    seeds: int = 1
    chunk: int = 32768
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("steps", "rounds", "width", "patience", "seeds", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"EMConfig: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("sweeps", "perturbation", "tolerance", "checkpoint_seconds"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"EMConfig: {name} must not be negative, got {getattr(self, name)}")
        if not self.ridge > 0:
            raise ValueError(f"EMConfig: ridge must be positive, got {self.ridge}")


class Step(NamedTuple):
    """One step of a run.

    Attributes:
        stage: What was trained, such as ``seed 0 / level 3``.
        number: Which step of the stage, from 1.
        error: Mean squared distance of training vectors, met on the way.
        validation: That of the vectors that judge, after the step: validation vectors, or, for additive codes without
            any, a sample of the training vectors.
    """

    stage: str
    number: int
    error: float
    validation: float | None


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        done: Vectors passed so far, over all steps.
        total: Vectors to pass in all, if no stage ends early.
        last: The last step that was finished.
        skipped: Those of ``done`` that a checkpoint has spared this call.
    """

    done: int
    total: int
    last: Step | None
    skipped: int = 0


class Stepped(NamedTuple):
    """What a step gives: the tables after it, and the mean squared error it met."""

    tables: list[Tensor]
    error: float


@dataclass
class _Stage:
    """Where a stage is; ``best`` is empty where there is no validation to choose by."""

    tables: list[Tensor]
    best: list[Tensor]
    number: int = 0
    least: float = float("inf")
    stale: int = 0
    over: bool = False


class Run:
    """Runs stages, remembers the finished ones, and writes checkpoints.

    Every stage is a function from tables to tables, repeated; all that follows from a checkpoint is a function of it,
    so a run that was killed and resumed ends with the same bits.

    Args:
        config: The configuration.
        identity: What the run is about; a checkpoint of another identity is refused.
        total: Vectors to pass in all.
        checkpoint: File to resume from and to write to, replaced as a whole. Ranks read the same file, the first one
            writes it.
        progress: Called with every chunk and step.
        device: Where the tables of a checkpoint go.

    Raises:
        CheckpointError: If the checkpoint belongs to another run or cannot be read.
    """

    def __init__(
        self,
        config: EMConfig,
        *,
        identity: Sequence[object] = (),
        total: int = 0,
        checkpoint: Path | None = None,
        progress: Callable[[Progress], None] | None = None,
        device: torch.device | None = None,
    ):
        self.config, self.checkpoint, self.progress, self.total = config, checkpoint, progress, total
        self.history: list[Step] = []
        self.done = self.skipped = 0
        numbers = {name: value for name, value in asdict(config).items() if name != "checkpoint_seconds"}
        self._identity = json.dumps([numbers, list(identity)], default=str)
        self._stages: dict[str, _Stage] = {}
        self._saved = time.monotonic()
        if checkpoint is not None and not rank():
            remove_parts(checkpoint)
        if checkpoint is not None and checkpoint.exists():
            self._load(checkpoint, device or torch.device("cpu"))

    def passing(self, stream: VectorStream) -> Iterator[Chunk]:
        """The chunks of a stream, counted."""
        for chunk in stream:
            yield chunk
            self.done += len(chunk.vectors)
            self._tell()

    def stage(
        self,
        name: str,
        start: Callable[[], list[Tensor]],
        step: Callable[[list[Tensor], int], Stepped],
        count: int,
        *,
        judge: Callable[[list[Tensor]], float] | None,
        cost: int,
        unsettled: int = 0,
    ) -> list[Tensor]:
        """Repeat a step, at most ``count`` times; the tables with the least validation error, else the last ones.

        Args:
            name: Unique in the run.
            start: The tables before the first step.
            step: Tables and number of the step to tables and the error met.
            count: Steps at most.
            judge: Validation error of tables.
            cost: Vectors a step passes.
            unsettled: So many first steps may bring no progress without wearing out the patience.
        """
        stage = self._stages.get(name)
        if stage is None:
            stage = self._stages[name] = _Stage(start(), [])
            if judge is not None:
                stage.best, stage.least = stage.tables, judge(stage.tables)
        else:
            self.done += cost * stage.number
            self.skipped += cost * stage.number
        while not stage.over:
            tables, error = step(stage.tables, stage.number)
            validation = None if judge is None else judge(tables)
            score = error if validation is None else validation
            progress = score < stage.least * (1 - self.config.tolerance) or stage.number < unsettled
            stage.stale = 0 if progress else stage.stale + 1
            if judge is not None and score < stage.least:
                stage.best = tables
            stage.least = min(stage.least, score)
            stage.tables, stage.number = tables, stage.number + 1
            stage.over = stage.number >= count or stage.stale >= self.config.patience
            self.history.append(Step(name, stage.number, error, validation))
            self._tell()
            if time.monotonic() - self._saved >= self.config.checkpoint_seconds:
                self._save()
        self.total -= cost * (count - stage.number)
        return stage.best or stage.tables

    def finish(self) -> None:
        """Write the last checkpoint, from which the run can be repeated without work."""
        self._save()

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(Progress(self.done, self.total, self.history[-1] if self.history else None, self.skipped))

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self.checkpoint is None or rank():
            return
        # Finished stages need only what they gave.
        stages = {name: vars(stage).copy() for name, stage in self._stages.items()}
        for record in stages.values():
            if record["over"] and record["best"]:
                record["tables"] = list[Tensor]()
        save_checkpoint(self.checkpoint, {"identity": self._identity, "stages": stages, "history": self.history})

    def _load(self, path: Path, device: torch.device) -> None:
        state = cast(dict[str, Any], load_checkpoint(path))
        if "identity" not in state:
            raise CheckpointError(
                f"{path} is a checkpoint of another kind of training: delete it or choose another name"
            )
        if state["identity"] != self._identity:
            raise CheckpointError(
                f"{path} belongs to a run with other data, quantizer or configuration: delete it or choose another name"
            )
        self.history = [Step(*step) for step in state["history"]]
        for name, record in state["stages"].items():
            for kind in ("tables", "best"):
                record[kind] = [table.to(device) for table in record[kind]]
            self._stages[name] = _Stage(**record)
