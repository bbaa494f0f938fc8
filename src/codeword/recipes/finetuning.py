"""Classifiers from pretrained encoders, and the same networks trained from nothing.

::

    codeword finetune small ENCODER --data LABELLED --out CLASSIFIER

``audioset-2m``, ``audioset-20k``, ``esc50``, ``imagenet-1k`` and ``kinetics-400`` have the numbers of BRIDLE's paper,
and where it says nothing those of its scripts; ``small`` is for one processor.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from codeword.data.listing import Kind, Listing
from codeword.data.mel_augment import SpecAugment, bridle_augmentations
from codeword.data.visual_augment import HorizontalFlip, RandomResizedCrop, video_augmentations
from codeword.functional.ranks import rank
from codeword.metrics.classification import Figures
from codeword.nn.pooling import Pooling
from codeword.pretraining.classifier import Classifier, evaluate
from codeword.pretraining.encoder import Encoder
from codeword.pretraining.finetuning import FineTuneConfig, FineTuneTask, LabelledSamples, WeightedSampling
from codeword.pretraining.front_ends import AudioFrontEnd, Augmentation, FrontEnd
from codeword.pretraining.frozen import Frozen
from codeword.pretraining.identity import same_run
from codeword.pretraining.kept_samples import KeptSamples, SomeSamples
from codeword.pretraining.label_mixing import CutMix, MelLabelMixup, Mixup
from codeword.pretraining.masking import BandMask, MaskRule, RandomMask
from codeword.pretraining.samples import Samples
from codeword.pretraining.storage import whole
from codeword.recipes.labelled import LabelledData, Split, open_labelled
from codeword.recipes.names import Finetuning as Name
from codeword.recipes.resuming import resume_folder
from codeword.training.logging import keep_logs
from codeword.training.loop import Outcome
from codeword.training.loop import train as run
from codeword.training.loop_config import LoopConfig
from codeword.training.schedule import Cosine
from codeword.training.stepper import start_ranks


@dataclass(frozen=True, kw_only=True)
class FineTuneRecipe:
    """A complete configuration.

    Attributes:
        epochs: How often every sample is seen.
        warmup: Epochs of these in which the learning rate rises.
        config: The rest of the training.
        loop: Precision and the like; steps and schedule come from the epochs.
        least_steps: Steps at least, where a data set is so small that epochs are short.
        pooling: Of tokens.
        least_rate: The learning rate at the end of the cosine.
        for_kind: What it is for, where its masks and mixtures fit nothing else; ``None``: any kind of data.
    """

    epochs: float
    warmup: float
    config: FineTuneConfig
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=1, precision="bf16-mixed"))
    least_steps: int = 1
    pooling: Pooling = "mean"
    least_rate: float = 1e-6
    for_kind: Kind | None = None

    def __post_init__(self) -> None:
        if not self.epochs > 0:
            raise ValueError(f"epochs of a FineTuneRecipe must be above 0, got {self.epochs}")

    def check(self, kind: Kind) -> None:
        """Refuse encoders of something else.

        Raises:
            ValueError: If it is for another kind of data.
        """
        if self.for_kind not in (None, kind):
            fitting = ", ".join(name for name, one in _RECIPES.items() if one.for_kind in (None, kind))
            raise ValueError(f"this recipe is for {self.for_kind}, and the encoder for {kind}: take {fitting}")

    def fitted(self, samples: int) -> LoopConfig:
        """The loop for a number of samples of an epoch."""
        batch = self.config.batch * self.loop.accumulate
        steps = max(self.least_steps, round(self.epochs * samples / batch), 1)
        warmup = min(steps - 1, round(steps * self.warmup / self.epochs))
        every = max(1, min(self.loop.validate_every, steps // 5))
        floor = min(1.0, self.least_rate / self.config.learning_rate)
        schedule = Cosine(steps=steps, warmup=warmup, floor=floor)
        return replace(self.loop, steps=steps, schedule=schedule, validate_every=every, checkpoint_every=every)


def recipe(name: Name) -> FineTuneRecipe:
    """A recipe by its name."""
    return _RECIPES[name]


def _sound(rate: float, batch: int, mask: MaskRule) -> FineTuneConfig:
    return FineTuneConfig(
        learning_rate=rate, batch=batch, loss="bce", mixing=(Mixup(),), spec_augment=SpecAugment(), mask=mask
    )


_BANDS = BandMask(time=0.2, frequency=0.2)
_PIXELS = FineTuneConfig(batch=1024, mixing=(Mixup(shape=0.8), CutMix(shape=1.0)), mixed=1.0)
_ALL_OF_AUDIOSET = WeightedSampling(replacement=False, epoch=200_000)
_RECIPES: Mapping[Name, FineTuneRecipe] = {
    "audioset-2m": FineTuneRecipe(
        epochs=120.0,
        warmup=10.0,
        config=replace(_sound(2e-4, 256, _BANDS), sampling=_ALL_OF_AUDIOSET),
        for_kind="audio",
    ),
    "audioset-20k": FineTuneRecipe(epochs=150.0, warmup=10.0, config=_sound(4e-4, 256, _BANDS), for_kind="audio"),
    "esc50": FineTuneRecipe(epochs=300.0, warmup=20.0, config=_sound(2e-3, 64, RandomMask(0.2)), for_kind="audio"),
    "imagenet-1k": FineTuneRecipe(epochs=200.0, warmup=5.0, config=replace(_PIXELS, loss="bce"), for_kind="image"),
    "kinetics-400": FineTuneRecipe(
        epochs=75.0, warmup=5.0, config=replace(_PIXELS, batch=384, learning_rate=7.5e-4), for_kind="video"
    ),
    "small": FineTuneRecipe(
        epochs=30.0,
        warmup=3.0,
        config=FineTuneConfig(learning_rate=1e-3, weight_decay=0.05, mixing=(Mixup(),)),
        loop=LoopConfig(steps=1, validate_every=100),
        least_steps=200,
    ),
}


class FineTuneResult(NamedTuple):
    """What was trained.

    Attributes:
        outcome: How the loop ended; of folds the last one's.
        test: Figures of the test items, looked at once; of every fold.
        data: What the data held.
    """

    outcome: Outcome
    test: tuple[Figures, ...]
    data: LabelledData


def finetune(
    config: FineTuneRecipe,
    encoder: Encoder,
    data: Path | Listing,
    out: Path,
    *,
    few: float = 1.0,
    workers: int = 2,
    dry_run: bool = False,
) -> FineTuneResult:
    """Train a classifier on an encoder, and write it; with folds one classifier is trained and tested for each.

    Args:
        config: The recipe.
        encoder: Where weights start; give one of random weights to train from nothing.
        data: A data set with labels; see ``open_labelled``.
        out: Folder of the classifier; with folds, of one folder for each of them.
        few: Share of the training labels that are used.
        workers: Threads that read files.
        dry_run: Make two steps and one validation, and write nothing.

    Raises:
        ValueError: In one line, if there is nothing to learn, or an interrupted training was another one.
    """
    start_ranks(config.loop)
    front_end = encoder.front_end
    if front_end is None:
        raise ValueError("the encoder does not say what its inputs are made of, so that no file can become one")
    config.check(front_end.kind)
    seed = config.config.seed
    outcome: Outcome | None = None
    found = open_labelled(
        data, front_end.kind, few=few, seed=seed, readable=lambda listing: front_end.readable(listing, workers=workers)
    )
    config = replace(config, config=_suited(config.config, front_end, several=found.labels.is_floating_point()))
    patch = encoder.config.patch
    plain = KeptSamples(front_end.samples(found.listing, patch, workers=workers))
    resume, tests = resume_folder(out), list[Figures]()
    if not dry_run:
        weights = {"weights": Frozen(encoder.network).fingerprint}
        same_run(resume, config, {"data": plain.configuration(), "labels": {"few": few}, "encoder": weights})
    for split in found.splits:
        home, training = (folder / split.name if split.name else folder for folder in (out, resume))
        done = resume / f"{split.name}.done"
        if done.is_file():
            tests.append(_tested(Classifier.from_pretrained(home), plain, found, split))
            continue
        classifier = Classifier.on(encoder.network, found.listing.classes, pooling=config.pooling, front_end=front_end)
        rows = split.train.tolist()
        own = replace(found.listing, items=tuple(found.listing.items[row] for row in rows))
        seen = front_end.samples(own, patch, augment=_augmentations(front_end), seed=seed, workers=workers)
        task = FineTuneTask(
            classifier,
            LabelledSamples(seen, found.labels[split.train]),
            LabelledSamples(SomeSamples(plain, split.validation.tolist()), found.labels[split.validation]),
            _capped(config.config, len(rows)),
        )
        outcome = run(task, config.fitted(task.epoch), None if dry_run else training, dry_run=dry_run)
        if dry_run:
            break
        tests.append(_tested(classifier, plain, found, split))
        if rank() == 0:
            whole(home, lambda part, classifier=classifier, training=training: _write(part, classifier, training))
            if split is not found.splits[-1]:
                done.touch()
    assert outcome is not None, "the last split is never done"
    if rank() == 0 and not dry_run:
        shutil.rmtree(resume)
    return FineTuneResult(outcome, tuple(tests), found)


def _tested(classifier: Classifier, samples: Samples, data: LabelledData, split: Split) -> Figures:
    return evaluate(classifier, SomeSamples(samples, split.test.tolist()), data.labels[split.test])


def _write(folder: Path, classifier: Classifier, training: Path) -> None:
    """A classifier, and the logs of its training."""
    classifier.cpu().save_pretrained(folder)
    keep_logs(training, folder)


def _capped(config: FineTuneConfig, samples: int) -> FineTuneConfig:
    """An epoch that draws no sample twice is not longer than the data."""
    sampling = config.sampling
    if sampling is None or sampling.epoch is None or sampling.replacement:
        return config
    return replace(config, sampling=replace(sampling, epoch=min(sampling.epoch, samples)))


def _suited(config: FineTuneConfig, front_end: FrontEnd, *, several: bool) -> FineTuneConfig:
    """With the loss that labels need, and with energies mixed and not logarithms where they are log-mels."""
    if several:
        config = replace(config, loss="bce")
    if config.mixing and isinstance(front_end, AudioFrontEnd):
        return replace(config, mixing=(MelLabelMixup(statistics=front_end.statistics),))
    return config


def _augmentations(front_end: FrontEnd) -> tuple[Augmentation, ...]:
    """Those that do not mix, for a kind of data."""
    if front_end.kind == "audio":
        return bridle_augmentations()
    side = max(front_end.size[-2:])
    if front_end.kind == "video":
        return video_augmentations(side)
    return RandomResizedCrop(size=side, scale=(0.5, 1.0)), HorizontalFlip()
