"""Small parts of pretraining on made-up images, whose halves are bright or dark, and the tasks made of them."""

from dataclasses import dataclass

import torch

from codeword.data.epoch_order import Window
from codeword.nn.vit import DecoderConfig, VisionTransformer, ViTConfig
from codeword.pretraining.estimator import Estimator, EstimatorConfig
from codeword.pretraining.joint import JointConfig, JointTask
from codeword.pretraining.masking import RandomMask
from codeword.pretraining.phase import OnlineTokens, PhaseConfig
from codeword.pretraining.predictor import Predictor
from codeword.pretraining.samples import TensorSamples
from codeword.pretraining.tasks import EncoderTask, TokenizerTask
from codeword.pretraining.tokenizer import ColdTokenizer, TrainedTokenizer, fit
from codeword.quantizers import ResidualQuantizer, VectorQuantizer
from codeword.quantizers.config import register
from codeword.training.loop_config import LoopConfig
from codeword.training.run import EMConfig

PATCH = (4, 4)
CONFIG = ViTConfig(channels=1, size=(12, 8), patch=PATCH, dim=16, depth=1, heads=2, cls_token=False)
DECODER = DecoderConfig(dim=16, depth=1, heads=2)
DIM, SIZES = 12, (8, 8)
PHASE = PhaseConfig(batch=8, views=2, learning_rate=3e-3, mask=RandomMask(0.5))
JOINT = JointConfig(every=3, learning_rate=2e-3)
LOOP = LoopConfig(steps=6, progress=False, accelerator="cpu", log_every=1, checkpoint_every=2, validate_every=3)


@register
@dataclass(frozen=True)
class Brighter:
    """Adds a number that is drawn."""

    most: float = 1.0

    def __call__(self, x, generator):
        return x + self.most * torch.rand((), generator=generator)


def images(count=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    bright = torch.rand(count, 1, 2, 1, generator=generator).repeat_interleave(6, 2)
    return (200 * bright + 40 * torch.rand(count, 1, 12, 8, generator=generator)).to(torch.uint8)


def samples(count=24, seed=0, draws=0, **options):
    return TensorSamples(images(count, seed), PATCH, mean=0.5, deviation=0.3, seed=draws, **options)


def quantizer():
    return ResidualQuantizer([VectorQuantizer(DIM, size) for size in SIZES])


def cold(seed=0):
    """A cold tokenizer with codebooks of the images above."""
    tokenizer = ColdTokenizer(1, PATCH, quantizer(), seed=seed)
    data = samples(64, seed=9)
    fit(tokenizer, [data.inputs(range(64), [0] * 64)], EMConfig(steps=3))
    return tokenizer.eval()


class Unfiled:
    """Samples of which each is a file."""

    def window(self, size):
        return Window(size, torch.arange(len(self)))


class Padded(Unfiled):
    """The same samples, of which some end early."""

    grid = (3, 2)

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def inputs(self, numbers, views):
        real = torch.tensor([6 - 2 * (number % 3) for number in numbers])
        return self.samples.inputs(numbers, views)._replace(valid=torch.arange(6) < real.unsqueeze(1))

    def configuration(self):
        return self.samples.configuration()


def _estimator():
    return Estimator(EstimatorConfig(dim=16, depth=1, heads=2), DIM, CONFIG.dim)


def encoder_task(tokens=None, phase=PHASE, *, data=None):
    torch.manual_seed(0)
    tokenizer = cold()
    tokens = OnlineTokens(tokenizer) if tokens is None else tokens
    data = samples(20) if data is None else data
    return EncoderTask(Predictor(CONFIG, DECODER, SIZES), tokens, tokenizer, data, samples(10, 4), phase)


def tokenizer_task(phase=PHASE, *, data=None):
    torch.manual_seed(0)
    parts = TrainedTokenizer(CONFIG, quantizer()), _estimator(), VisionTransformer(CONFIG)
    return TokenizerTask(*parts, samples(20) if data is None else data, samples(10, 4), phase)


def joint_task(phase=PHASE, joint=JOINT, *, data=None):
    torch.manual_seed(0)
    parts = Predictor(CONFIG, DECODER, SIZES), TrainedTokenizer(CONFIG, quantizer()), _estimator()
    return JointTask(*parts, samples(20) if data is None else data, samples(10, 4), phase, joint)
