"""Encoders pretrained on unlabelled audio, images or video (BRIDLE, Nguyen et al. 2025).

::

    codeword pretrain small-image --data PHOTOS --out ENCODER

``audioset``, ``imagenet`` and ``kinetics`` are the paper's runs of full size: days on many accelerators.
``small-audio``, ``small-image`` and ``small-video`` are for one processor; ten minutes of one core show whether it
helps on your data. ``smoke-audio``, ``smoke-image`` and ``smoke-video`` show in seconds that everything runs.

What a linear probe finds in the mean over patches, seed 0, on two processors, and with random weights; ``make
demo-pretraining`` measures it again. Sums in another order make another sample of the same seed:

- ``small-audio``: .636 and .634 of segments of phones, .536 with random weights; .703 and .622 of the drums of authors
  that were not learned from, .668 with random weights, which are too few to tell.
- ``small-image``: .839 and .837 of the test images of Fashion-MNIST, .806 with random weights.
- ``small-video``: .889 and .856 of 16 motions of garments over photos, .686 with random weights.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, get_args

from codeword.data.audio_samples import PUBLISHED, AudioSampleConfig
from codeword.data.listing import Kind, Listing, left_out
from codeword.data.mel_augment import bridle_augmentations
from codeword.data.splits import divided
from codeword.data.video_files import ClipConfig
from codeword.data.visual_augment import RandomResizedCrop, image_augmentations, video_augmentations
from codeword.evaluation.data_check import open_listing, spread
from codeword.functional.filterbank import MelConfig
from codeword.functional.ranks import rank
from codeword.nn.vit import DecoderConfig, ViTConfig
from codeword.pretraining.encoder import Encoder
from codeword.pretraining.estimator import EstimatorConfig
from codeword.pretraining.front_ends import AudioFrontEnd, Augmentation, FrontEnd, ImageFrontEnd, VideoFrontEnd
from codeword.pretraining.kept_samples import KeptSamples
from codeword.pretraining.masking import MaskRule, RandomMask, TubeMask
from codeword.pretraining.phase import PhaseConfig
from codeword.pretraining.pipeline import Networks, Part, Phase, PipelineConfig, Pretraining, Progress
from codeword.pretraining.samples import Samples
from codeword.pretraining.storage import TOKENIZER, load_tokenizer, read_predictor, write_tokenizer
from codeword.recipes.names import Pretraining as Name
from codeword.recipes.resuming import resume_folder
from codeword.training.logging import keep_logs
from codeword.training.loop_config import LoopConfig
from codeword.training.stepper import start_ranks

NAMES: tuple[Name, ...] = get_args(Name)
_DRY = 256  # items that a dry run looks at


@dataclass(frozen=True, kw_only=True)
class PretrainRecipe:
    """A complete configuration.

    Attributes:
        front_end: What makes inputs of files.
        augment: What is done to views.
        pipeline: Networks and phases.
        measure: Whether mean and deviation are computed from the data, instead of those of the front end.
        most: So many items are used at most, evenly spread; ``None``: all.
    """

    front_end: FrontEnd
    augment: tuple[Augmentation, ...]
    pipeline: PipelineConfig
    measure: bool = True
    most: int | None = None

    @property
    def kind(self) -> Kind:
        """What it learns from."""
        return self.front_end.kind


def recipe(name: Name) -> PretrainRecipe:
    """A recipe by its name."""
    size, _, kind = name.partition("-")
    if not kind:
        return _FULL[name]()
    return _SMALL[kind](size == "smoke")


class _Learning(NamedTuple):
    """What differs between the published runs."""

    encoder_rate: float
    batch: int
    epochs: tuple[float, float]
    warmup: tuple[float, float]
    mask: MaskRule


def _published(
    front_end: FrontEnd, augment: Sequence[Augmentation], networks: Networks, how: _Learning
) -> PretrainRecipe:
    loop = LoopConfig(steps=1, precision="bf16-mixed", keep_best=False)
    encoder = PhaseConfig(batch=how.batch, learning_rate=how.encoder_rate, mask=how.mask)
    tokenizer = PhaseConfig(batch=how.batch, learning_rate=2e-4)
    pipeline = PipelineConfig(
        networks=networks,
        encoder=Phase(epochs=how.epochs[0], warmup=how.warmup[0], config=encoder, loop=loop),
        tokenizer=Phase(epochs=how.epochs[1], warmup=how.warmup[1], config=tokenizer, loop=loop),
        fit_samples=100_000,
    )
    return PretrainRecipe(front_end=front_end, augment=tuple(augment), pipeline=pipeline, measure=False)


def _base(front_end: FrontEnd, patch: tuple[int, ...]) -> Networks:
    """ViT-B with a decoder of Swin blocks, as for audio and images."""
    vit = ViTConfig(channels=front_end.channels, size=front_end.size, patch=patch)
    decoder = DecoderConfig(dim=512, depth=16, heads=16, kind="swin")
    return Networks(encoder=vit, decoder=decoder, tokenizer=vit, estimator=EstimatorConfig())


def _audioset() -> PretrainRecipe:
    front_end = AudioFrontEnd(sample=AudioSampleConfig(frames=1024), statistics=PUBLISHED["audioset"])
    how = _Learning(5e-4, 1024, (130.0, 30.0), (10.0, 2.0), RandomMask(0.8))
    return _published(front_end, bridle_augmentations(), _base(front_end, (16, 16)), how)


def _imagenet() -> PretrainRecipe:
    front_end = ImageFrontEnd()
    how = _Learning(5e-4, 1024, (400.0, 100.0), (10.0, 2.0), RandomMask(0.8))
    return _published(front_end, image_augmentations(), _base(front_end, (16, 16)), how)


def _kinetics() -> PretrainRecipe:
    front_end = VideoFrontEnd(clip=ClipConfig(frames=16, stride=4, short_side=288))
    vit = ViTConfig(
        channels=3, size=front_end.size, patch=(2, 16, 16), cls_token=False, bias="qv", positions="sinusoid"
    )
    networks = Networks(
        encoder=vit,
        decoder=DecoderConfig(dim=384, depth=4, heads=6, positions="sinusoid"),
        tokenizer=vit,
        estimator=EstimatorConfig(dim=384, depth=4, heads=6),
    )
    how = _Learning(1.2e-3, 2048, (800.0, 200.0), (40.0, 10.0), TubeMask(0.9))
    return _published(front_end, video_augmentations(), networks, how)


class _Seeing(NamedTuple):
    """What differs between the small runs."""

    front_end: FrontEnd
    patch: tuple[int, ...]
    augment: tuple[Augmentation, ...]
    mask: MaskRule
    predicted: float = 0.25
    views: int = 1
    visits: int = 60_000
    tokenizer_visits: int = 8_000


def _small(how: _Seeing, *, smoke: bool) -> PretrainRecipe:
    """Many steps of small batches: at this size they count for more than samples do."""
    front_end, patch = how.front_end, how.patch
    dim, depth = (32, 2) if smoke else (128, 4)
    vit = ViTConfig(
        channels=front_end.channels, size=front_end.size, patch=patch, dim=dim, depth=depth, heads=4, cls_token=False
    )
    networks = Networks(
        encoder=vit,
        decoder=DecoderConfig(dim=dim, depth=1, heads=4),
        tokenizer=vit,
        estimator=EstimatorConfig(dim=dim, depth=1, heads=4),
        codebooks=(16,) * 4 if smoke else (256,) * 4,
        code_dim=16 if smoke else 64,
    )
    loop = LoopConfig(steps=1, validate_every=1000, checkpoint_every=1000, keep_best=False, accelerator="auto")
    batch = 16 if smoke else 32
    encoder = PhaseConfig(
        batch=batch, views=how.views, learning_rate=1e-3, weight_decay=0.05, mask=how.mask, predicted=how.predicted
    )
    tokenizer = PhaseConfig(batch=batch, views=how.views, learning_rate=5e-4, weight_decay=0.05)
    pipeline = PipelineConfig(
        networks=networks,
        encoder=Phase(epochs=10.0, warmup=1.0, visits=512 if smoke else how.visits, config=encoder, loop=loop),
        tokenizer=Phase(
            epochs=10.0, warmup=1.0, visits=256 if smoke else how.tokenizer_visits, config=tokenizer, loop=loop
        ),
        cold_offset=1.0,
    )
    return PretrainRecipe(front_end=front_end, augment=how.augment, pipeline=pipeline, most=256 if smoke else None)


def _small_audio(smoke: bool) -> PretrainRecipe:
    sample = AudioSampleConfig(frames=128, mel=MelConfig(bins=64))
    front_end = AudioFrontEnd(sample=sample, statistics=PUBLISHED["audioset"])
    how = _Seeing(
        front_end,
        (8, 16),
        bridle_augmentations(),
        RandomMask(0.8),
        views=2,
        visits=90_000,
        tokenizer_visits=16_000,
    )
    return _small(how, smoke=smoke)


def _small_image(smoke: bool) -> PretrainRecipe:
    front_end = ImageFrontEnd(height=32, width=32)
    augment = (RandomResizedCrop(size=32, scale=(0.5, 1.0)),)
    return _small(_Seeing(front_end, (4, 4), augment, RandomMask(0.8)), smoke=smoke)


def _small_video(smoke: bool) -> PretrainRecipe:
    clip = ClipConfig(frames=16, stride=1, short_side=32)
    front_end = VideoFrontEnd(
        clip=clip, channels=1, height=32, width=32, mean=(0.0,), deviation=(0.1,), background="removed"
    )
    return _small(_Seeing(front_end, (4, 8, 8), (), TubeMask(0.6), predicted=0.5), smoke=smoke)


_FULL: Mapping[str, Callable[[], PretrainRecipe]] = {
    "audioset": _audioset,
    "imagenet": _imagenet,
    "kinetics": _kinetics,
}
_SMALL: Mapping[str, Callable[[bool], PretrainRecipe]] = {
    "audio": _small_audio,
    "image": _small_image,
    "video": _small_video,
}


class PretrainResult(NamedTuple):
    """What was trained.

    Attributes:
        encoder: As it was written.
        parts: How its phases ended.
        report: What the data held.
    """

    encoder: Encoder
    parts: tuple[Part, ...]
    report: str


def pretrain(
    config: PretrainRecipe,
    data: Path | Listing,
    out: Path,
    *,
    workers: int = 2,
    dry_run: bool = False,
    progress: Progress | None = None,
    told: Callable[[Part], object] = lambda part: None,
) -> PretrainResult:
    """Pretrain an encoder, and write it with its tokenizer and the encoders of all iterations.

    ::

        out/                 the encoder: config.json, model.safetensors
        out/tokenizer/       whose tokens it predicts
        out/iterations/N/    encoder and tokenizer after iteration N, and the logs of both, encoder.jsonl ...

    Args:
        config: The recipe.
        data: A data set, or a listing of one; labels are not looked at, items for test are left out.
        out: Folder of the encoder.
        workers: Threads that read files.
        dry_run: Make two steps and one validation of every kind of phase, and write nothing.
        progress: Called while tokens are cached, with samples done and in all.
        told: Called with every part that is finished.

    Raises:
        ValueError: In one line, if there is nothing to train on.
    """
    start_ranks(config.pipeline.encoder.loop)
    listing = data if isinstance(data, Listing) else open_listing(data, config.kind)
    learned, held = divided(listing)
    most = _DRY if dry_run else config.most
    learned, held = _thinned(learned, most), _thinned(held, most)
    front_end, resume = config.front_end, resume_folder(out)
    learned, held = (front_end.readable(part, workers=workers) for part in (learned, held))
    if learned.items and not held.items:
        bad = held.bad
        learned, held = divided(learned)
        held = replace(held, bad=bad)
    learned.not_empty()
    if config.measure:
        front_end = front_end.measured(learned)
    samples, held_samples = (
        views(config, front_end, learned, workers),
        views(config, front_end, held, workers, plain=True),
    )
    run = Pretraining(config.pipeline, samples, held_samples, resume)
    report = _report(listing, learned, held)
    parts: list[Part] = []
    for part in run.dry_run() if dry_run else run.run(progress=progress):
        parts.append(part)
        told(part)
    encoder = finished(run, front_end)
    if not dry_run and rank() == 0:
        _write(out, resume, encoder, run, front_end)
    return PretrainResult(encoder, tuple(parts), report)


def views(
    config: PretrainRecipe, front_end: FrontEnd, listing: Listing, workers: int, *, plain: bool = False
) -> Samples:
    """The samples of a listing as a recipe sees them, augmented unless ``plain``."""
    patch, seed = config.pipeline.networks.encoder.patch, config.pipeline.seed
    augment = () if plain else config.augment
    repeats = config.pipeline.encoder.config.repeats
    files = front_end.samples(listing, patch, augment=augment, seed=seed, repeats=repeats, workers=workers)
    return files if plain or config.pipeline.encoder.config.views is None else KeptSamples(files)


def _thinned(listing: Listing, most: int | None) -> Listing:
    chosen = spread(len(listing), most if most is not None else len(listing))
    return replace(listing, items=tuple(listing.items[place] for place in chosen))


def finished(run: Pretraining, front_end: FrontEnd) -> Encoder:
    """The last encoder of a pretraining, with its front end."""
    encoder = Encoder(run.predictor.config, front_end)
    encoder.network.load_state_dict(run.predictor.encoder.state_dict())
    return encoder.eval()


def _write(out: Path, resume: Path, encoder: Encoder, run: Pretraining, front_end: FrontEnd) -> None:
    part = resume / "result"
    shutil.rmtree(part, ignore_errors=True)
    encoder.save_pretrained(part)
    write_tokenizer(part / TOKENIZER, run.tokenizer, front_end)
    for iteration in range(1, run.config.iterations + 1):
        home = part / "iterations" / str(iteration)
        run.predictor = read_predictor(resume / f"encoder-{iteration}")
        finished(run, front_end).save_pretrained(home)
        write_tokenizer(home / TOKENIZER, load_tokenizer(resume / f"tokenizer-{iteration}")[0], front_end)
        for phase in ("tokenizer", "encoder"):
            keep_logs(resume / f"{phase}-{iteration}.training", home, phase)
    if out.is_dir():
        shutil.rmtree(out)
    part.rename(out)
    shutil.rmtree(resume)


def _report(listing: Listing, learned: Listing, held: Listing) -> str:
    told = f"{listing.layout}: {len(learned)} {listing.kind} items to learn from, {len(held)} to validate on"
    return "\n".join([told, *left_out((*learned.bad, *held.bad))])
