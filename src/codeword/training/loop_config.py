"""How the training loop runs."""

from dataclasses import dataclass, field
from typing import Literal

from codeword.training.schedule import Constant, Schedule

Precision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true"]
Sharding = Literal["none", "full"]


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how a task is trained.

    Attributes:
        steps: Optimizer steps.
        accumulate: Batches per optimizer step.
        precision: Of forward and backward; statistics of codebooks stay in float32.
        clip_norm: Largest norm of the gradient of an optimizer's parameters, one number for all or one per phase;
            ``None`` does not clip.
        schedule: What the learning rates are multiplied with.
        average_decay: Decay of the moving average of weights that validation uses and that is kept; ``None`` for none.
        validate_every: Steps between validations.
        patience: Stop after so many validations without a better loss; ``None`` never stops.
        keep_best: Whether the task ends with the weights of its best validation rather than the last.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between lines of the log, each a mean over them; losses are read from the device only then.
        seed: Of all generators, at the start of the run.
        accelerator: ``cpu``, ``cuda`` or ``auto``.
        devices: Processes on this machine; under torchrun what it says.
        sharding: With several processes, what each of them keeps of weights, gradients and moments of the optimizer:
            all (``none``), or of every tensor a share of the rows, 1 / processes of the numbers (``full``), so that
            larger networks fit; steps then take longer, and numbers differ in the rounding of sums alone.
        deterministic: Whether an operator without a deterministic version is refused.
        progress: Whether to show a progress bar with rate and time left.
        tensorboard: Whether to write TensorBoard's event files beside ``log.jsonl``.
    """

    steps: int
    accumulate: int = 1
    precision: Precision = "32-true"
    clip_norm: float | tuple[float, ...] | None = None
    schedule: Schedule = field(default_factory=Constant)
    average_decay: float | None = None
    validate_every: int = 1000
    patience: int | None = None
    keep_best: bool = True
    checkpoint_every: int = 1000
    log_every: int = 10
    seed: int = 0
    accelerator: str = "auto"
    devices: int = 1
    sharding: Sharding = "none"
    deterministic: bool = False
    progress: bool = True
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "validate_every", "checkpoint_every", "log_every", "devices"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a LoopConfig must be at least 1, got {getattr(self, name)}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience of a LoopConfig must be at least 1 or None for no end, got {self.patience}")
        norms = self.clip_norm if isinstance(self.clip_norm, tuple) else (self.clip_norm,)
        if any(norm is not None and not norm > 0 for norm in norms):
            raise ValueError(f"clip_norm of a LoopConfig must be positive or None for no limit, got {self.clip_norm}")
        if self.sharding == "full" and self.precision == "16-mixed":
            raise ValueError("sharding='full' does not know the scaled loss of precision 16-mixed: take bf16-mixed")
