"""Image codecs.

::

    codeword train image PHOTOS --out MODEL --recipe photos

``photos`` is for processors: it starts from a transform codec of patches whose codebooks k-means has found, networks
add to that, and a map of importance decides how many of twelve codebooks every place gets. ``vq-vae`` is the model of
the NSVQ paper (Vali and Backstrom 2022): 64 features for 4 x 4 pixels, one codebook of 2048, 15,000 updates. ``smoke``
shows in a minute that everything runs; its model is of no use.

On CIFAR-10 the paper reports for ``vq-vae`` and its own estimator an SSIM of .8647 and a PSNR of 25.24 dB.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from codeword.codecs.image.codec import ImageCodec
from codeword.codecs.image.layout import ImageLayout, PatchLayout, ResidualLayout
from codeword.codecs.image.model import ImageModel
from codeword.codecs.image.seeding import can_seed, seed
from codeword.codecs.image.storage import read_image_model
from codeword.codecs.image.training import ImageTask, ImageTraining, from_bytes
from codeword.data.image_crops import ImageCrops
from codeword.data.image_listings import list_images
from codeword.data.listing import Listing, left_out
from codeword.data.pictures import Pictures, centre_crops
from codeword.data.splits import divided
from codeword.quantizers import (
    Gradient,
    KMeans,
    MovingAverage,
    NoiseSubstitution,
    Quantizer,
    ResidualQuantizer,
    ReviveDead,
    VectorQuantizer,
)
from codeword.recipes.names import Image as Name
from codeword.recipes.resuming import finish, is_begun, resume_folder
from codeword.training.loop import Outcome
from codeword.training.loop import train as run
from codeword.training.loop_config import LoopConfig
from codeword.training.schedule import Trapezoid
from codeword.training.spending import SpendingDraw

_HELD = 64  # crops that validation measures
_SEED_BATCHES = 12
_SEED_IMAGES = 1024  # that codebooks start from where there is no closed form
_TABLE_PICTURES = 200  # that entropy tables are learned from
_TABLE_SCALES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # in levels


@dataclass(frozen=True, kw_only=True)
class ImageRecipe:
    """A complete configuration.

    Attributes:
        channels: 1 for grey, 3 for colour.
        layout: Encoder and decoder.
        quantizer: Makes a new quantizer of latents.
        importance: Channels of the importance net; ``None`` for a model of constant depth.
        crop: Pixels of a crop, down and across; a multiple of the step.
        longest: Larger pictures are reduced to about so many pixels; ``None`` leaves them as they are.
        batch: Crops of a step.
        training: Losses and rates.
        loop: Steps and the rest.
    """

    channels: int = 3
    layout: ImageLayout
    quantizer: Callable[[], Quantizer]
    importance: int | None = None
    crop: int
    longest: int | None = None
    batch: int
    training: ImageTraining
    loop: LoopConfig

    def model(self) -> ImageModel:
        """A new model."""
        torch.manual_seed(self.loop.seed)
        return ImageModel(self.channels, self.layout, self.quantizer(), importance=self.importance)


def recipe(name: Name, *, steps: int | None = None) -> ImageRecipe:
    """A recipe by its name, and its schedule fitted to another number of steps."""
    return _RECIPES[name]() if steps is None else _RECIPES[name](steps)


def _trapezoid(steps: int) -> Trapezoid:
    return Trapezoid(steps=steps, warmup=min(200, steps // 4), decay=steps // 3, floor=0.02)


def _photos(steps: int = 6000) -> ImageRecipe:
    layout = PatchLayout()
    return ImageRecipe(
        layout=layout,
        quantizer=lambda: _residual(layout.latent, 256, 12),
        importance=64,
        crop=128,
        longest=1536,
        batch=8,
        training=ImageTraining(
            learning_rate=5e-4,
            relative=True,
            rate=0.5,
            spending=SpendingDraw(draw="log-uniform", constant=0.25, full=0.1, variable_from=steps // 10),
        ),
        loop=LoopConfig(
            steps=steps,
            clip_norm=1.0,
            schedule=_trapezoid(steps),
            average_decay=0.999,
            validate_every=500,
            checkpoint_every=250,
        ),
    )


def _residual(dim: int, size: int, levels: int) -> ResidualQuantizer:
    return ResidualQuantizer([VectorQuantizer(dim, size, learning=MovingAverage(0.995)) for _ in range(levels)])


def _vq_vae(steps: int = 15_000) -> ImageRecipe:
    layout = ResidualLayout()

    def quantizer() -> Quantizer:
        alone = Gradient(codebook=0.0, commitment=0.0)
        return VectorQuantizer(
            layout.latent,
            2048,
            learning=alone,
            estimator=NoiseSubstitution(),
            seeding=KMeans(),
            revival=ReviveDead(last_step=steps * 9 // 10),
        )

    return ImageRecipe(
        layout=layout,
        quantizer=quantizer,
        crop=32,
        batch=32,
        training=ImageTraining(),
        loop=LoopConfig(steps=steps, validate_every=1000, checkpoint_every=1000),
    )


def _smoke(steps: int = 30) -> ImageRecipe:
    made = _photos(steps)
    layout = PatchLayout(latent=24, dim=16, inner=32, encoder_blocks=1, decoder_blocks=1)
    return replace(
        made,
        layout=layout,
        quantizer=lambda: _residual(layout.latent, 16, 4),
        importance=8,
        crop=32,
        batch=4,
        loop=replace(made.loop, average_decay=None, validate_every=steps, checkpoint_every=steps),
    )


_RECIPES: Mapping[Name, Callable[..., ImageRecipe]] = {"photos": _photos, "vq-vae": _vq_vae, "smoke": _smoke}


class ImageResult(NamedTuple):
    """What was trained.

    Attributes:
        codec: The codec, as it was written.
        outcome: How the loop ended.
        report: What the data held.
    """

    codec: ImageCodec
    outcome: Outcome
    report: str


def train(
    config: ImageRecipe, data: Path | Listing, out: Path, *, dry_run: bool = False, start_from: Path | None = None
) -> ImageResult:
    """Train a model and write it with its tables.

    Args:
        config: The recipe.
        data: Images, in any layout that ``list_images`` knows, or a listing of them.
        out: Folder of the model.
        dry_run: Make two steps and one validation, and write nothing.
        start_from: Folder of a model to go on from, with its networks and quantizer. Depths follow importance from the
            first step.

    Raises:
        ValueError: In one line, if there is nothing to train on, or the model is of other images.
    """
    listing = data if isinstance(data, Listing) else list_images(data)
    learned, held = divided(listing)
    pictures, others = (
        Pictures(part, config.channels, least=config.crop, longest=config.longest) for part in (learned, held)
    )
    crops = ImageCrops(pictures, (config.crop, config.crop), config.batch, seed=config.loop.seed)
    model = config.model()
    if start_from is not None:
        model = _started(start_from, config)
        if config.training.spending is not None:
            spending = replace(config.training.spending, variable_from=0)
            config = replace(config, training=replace(config.training, spending=spending))
    elif dry_run or not is_begun(out):
        _seed(model, crops)
    task = ImageTask(model, crops, config.training, held=centre_crops(others, config.crop, _HELD))
    outcome = run(task, config.loop, None if dry_run else resume_folder(out), dry_run=dry_run)
    codec = ImageCodec(model)
    bad = (*listing.bad, *pictures.bad, *others.bad)
    told = f"{listing.layout}: {len(learned)} images to learn from, {len(held)} to validate on"
    report = "\n".join([told, *left_out(bad)])
    if dry_run:
        return ImageResult(codec, outcome, report)
    every = -(-len(pictures) // _TABLE_PICTURES)
    some = (pictures[number] for number in range(0, len(pictures), every))
    codec.learn_tables(some, [share * model.levels for share in _TABLE_SCALES])
    finish(out, codec.save_pretrained)
    return ImageResult(codec, outcome, report)


def _seed(model: ImageModel, crops: ImageCrops) -> None:
    """Where training starts: closed forms where there are some, else codebooks from what the new encoder makes."""
    if can_seed(model):
        batches = _batches(crops, _SEED_BATCHES * 32 // crops.batch)
        seed(model, (from_bytes(batch) for batch in batches))
        return
    images = torch.cat(list(_batches(crops, -(-_SEED_IMAGES // crops.batch))))
    with torch.no_grad():
        model.quantizer.train()(model.analyse(from_bytes(images)).latents)


def _batches(crops: ImageCrops, count: int) -> Iterator[Tensor]:
    for _, batch in zip(range(count), crops.batches(0, 0, 1), strict=False):
        yield batch


def _started(folder: Path, config: ImageRecipe) -> ImageModel:
    model, _ = read_image_model(folder)
    if model.channels != config.channels or (model.importance is None) != (config.importance is None):
        own, wanted = (
            f"{'constant' if importance is None else 'variable'} depth and {channels} channels"
            for importance, channels in ((model.importance, model.channels), (config.importance, config.channels))
        )
        raise ValueError(f"{folder} has {own}, the recipe {wanted}: choose another recipe")
    return model
