"""How much a frozen encoder knows: a linear classifier and nearest neighbours on its features."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from codeword.nn.vit import VisionTransformer
from codeword.pretraining.samples import Samples

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_ROWS = 1024  # whose likenesses to all others are there at once


class Labelled(NamedTuple):
    """Features with the numbers of their classes.

    Attributes:
        features: One row for every sample.
        labels: Their classes.
    """

    features: Float[Tensor, "count dim"]
    labels: Int[Tensor, " count"]


class ProbeResult(NamedTuple):
    """What a probe found.

    Attributes:
        accuracy: Share of test samples whose class was found.
        chosen: What the validation samples chose: the strength of the regulariser, or the number of neighbours.
        validation: Share of validation samples whose class was found with it.
    """

    accuracy: float
    chosen: float
    validation: float


@torch.no_grad()
def features(
    encoder: VisionTransformer, samples: Samples, *, batch: int = 256, device: str = "cpu"
) -> Float[Tensor, "count dim"]:
    """The mean of the patches' vectors behind the last norm, over those that are no padding, of view 0."""
    encoder = encoder.eval()
    parts = []
    for start in range(0, len(samples), batch):
        numbers = list(range(start, min(start + batch, len(samples))))
        x, valid = samples.inputs(numbers, [0] * len(numbers))
        tokens = encoder(x.to(device), valid=None if valid is None else valid.to(device)).tokens.float().cpu()
        tokens = tokens[:, encoder.config.prefix :]
        weight = torch.ones(tokens.shape[:2]) if valid is None else valid.float()
        parts.append((tokens * weight.unsqueeze(-1)).sum(1) / weight.sum(1, keepdim=True).clamp_min(1))
    return torch.cat(parts)


def linear_probe(
    train: Labelled, validation: Labelled, test: Labelled, *, strengths: Sequence[float] = _STRENGTHS
) -> ProbeResult:
    """Logistic regression on standardised features; the regulariser is chosen on validation samples.

    Args:
        train: Mean, deviation and classifier come from these.
        validation: Chooses.
        test: Looked at once.
        strengths: Values of scikit-learn's C to choose from.
    """
    from sklearn.linear_model import LogisticRegression

    mean, deviation = train.features.mean(0), train.features.std(0).clamp_min(1e-6)

    def scaled(some: Labelled) -> np.ndarray:
        return ((some.features - mean) / deviation).numpy()

    best: tuple[float, float, LogisticRegression] | None = None
    for strength in strengths:
        model = LogisticRegression(C=strength, max_iter=300, tol=1e-3).fit(scaled(train), train.labels.numpy())
        score = float(model.score(scaled(validation), validation.labels.numpy()))
        if best is None or score > best[0]:
            best = score, strength, model
    assert best is not None
    return ProbeResult(float(best[2].score(scaled(test), test.labels.numpy())), best[1], best[0])


def neighbour_probe(
    train: Labelled, validation: Labelled, test: Labelled, *, counts: Iterable[int] = (1, 5, 10, 20)
) -> ProbeResult:
    """The class that most of the nearest training samples have, by cosine; votes weigh as their similarity.

    Args:
        train: Whose classes are looked up.
        validation: Chooses the number of neighbours.
        test: Looked at once.
        counts: Numbers of neighbours to choose from; more than there are count as all.
    """
    classes = int(train.labels.max()) + 1
    known = F.normalize(train.features, dim=1)

    def accuracy(some: Labelled, count: int) -> float:
        right = 0
        for rows, labels in zip(some.features.split(_ROWS), some.labels.split(_ROWS), strict=True):
            likeness, nearest = (F.normalize(rows, dim=1) @ known.t()).topk(min(count, len(known)))
            votes = torch.zeros(len(rows), classes).scatter_add_(1, train.labels[nearest], likeness)
            right += int((votes.argmax(1) == labels).sum())
        return right / len(some.labels)

    validation_score, count = max((accuracy(validation, count), -count) for count in counts)
    return ProbeResult(accuracy(test, -count), -count, validation_score)
