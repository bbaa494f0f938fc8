"""A recipe of pretraining, changed in some points."""

from dataclasses import dataclass, replace

from codeword.pretraining.pipeline import Phase
from codeword.recipes.pretraining import PretrainRecipe
from codeword.training.loop_config import Precision, Sharding

_COUNTS = ("iterations", "batch", "accumulate", "window", "codebooks", "codebook_size")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to change; ``None`` leaves it as it is.

    Attributes:
        epochs: Of an encoder; those of tokenizers change by the same factor.
        iterations: Encoders in all.
        batch: Samples of a step.
        accumulate: Batches of a step of the optimizer.
        learning_rate: Of encoders.
        views: Fixed views of a sample; 0 for new tokens in every batch.
        window: Samples within which those of a few shards are mixed.
        codebooks: Levels.
        codebook_size: Codewords of a level.
        precision: Of forward and backward.
        sharding: What each of several processes keeps of weights, gradients and moments.
        seed: Of every draw.
        tensorboard: Whether to write TensorBoard's files.
        quiet: Whether to do without bars.
    """

    epochs: float | None = None
    iterations: int | None = None
    batch: int | None = None
    accumulate: int | None = None
    learning_rate: float | None = None
    views: int | None = None
    window: int | None = None
    codebooks: int | None = None
    codebook_size: int | None = None
    precision: Precision | None = None
    sharding: Sharding = "none"
    seed: int = 0
    tensorboard: bool = False
    quiet: bool = False


def changed(recipe: PretrainRecipe, options: Options) -> PretrainRecipe:
    """The recipe with other values.

    Raises:
        ValueError: If one makes no sense.
    """
    _check(options)
    pipeline = recipe.pipeline
    factor = 1.0
    if options.epochs is not None:
        factor = options.epochs / pipeline.encoder.epochs
    encoder, tokenizer = (_phase(phase, options, factor) for phase in (pipeline.encoder, pipeline.tokenizer))
    if options.learning_rate is not None:
        encoder = replace(encoder, config=replace(encoder.config, learning_rate=options.learning_rate))
    networks = pipeline.networks
    levels = options.codebooks or len(networks.codebooks)
    size = options.codebook_size or networks.codebooks[0]
    networks = replace(networks, codebooks=(size,) * levels)
    iterations = options.iterations or pipeline.iterations
    made = replace(
        pipeline, networks=networks, encoder=encoder, tokenizer=tokenizer, iterations=iterations, seed=options.seed
    )
    return replace(recipe, pipeline=made)


def _check(options: Options) -> None:
    for name in ("epochs", "learning_rate"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above 0, got {value}")
    for name, least in {**dict.fromkeys(_COUNTS, 1), "views": 0}.items():
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def _phase(phase: Phase, options: Options, factor: float) -> Phase:
    config = replace(phase.config, seed=options.seed, batch=options.batch or phase.config.batch)
    if options.views is not None:
        config = replace(config, views=options.views or None)
    if options.window is not None:
        config = replace(config, window=options.window)
    loop = replace(
        phase.loop,
        seed=options.seed,
        accumulate=options.accumulate or phase.loop.accumulate,
        precision=options.precision or phase.loop.precision,
        sharding=options.sharding,
        tensorboard=options.tensorboard,
        progress=not options.quiet,
    )
    visits = phase.visits if options.epochs is None else None
    epochs, warmup = phase.epochs * factor, phase.warmup * factor
    return replace(phase, epochs=epochs, warmup=warmup, visits=visits, config=config, loop=loop)
