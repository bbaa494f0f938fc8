"""Labelled inputs and features that are made up, whose classes are known to be separable or not."""

import torch

from codeword.nn.vit import ViTConfig
from codeword.pretraining.probes import Labelled
from codeword.pretraining.samples import TensorSamples

PATCH = (4, 4)
TINY = ViTConfig(channels=1, size=(8, 8), patch=PATCH, dim=32, depth=2, heads=2)


def separable(count, seed, classes=4, dim=8):
    """Features around the middle of their class, of very different scales."""
    generator = torch.Generator().manual_seed(seed)
    middles = 4 * torch.randn(classes, dim, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(count) % classes
    x = middles[labels] + torch.randn(count, dim, generator=generator)
    return Labelled(x * torch.logspace(-2, 3, dim), labels)


def chance(count, seed, classes=4, dim=8):
    """Features that know nothing of labels."""
    generator = torch.Generator().manual_seed(seed)
    return Labelled(torch.randn(count, dim, generator=generator), torch.arange(count) % classes)


def several(count, seed, classes=3, dim=8):
    """Features of which each class is a direction, labels of several classes."""
    generator = torch.Generator().manual_seed(seed)
    truth = (torch.rand(count, classes, generator=generator) < 0.4).float()
    directions = torch.randn(classes, dim, generator=torch.Generator().manual_seed(98))
    return Labelled(3 * truth @ directions + torch.randn(count, dim, generator=generator), truth)


def quarters(count=32, seed=0):
    """Images of which one quarter is bright, and its number."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    images = 0.3 * torch.rand(count, 1, 8, 8, generator=generator)
    for number, label in enumerate(labels.tolist()):
        row, column = 4 * (label // 2), 4 * (label % 2)
        images[number, :, row : row + 4, column : column + 4] += 1.0
    return images, labels


def quarter_samples(count=32, seed=0, **options):
    images, labels = quarters(count, seed)
    return TensorSamples(images, PATCH, mean=0.4, deviation=0.5, **options), labels
