"""Audio codecs of variable bitrate.

::

    codeword train audio RECORDINGS --out MODEL --recipe speech-16k

``paper`` is the full-size run of VRVQ (Chae and Lee 2024): 8 codebooks at 44.1 kHz, 300 000 steps of 32 excerpts, days
on an accelerator; ``paper-16`` has 16 codebooks. ``small`` is the same with a small part of the arithmetic.
``speech-16k`` is for processors, where a step takes half a second: it starts from a transform codec whose codebooks
k-means has found, and networks add to that. ``stream-16k`` never looks ahead: its models code live speech with 80 ms of
delay. ``smoke`` shows in a minute that everything runs; its model is of no use.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.layout import LappedLayout, Layout, SpectralLayout, WaveLayout
from codeword.codecs.audio.model import AudioModel
from codeword.codecs.audio.seeding import can_seed, seed
from codeword.codecs.audio.storage import read_audio
from codeword.codecs.audio.training import AudioTask, AudioTraining, Weights
from codeword.data.audio_augment import Augmentation, Gain, RescalePeak, vrvq_augmentations
from codeword.data.audio_corpus import BadFile, Corpus, open_corpus
from codeword.data.audio_errors import AudioError
from codeword.data.audio_excerpts import ExcerptConfig, Excerpts
from codeword.data.audio_source import FileSource
from codeword.functional.spectral_distance import MelScales
from codeword.nn.discriminators import Discriminator, DiscriminatorConfig
from codeword.nn.importance import PAPER
from codeword.quantizers.variable import Smooth, Surrogate
from codeword.recipes.resuming import finish, is_begun, resume_folder
from codeword.training.loop import Outcome
from codeword.training.loop import train as run
from codeword.training.loop_config import LoopConfig
from codeword.training.schedule import Exponential, Trapezoid

DISCRIMINATOR = "discriminator.safetensors"
_SPLITS = {"train": 0.95, "val": 0.05}
_HELD_CLIPS, _HELD_SECONDS = 16, 3.0
_SEED_BATCHES = 60
_TABLE_SECONDS = 1800.0  # of training audio, at the scales in use, that entropy tables are learned from
_BLOCK_SECONDS = 30
_TABLE_SCALES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # in levels

Name = Literal["paper", "paper-16", "small", "speech-16k", "stream-16k", "smoke"]


@dataclass(frozen=True, kw_only=True)
class AudioRecipe:
    """A complete configuration.

    Attributes:
        sample_rate: Samples per second.
        layout: Encoder and decoder.
        levels: Codebooks of 1024 codewords.
        seconds: Length of an excerpt.
        batch: Excerpts of a step.
        augment: What is done to excerpts.
        training: Losses and discriminators.
        loop: Steps and the rest.
        surrogate: What stands in for the threshold of depths in derivative; ``None`` for a model of constant depth.
        code_dim: Features of factorised codewords; ``None`` for codewords of whole frames.
    """

    sample_rate: int
    layout: Layout
    levels: int
    seconds: float
    batch: int
    augment: tuple[Augmentation, ...]
    training: AudioTraining
    loop: LoopConfig
    surrogate: Surrogate | None = field(default_factory=Smooth)
    code_dim: int | None = 8

    def model(self) -> AudioModel:
        """A new model."""
        torch.manual_seed(self.loop.seed)
        kernels = PAPER if self.surrogate is not None else None
        return AudioModel(
            self.sample_rate,
            self.layout,
            levels=self.levels,
            code_dim=self.code_dim,
            kernels=kernels,
            surrogate=self.surrogate,
        )

    def excerpts(self, corpus: Corpus, *, workers: int = 0) -> Excerpts:
        """Batches of a corpus, whole frames long."""
        frames = round(self.seconds * self.sample_rate / self.layout.hop)
        config = ExcerptConfig(
            rate=self.sample_rate,
            seconds=frames * self.layout.hop / self.sample_rate,
            batch=self.batch,
            seed=self.loop.seed,
            augment=self.augment,
        )
        return Excerpts(corpus, config, workers=workers)


def recipe(name: Name, *, steps: int | None = None) -> AudioRecipe:
    """A recipe by its name, and its schedule fitted to another number of steps."""
    return _RECIPES[name]() if steps is None else _RECIPES[name](steps)


def _trapezoid(steps: int) -> Trapezoid:
    return Trapezoid(steps=steps, warmup=min(300, steps // 4), decay=steps // 3, floor=0.02)


def _published(steps: int = 300_000, *, small: bool, levels: int = 8) -> AudioRecipe:
    layout, judges = WaveLayout(), DiscriminatorConfig()
    if small:
        layout = WaveLayout(width=16, strides=(2, 4, 8, 8), latent=256, decoder_width=256)
        judges = DiscriminatorConfig(period_widths=(16, 64, 128, 256, 256), spectral_width=16)
    return AudioRecipe(
        sample_rate=44100,
        layout=layout,
        levels=levels,
        seconds=0.38,
        batch=16 if small else 32,
        augment=vrvq_augmentations(),
        training=AudioTraining(mels=MelScales(sample_rate=44100), discriminator=judges),
        loop=LoopConfig(steps=steps, clip_norm=(10.0, 1e3), schedule=Exponential(rate=0.999996), validate_every=5000),
    )


def _frames(steps: int = 6000, *, layout: Layout, code_dim: int | None = None) -> AudioRecipe:
    training = AudioTraining(
        mels=MelScales(sample_rate=16000, windows=(128, 256, 512, 1024, 2048), bands=(10, 20, 40, 80, 160)),
        weights=Weights(mel=10.0, si_sdr=1.0, rate=2.0, quantizer=10.0),
        learning_rate=5e-4,
        draw="log-uniform",
        constant=0.25,
        full=0.15,
        discriminator=None,
        variable_from=steps // 10,
    )
    return AudioRecipe(
        sample_rate=16000,
        layout=layout,
        levels=12,
        seconds=1.2,
        batch=16,
        augment=(Gain(low=-8.0, high=4.0), RescalePeak()),
        training=training,
        loop=LoopConfig(
            steps=steps,
            clip_norm=5.0,
            schedule=_trapezoid(steps),
            average_decay=0.999,
            validate_every=500,
            checkpoint_every=250,
        ),
        code_dim=code_dim,
    )


def _smoke(steps: int = 40) -> AudioRecipe:
    made = _frames(steps, layout=SpectralLayout(dim=32, inner=64, latent=16))
    loop = replace(made.loop, average_decay=None, validate_every=steps, checkpoint_every=steps)
    training = replace(made.training, weights=made.training.weights._replace(quantizer=1.0))
    return replace(made, levels=4, batch=4, training=training, loop=loop, code_dim=8)


_RECIPES: Mapping[Name, Callable[..., AudioRecipe]] = {
    "paper": partial(_published, small=False),
    "paper-16": partial(_published, small=False, levels=16),
    "small": partial(_published, small=True),
    "speech-16k": partial(_frames, layout=LappedLayout()),
    "stream-16k": partial(_frames, layout=SpectralLayout(padding="causal"), code_dim=8),
    "smoke": _smoke,
}


class AudioResult(NamedTuple):
    """What was trained.

    Attributes:
        codec: The codec, as it was written.
        outcome: How the loop ended.
        report: What the corpus held.
    """

    codec: AudioCodec
    outcome: Outcome
    report: str


def train(
    config: AudioRecipe,
    data: Path | Corpus,
    out: Path,
    *,
    root: Path | None = None,
    workers: int = 2,
    dry_run: bool = False,
    start_from: Path | None = None,
) -> AudioResult:
    """Train a model and write it with its tables and, for fine-tuning, its discriminators.

    Args:
        config: The recipe.
        data: A folder of recordings, a CSV manifest, or a corpus.
        out: Folder of the model.
        root: Of a manifest's paths.
        workers: Threads that read ahead.
        dry_run: Make two steps and one validation, and write nothing.
        start_from: Folder of a model to go on from: its networks and, if the recipe uses the same ones and they were
            saved, its discriminators. Depths follow importance from the first step.

    Raises:
        ValueError: In one line, if there is nothing to train on, or the model works at another sample rate.
    """
    corpus = divided(data if isinstance(data, Corpus) else open_corpus(data, root=root))
    model = config.model()
    if start_from is not None:
        model = _started(start_from, config)
        training = replace(config.training, variable_from=0)
        config = replace(config, layout=model.layout, levels=model.levels, training=training)
    excerpts = config.excerpts(corpus.only(split="train"), workers=workers)
    if start_from is None and can_seed(model) and (dry_run or not is_begun(out)):
        seed(model, (excerpts.batch(number) for number in range(_SEED_BATCHES)))
    held = torch.stack(list(_held(corpus.only(split="val"), config)))
    task = AudioTask(model, excerpts, config.training, held=held)
    if start_from is not None and task.discriminator is not None:
        _start_discriminator(task.discriminator, start_from / DISCRIMINATOR)
    outcome = run(task, config.loop, None if dry_run else resume_folder(out), dry_run=dry_run)
    codec = AudioCodec(model)
    if dry_run:
        return AudioResult(codec, outcome, report(corpus, excerpts.bad))
    scales = [share * config.levels for share in _TABLE_SCALES]
    codec.learn_tables(_signals(corpus.only(split="train"), config, excerpts.bad), scales)

    def write(folder: Path) -> None:
        codec.save_pretrained(folder)
        if task.discriminator is not None:
            (folder / DISCRIMINATOR).write_bytes(save(task.discriminator.state_dict()))

    finish(out, write)
    return AudioResult(codec, outcome, report(corpus, excerpts.bad))


def report(corpus: Corpus, bad: Mapping[str, BadFile]) -> str:
    """What a corpus held, and which of its files could not be read when it came to it."""
    found = {file.path for file in corpus.bad}
    return replace(corpus, bad=(*corpus.bad, *(file for file in bad.values() if file.path not in found))).report()


def _started(folder: Path, config: AudioRecipe) -> AudioModel:
    model, _ = read_audio(folder)
    if model.sample_rate != config.sample_rate:
        raise ValueError(
            f"{folder} works at {model.sample_rate} Hz, the recipe at {config.sample_rate} Hz: choose another recipe"
        )
    return model


def _start_discriminator(discriminator: Discriminator, saved: Path) -> None:
    """Load what was saved with a model; a model that was trained without adversaries gets new ones.

    Raises:
        ValueError: If the file is damaged, or of discriminators of another shape.
    """
    if not saved.is_file():
        return
    try:
        discriminator.load_state_dict(load_file(saved))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f"{saved} does not fit the recipe's discriminators: train with the recipe that wrote it, or remove the "
            "file to start with new ones"
        ) from error


def divided(corpus: Corpus) -> Corpus:
    """A corpus with the splits that it names; else whole folders are held back, or single files where there are few.

    Where no clip is for validation, some of those for training are; what is for test, or for anything else, stays that.
    """
    named = {clip.entry.split for clip in corpus.clips}
    if _SPLITS.keys() <= named:
        return corpus
    given = "train" if "train" in named else ""
    others = tuple(clip for clip in corpus.clips if clip.entry.split != given)
    free = Corpus(tuple(clip for clip in corpus.clips if clip.entry.split == given), corpus.bad)
    if len(free) < len(_SPLITS):
        raise ValueError(f"{len(free)} recordings are too few: one at least is held back to validate on")
    parts = free.with_splits(_SPLITS)
    if {clip.entry.split for clip in parts.clips} != _SPLITS.keys():
        every = min(len(free), round(1 / _SPLITS["val"]))
        clips = [
            clip._replace(entry=replace(clip.entry, split="train" if (number + 1) % every else "val"))
            for number, clip in enumerate(free.clips)
        ]
        parts = replace(free, clips=tuple(clips))
    return replace(parts, clips=parts.clips + others)


def _held(corpus: Corpus, config: AudioRecipe) -> Iterator[Tensor]:
    """Excerpts for validation, without augmentation."""
    seconds = replace(config, seconds=_HELD_SECONDS, batch=_HELD_CLIPS, augment=())
    yield from seconds.excerpts(corpus).batch(0)


def _signals(corpus: Corpus, config: AudioRecipe, bad: dict[str, BadFile]) -> Iterator[Iterator[Tensor]]:
    """Recordings, spread over the corpus; what cannot be read is noted and left out."""
    left, step = _TABLE_SECONDS, max(1, len(corpus) // 500)
    for number in range(0, len(corpus), step):
        if left <= 0:
            return
        left -= corpus.clips[number].seconds
        yield _blocks(corpus, number, config.sample_rate, bad)


def _blocks(corpus: Corpus, number: int, rate: int, bad: dict[str, BadFile]) -> Iterator[Tensor]:
    clip, source = corpus.clips[number], FileSource(corpus)
    try:
        for start in range(0, clip.frames, _BLOCK_SECONDS * clip.rate):
            yield torch.from_numpy(source.read(number, start, _BLOCK_SECONDS * rate, rate)).mean(0, keepdim=True)
    except AudioError as error:
        bad.setdefault(clip.entry.path, BadFile(clip.entry.path, str(error)))
