"""The iterations of BRIDLE: an encoder on the tokens of a tokenizer, a tokenizer on the vectors of that encoder.

::

    iteration 1     cold tokenizer ──► tokens ──► encoder ─┐
    iteration 2     tokenizer ◄── teacher ─────────────────┤
                        └────────────► tokens ──► encoder, continued ──► ...

Every part is written when it is finished, and a phase goes on from its last checkpoint: a run can be killed at any
moment, and ends with the same numbers.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch

from codeword.functional.ranks import meet, rank, world_size
from codeword.nn.vit import DecoderConfig, ViTConfig
from codeword.pretraining.cache import TokenCache
from codeword.pretraining.estimator import Estimator, EstimatorConfig
from codeword.pretraining.identity import same_run
from codeword.pretraining.joint import JointConfig, JointTask
from codeword.pretraining.phase import CachedTokens, OnlineTokens, PhaseConfig, PhaseTask, Tokens
from codeword.pretraining.predictor import Predictor
from codeword.pretraining.samples import Samples
from codeword.pretraining.storage import load_tokenizer, read_predictor, write_predictor, write_tokenizer
from codeword.pretraining.tasks import EncoderTask, TokenizerTask
from codeword.pretraining.tokenizer import ColdTokenizer, Tokenizer, TrainedTokenizer, fit
from codeword.quantizers.base import Quantizer
from codeword.quantizers.geometry import Cosine
from codeword.quantizers.learning import DirectionAverage, MovingAverage
from codeword.quantizers.residual import ResidualQuantizer
from codeword.quantizers.unit_scale import UnitScale
from codeword.quantizers.vector import VectorQuantizer
from codeword.training.loop import BEST, CHECKPOINT, Outcome
from codeword.training.loop import train as run
from codeword.training.loop_config import LoopConfig
from codeword.training.run import EMConfig
from codeword.training.schedule import Cosine as CosineSchedule

_FIT_BATCH = 256
_WAIT = 1.0  # seconds between two looks at what another process writes

Progress = Callable[[float, float | None], object]


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The shapes of all that is trained.

    Attributes:
        encoder: What is wanted in the end.
        decoder: Predicts the codes of masked patches.
        tokenizer: The network of trained tokenizers.
        estimator: Predicts a teacher's vectors from a tokenizer's.
        codebooks: Codewords of every level; one level is plain vector quantization.
        code_dim: Features of a codeword.
        published_rule: Let every level normalise its residual and subtract a codeword of length 1, as the published
            code does, instead of true residuals: for comparison alone.
    """

    encoder: ViTConfig
    decoder: DecoderConfig
    tokenizer: ViTConfig
    estimator: EstimatorConfig
    codebooks: tuple[int, ...] = (256, 256, 256, 256)
    code_dim: int = 256
    published_rule: bool = False

    def quantizer(self) -> Quantizer:
        """A new quantizer; codebooks are moving averages, seeded by k-means, their dead codewords revived."""
        if self.published_rule:
            by_angle = DirectionAverage(decay=0.99, commitment=0.25)
            return ResidualQuantizer(
                [
                    UnitScale(VectorQuantizer(self.code_dim, size, learning=by_angle, geometry=Cosine()))
                    for size in self.codebooks
                ]
            )
        learning = MovingAverage(decay=0.99, commitment=0.25)
        stages = [VectorQuantizer(self.code_dim, size, learning=learning) for size in self.codebooks]
        return stages[0] if len(stages) == 1 else ResidualQuantizer(stages)


@dataclass(frozen=True, kw_only=True)
class Phase:
    """How long and how one kind of phase is trained.

    Attributes:
        epochs: How often every sample is seen.
        warmup: Epochs of these in which the learning rate rises; it falls by a cosine to 0 after them.
        visits: So many samples are seen in all, whatever the size of the data; ``epochs`` then say nothing but what
            share of them ``warmup`` is.
        config: Batches, masks and the optimizer.
        loop: Everything else; its steps and its schedule come from the epochs, and a phase that is shorter than its
            ``validate_every`` is validated once, in the end.
    """

    epochs: float
    warmup: float = 0.0
    visits: int | None = None
    config: PhaseConfig = field(default_factory=PhaseConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=1))

    def fitted(self, samples: int) -> LoopConfig:
        """The loop for a number of samples."""
        visits = self.epochs * samples if self.visits is None else self.visits
        steps = max(1, math.ceil(visits / (self.config.batch * self.loop.accumulate)))
        warmup = min(steps - 1, round(steps * self.warmup / self.epochs))
        # A phase however short tells in the end how codebooks are used.
        every = min(self.loop.validate_every, steps)
        schedule = CosineSchedule(steps=steps, warmup=warmup)
        return replace(self.loop, steps=steps, schedule=schedule, validate_every=every)


@dataclass(frozen=True, kw_only=True)
class PipelineConfig:
    """A whole pretraining.

    Attributes:
        networks: What is trained.
        encoder: How encoders are.
        tokenizer: How tokenizers are.
        iterations: Encoders in all; a tokenizer comes before each but the first.
        joint: How tokenizer and encoder learn at once, from the second iteration on (eq. 8); ``None``: in turn.
        cold_offset: How long a constant vector is that is added to the projections of patches by the cold tokenizer;
            see there. The published code has none.
        cold_places: Let cold tokens tell the places of patches, as the published code does: for comparison alone.
        fit_samples: Samples on whose patches the codebooks of the cold tokenizer are found.
        codebook: Weight of a tokenizer's codebook loss beside its cosine loss.
        seed: Of all weights.
    """

    networks: Networks
    encoder: Phase
    tokenizer: Phase
    iterations: int = 2
    joint: JointConfig | None = None
    cold_offset: float = 0.0
    cold_places: bool = False
    fit_samples: int = 4096
    codebook: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"a pretraining has at least one iteration, got {self.iterations}")


class Part(NamedTuple):
    """A phase that was trained.

    Attributes:
        name: ``encoder-1``, ``tokenizer-2``, ``encoder-2`` ...
        outcome: How its loop ended; ``None`` where it was finished before.
        caching: CPU seconds that its tokens took, 0 where they were there.
    """

    name: str
    outcome: Outcome | None
    caching: float = 0.0

    def line(self) -> str:
        """All of it, for people."""
        if self.outcome is None:
            return f"{self.name}: finished before"
        best = "" if self.outcome.best is None else f", best validation loss {self.outcome.best:.4f}"
        tokens = f", tokens in {self.caching:.0f} s" if self.caching else ""
        return f"{self.name}: {self.outcome.step} steps, {self.outcome.seconds_per_step:.3f} s each{best}{tokens}"


class Pretraining:
    """The state of a pretraining: parts in a folder, made in their order.

    Args:
        config: What to do.
        samples: To learn from.
        held: To validate on.
        folder: Where parts, tokens and checkpoints are.

    Attributes:
        predictor: The last encoder, with its decoder.
        tokenizer: Whose tokens it predicts.
    """

    predictor: Predictor
    tokenizer: Tokenizer

    def __init__(self, config: PipelineConfig, samples: Samples, held: Samples, folder: Path):
        self.config, self.samples, self.held, self.folder = config, samples, held, folder
        self.parts: list[Part] = []

    def run(self, *, progress: Progress | None = None) -> Iterator[Part]:
        """Train what is not there yet, part after part.

        Args:
            progress: Called while tokens are cached, with samples done and in all.

        Raises:
            ValueError: If the folder holds an interrupted run of other settings or data.
        """
        data = {"data": self.samples.configuration(), "held-out data": self.held.configuration()}
        same_run(self.folder, self.config, data)
        for iteration in range(1, self.config.iterations + 1):
            if iteration > 1 and self.config.joint is not None:
                yield self._both(iteration, self.config.joint)
                continue
            yield from self._tokenizer(iteration)
            yield self._encoder(iteration, progress)

    def dry_run(self) -> Iterator[Part]:
        """Two steps and a validation of every kind of phase; nothing is written, and no weight is kept."""
        torch.manual_seed(self.config.seed)
        self.tokenizer = self._cold(samples=min(64, len(self.samples)))
        self.predictor = self._new_predictor()
        phase = self.config.encoder
        task = self._encoder_task(OnlineTokens(self.tokenizer))
        yield Part("encoder", run(task, phase.fitted(len(self.samples)), None, dry_run=True))
        if self.config.iterations > 1:
            phase = self.config.tokenizer
            _, task = self._tokenizer_task()
            yield Part("tokenizer", run(task, phase.fitted(len(self.samples)), None, dry_run=True))

    def _tokenizer(self, iteration: int) -> Iterator[Part]:
        """Set the tokenizer of an iteration."""
        home = self.folder / f"tokenizer-{iteration}"
        torch.manual_seed(self.config.seed + iteration)
        if home.is_dir():
            self.tokenizer, _ = load_tokenizer(home)
        elif iteration == 1:
            self.tokenizer = self._cold(samples=self.config.fit_samples)
            self._written(lambda: write_tokenizer(home, self.tokenizer, None))
        else:
            made, task = self._tokenizer_task()
            outcome = self._trained(task, self.config.tokenizer, home.name)
            self.tokenizer = made.cpu().eval()
            self._written(lambda: write_tokenizer(home, self.tokenizer, None))
            self._tidy(home.name)
            yield Part(home.name, outcome)

    def _encoder(self, iteration: int, progress: Progress | None) -> Part:
        """Set the predictor of an iteration."""
        home = self.folder / f"encoder-{iteration}"
        torch.manual_seed(self.config.seed + iteration)
        if home.is_dir():
            self.predictor = read_predictor(home)
            return Part(home.name, None)
        if iteration == 1:
            self.predictor = self._new_predictor()
        begin = time.process_time()
        tokens = self._tokens(iteration, progress)
        caching = time.process_time() - begin
        outcome = self._trained(self._encoder_task(tokens), self.config.encoder, home.name)
        self.predictor = self.predictor.cpu().eval()
        self._written(lambda: write_predictor(home, self.predictor))
        self._tidy(home.name)
        return Part(home.name, outcome, caching)

    def _both(self, iteration: int, joint: JointConfig) -> Part:
        """Set tokenizer and predictor of an iteration, trained at once for the epochs of an encoder."""
        homes = [self.folder / f"{name}-{iteration}" for name in ("tokenizer", "encoder")]
        torch.manual_seed(self.config.seed + iteration)
        if all(home.is_dir() for home in homes):
            self.tokenizer, self.predictor = load_tokenizer(homes[0])[0], read_predictor(homes[1])
            return Part(homes[1].name, None)
        networks, phase = self.config.networks, self.config.encoder
        made = TrainedTokenizer(networks.tokenizer, networks.quantizer())
        estimator = Estimator(networks.estimator, networks.code_dim, networks.encoder.dim)
        self.predictor.train().requires_grad_(True)
        joint = replace(joint, accumulate=phase.loop.accumulate)
        task = JointTask(self.predictor, made, estimator, self.samples, self.held, phase.config, joint)
        # A tokenizer that says less is predicted better: no loss tells which weights are best.
        phase = replace(phase, loop=replace(phase.loop, keep_best=False))
        outcome = self._trained(task, phase, homes[1].name)
        self.tokenizer, self.predictor = made.cpu().eval(), self.predictor.cpu().eval()
        self._written(lambda: write_tokenizer(homes[0], self.tokenizer, None))
        self._written(lambda: write_predictor(homes[1], self.predictor))
        self._tidy(homes[1].name)
        return Part(homes[1].name, outcome)

    def _cold(self, *, samples: int) -> Tokenizer:
        networks, config = self.config.networks, self.config
        encoder = networks.encoder
        tokenizer = ColdTokenizer(
            encoder.channels,
            encoder.patch,
            networks.quantizer(),
            seed=config.seed,
            offset=config.cold_offset,
            places=config.cold_places,
        )
        count = min(samples, len(self.samples))
        chosen = torch.randperm(len(self.samples), generator=torch.Generator().manual_seed(config.seed))[
            :count
        ].tolist()
        share = chosen[rank() :: world_size()]  # codebooks are found from the sums of all processes
        parts = (share[start : start + _FIT_BATCH] for start in range(0, len(share), _FIT_BATCH))
        fit(tokenizer, (self.samples.inputs(part, [0] * len(part)) for part in parts), EMConfig(seed=config.seed))
        return tokenizer.eval()

    def _new_predictor(self) -> Predictor:
        networks = self.config.networks
        return Predictor(networks.encoder, networks.decoder, networks.codebooks)

    def _encoder_task(self, tokens: Tokens) -> EncoderTask:
        phase = self.config.encoder.config
        self.predictor.train().requires_grad_(True)
        return EncoderTask(self.predictor, tokens, self.tokenizer, self.samples, self.held, phase)

    def _tokenizer_task(self) -> tuple[TrainedTokenizer, TokenizerTask]:
        networks = self.config.networks
        made = TrainedTokenizer(networks.tokenizer, networks.quantizer())
        estimator = Estimator(networks.estimator, networks.code_dim, networks.encoder.dim)
        phase = self.config.tokenizer.config
        teacher = self.predictor.encoder
        task = TokenizerTask(made, estimator, teacher, self.samples, self.held, phase, codebook=self.config.codebook)
        return made, task

    def _tokens(self, iteration: int, progress: Progress | None) -> Tokens:
        views = self.config.encoder.config.views
        if views is None:
            return OnlineTokens(self.tokenizer)
        folder = self.folder / f"tokens-{iteration}"
        if rank() > 0:
            _wait_for((folder / "tokens.json").is_file)
        cache = TokenCache(folder, self.tokenizer, self.samples, views)
        if rank() == 0:
            cache.fill(progress=progress)
        else:
            _wait_for(lambda: cache.done == len(self.samples))
        return CachedTokens(cache)

    def _trained(self, task: PhaseTask, phase: Phase, name: str) -> Outcome:
        return run(task, phase.fitted(len(self.samples)), self.folder / f"{name}.training")

    def _written(self, write: Callable[[], object]) -> None:
        if rank() == 0:
            write()
        meet()

    def _tidy(self, name: str) -> None:
        """Keep the log of a phase, drop its checkpoints."""
        if rank() == 0:
            for checkpoint in (CHECKPOINT, BEST):
                (self.folder / f"{name}.training" / checkpoint).unlink(missing_ok=True)


def _wait_for(there: Callable[[], bool]) -> None:
    while not there():
        time.sleep(_WAIT)
