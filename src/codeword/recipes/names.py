"""What recipes are called; nothing is imported here, so that the help of the command line stays immediate."""

from typing import Literal

Pretraining = Literal[
    "audioset",
    "imagenet",
    "kinetics",
    "small-audio",
    "small-image",
    "small-video",
    "smoke-audio",
    "smoke-image",
    "smoke-video",
]
Finetuning = Literal["audioset-2m", "audioset-20k", "esc50", "imagenet-1k", "kinetics-400", "small"]
Image = Literal["photos", "vq-vae", "smoke"]
Speech = Literal["envelope-12", "residual-12", "product-12", "additive-12", "smoke"]
