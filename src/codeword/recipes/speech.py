"""Codecs of speech under vector-quantized envelopes, after the NSVQ paper.

::

    codeword train speech RECORDINGS --out MODEL

``envelope-12`` quantizes envelopes with one codebook of 12 bits through noise substitution, as the paper does;
``residual-12``, ``product-12`` and ``additive-12`` with two codebooks of 6 bits, as the paper on additive quantization
does with several. ``smoke`` shows in seconds that everything runs; its model is of no use.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from codeword.codecs.speech.codec import SpeechCodec
from codeword.codecs.speech.export import export
from codeword.codecs.speech.model import SpeechModel
from codeword.codecs.speech.training import SpeechTask, SpeechTraining
from codeword.data.audio_corpus import Corpus, open_corpus
from codeword.data.audio_excerpts import ExcerptConfig, Excerpts
from codeword.functional.bands import MEL_16
from codeword.quantizers import (
    AdditiveQuantizer,
    Gradient,
    KMeans,
    NoiseSubstitution,
    ProductQuantizer,
    Quantizer,
    ResidualQuantizer,
    StraightThrough,
    VectorQuantizer,
)
from codeword.quantizers.update import seed
from codeword.recipes.audio import divided, report
from codeword.recipes.names import Speech as Name
from codeword.recipes.resuming import finish, is_begun, resume_folder
from codeword.training.loop import Outcome
from codeword.training.loop import train as run
from codeword.training.loop_config import LoopConfig

_HELD = 16  # excerpts that validation measures
_SEED_BATCHES = 60  # whose envelopes codebooks start from
_TABLE_BATCHES = 100  # whose codes are counted
_DIM = len(MEL_16) - 1
Family = Literal["vector", "residual", "product", "additive"]
_ALONE = Gradient(codebook=0.0, commitment=0.0)  # codebooks learn by what lines cost


@dataclass(frozen=True, kw_only=True)
class SpeechRecipe:
    """A complete configuration.

    Attributes:
        sample_rate: Samples per second.
        quantizer: Makes a new quantizer of envelopes.
        seconds: Length of an excerpt.
        batch: Excerpts of a step.
        training: Steps of lines, and the rest.
        loop: Optimizer steps and the rest.
    """

    sample_rate: int = 16000
    quantizer: Callable[[], Quantizer]
    seconds: float = 2.0
    batch: int = 8
    training: SpeechTraining
    loop: LoopConfig

    def excerpts(self, corpus: Corpus, *, workers: int = 0) -> Excerpts:
        """Batches of a corpus."""
        config = ExcerptConfig(
            rate=self.sample_rate, seconds=self.seconds, batch=self.batch, seed=self.loop.seed, augment=()
        )
        return Excerpts(corpus, config, workers=workers)


class SpeechResult(NamedTuple):
    """What was trained.

    Attributes:
        codec: The codec, as it was written.
        outcome: How the loop ended.
        report: What the corpus held.
    """

    codec: SpeechCodec
    outcome: Outcome
    report: str


def recipe(name: Name, *, steps: int | None = None) -> SpeechRecipe:
    """A recipe by its name, perhaps with another number of steps."""
    made = _RECIPES[name]()
    return made if steps is None else replace(made, loop=replace(made.loop, steps=steps))


def envelopes(family: Family, sizes: Sequence[int]) -> Quantizer:
    """A quantizer of envelopes that learns by noise substitution alone, whatever its codebooks are joined to."""
    noise, width = NoiseSubstitution(), _DIM // len(sizes) if family == "product" else _DIM
    books = [
        VectorQuantizer(
            width,
            size,
            learning=_ALONE,
            seeding=KMeans(seed=level),
            estimator=noise if family == "vector" else StraightThrough(),
        )
        for level, size in enumerate(sizes)
    ]
    if family == "vector":
        return books[0]
    joined = {"residual": ResidualQuantizer, "product": ProductQuantizer, "additive": AdditiveQuantizer}[family]
    return joined(books, estimator=noise)


def _one(make: Callable[[], Quantizer]) -> SpeechRecipe:
    return SpeechRecipe(
        quantizer=make,
        training=SpeechTraining(),
        loop=LoopConfig(steps=3000, clip_norm=100.0, validate_every=250, checkpoint_every=250),
    )


def _smoke() -> SpeechRecipe:
    made = _one(lambda: envelopes("vector", [16]))
    return replace(made, seconds=0.5, batch=2, loop=replace(made.loop, steps=10, validate_every=10))


_RECIPES: Mapping[Name, Callable[[], SpeechRecipe]] = {
    "envelope-12": lambda: _one(lambda: envelopes("vector", [4096])),
    "residual-12": lambda: _one(lambda: envelopes("residual", [64, 64])),
    "product-12": lambda: _one(lambda: envelopes("product", [64, 64])),
    "additive-12": lambda: _one(lambda: envelopes("additive", [64, 64])),
    "smoke": _smoke,
}


def train(config: SpeechRecipe, data: Path | Corpus, out: Path, *, dry_run: bool = False) -> SpeechResult:
    """Train a model and write it with the integers of its files.

    Args:
        config: The recipe.
        data: A folder of recordings, a CSV manifest, or a corpus.
        out: Folder of the model.
        dry_run: Make two steps and one validation, and write nothing.

    Raises:
        ValueError: In one line, if there is nothing to train on.
    """
    corpus = divided(data if isinstance(data, Corpus) else open_corpus(data))
    torch.manual_seed(config.loop.seed)
    model = SpeechModel(quantizer=config.quantizer(), sample_rate=config.sample_rate)
    excerpts = config.excerpts(corpus.only(split="train"))
    if dry_run or not is_begun(out):
        envelopes = [model.envelope(model.analyse(batch)) for batch in _batches(excerpts, _SEED_BATCHES)]
        seed(model.quantizer, torch.cat(envelopes).flatten(0, 1))
    (held,) = _batches(replace(config, batch=_HELD).excerpts(corpus.only(split="val")), 1)
    task = SpeechTask(model, excerpts, config.training, held=held.unsqueeze(1))
    outcome = run(task, config.loop, None if dry_run else resume_folder(out), dry_run=dry_run)
    signals = (signal for batch in _batches(excerpts, 1 if dry_run else _TABLE_BATCHES) for signal in batch)
    codec = SpeechCodec(model, export(model, signals))
    if not dry_run:
        finish(out, codec.save_pretrained)
    return SpeechResult(codec, outcome, report(corpus, excerpts.bad))


def _batches(excerpts: Excerpts, count: int) -> Iterator[Tensor]:
    """Waveforms of one channel."""
    for _, batch in zip(range(count), excerpts.batches(0, 0, 1), strict=False):
        yield batch.squeeze(1)
