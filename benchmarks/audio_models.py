"""Audio models of random weights, for benchmarks that need none that are trained."""

import numpy as np
import torch
from torch import Tensor

from codeword.codecs.audio.model import AudioModel
from codeword.recipes.audio import Name, recipe


def untrained(name: Name) -> AudioModel:
    """The model of a recipe, its codebooks filled from the latents of noise."""
    model = recipe(name).model()
    noise = 0.1 * torch.randn(4, 1, 64 * model.hop, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.train()(noise)
    return model.eval()


def walk(frames: int, channels: int, levels: int, seed: int = 0) -> np.ndarray:
    """Depths that wander between 1 and all levels, as those of a signal do."""
    steps = np.random.default_rng(seed).integers(-1, 2, (channels, frames))
    back = np.cumsum(steps, axis=1) % (2 * levels)
    return 1 + np.minimum(back, 2 * levels - 1 - back)


def tones(seconds: float, rate: int) -> Tensor:
    """A sweep with noise under it, (1, time)."""
    time = torch.arange(int(seconds * rate)) / rate
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(1))
    return (0.3 * torch.sin(2 * torch.pi * (100 + 40 * time) * time) + 0.02 * noise)[None]
