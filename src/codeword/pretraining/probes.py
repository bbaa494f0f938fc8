"""How much a frozen encoder knows: a linear classifier and nearest neighbours on its features.

::

    train ──► candidates (a regulariser, a number of neighbours) ─┐
    validation ──────────────► figure of each ──► the best one ───┤
    test ─────────────────────────────────────────────────────────┴──► its figures, computed once
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from codeword.metrics.classification import Figures, Labels, figures, multi_hot, num_classes
from codeword.nn.pooling import Fixed, pooled
from codeword.nn.vit import VisionTransformer
from codeword.pretraining.classifier import whole_batches
from codeword.pretraining.folds import OverFolds, over_folds
from codeword.pretraining.logistic import Linear, logistic_path
from codeword.pretraining.samples import Samples

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_ROWS = 1024  # whose likenesses to all others are there at once


class Labelled(NamedTuple):
    """Features with their labels.

    Attributes:
        features: One row for every sample.
        labels: The number of its class, or 1 for each of its classes and 0 for others.
    """

    features: Float[Tensor, "count dim"]
    labels: Labels


class ProbeResult(NamedTuple):
    """What a probe found.

    Attributes:
        accuracy: Share of test samples whose class was found; with several classes, mean average precision.
        chosen: What the validation samples chose: the strength of the regulariser, the number of neighbours or the
            learning rate.
        validation: The same figure of the validation samples.
        test: All figures of the test samples.
    """

    accuracy: float
    chosen: float
    validation: float
    test: Figures


class PatchFeatures(NamedTuple):
    """Features of every patch.

    Attributes:
        patches: Of every sample.
        valid: Which are no padding; ``None`` if all are.
    """

    patches: Float[Tensor, "count patches dim"]
    valid: Bool[Tensor, "count patches"] | None = None


Scoring = Callable[[Tensor], Tensor]


@torch.no_grad()
def features(
    network: VisionTransformer,
    samples: Samples,
    *,
    layer: int = -1,
    pooling: Fixed = "mean",
    norm: bool = True,
    batch: int = 256,
) -> Float[Tensor, "count dim"]:
    """One vector for every sample, of its view 0, kept in memory on the processor.

    Args:
        network: On any device; it is left in evaluation mode.
        samples: What to look at.
        layer: Which block's output: 0 is the first's, -1 the last's.
        pooling: See ``pooled``.
        norm: Whether the network's last norm is applied, whatever the layer.
        batch: Samples at once.

    Raises:
        ValueError: If there is no such layer, or no such token.
    """
    if pooling == "cls" and not network.config.cls_token:
        raise ValueError("the network has no cls token: pool by mean")
    states = _states(network, samples, layer, norm, batch)
    return torch.cat([pooled(tokens, pooling, samples.grid, valid).cpu() for tokens, valid in states])


@torch.no_grad()
def patch_features(
    network: VisionTransformer, samples: Samples, *, layer: int = -1, norm: bool = True, batch: int = 256
) -> PatchFeatures:
    """A vector for every patch of every sample, of its view 0, kept in memory on the processor; see ``features``."""
    prefix, parts, masks = network.config.prefix, list[Tensor](), list[Tensor]()
    for tokens, valid in _states(network, samples, layer, norm, batch):
        parts.append(tokens[:, prefix:].cpu())
        if valid is not None:
            masks.append(valid.cpu())
    return PatchFeatures(torch.cat(parts), torch.cat(masks) if masks else None)


def linear_probe(
    train: Labelled, validation: Labelled, test: Labelled, *, strengths: Sequence[float] = STRENGTHS
) -> ProbeResult:
    """Logistic regression on standardised features; of several classes, one for each against all others.

    Args:
        train: Mean, deviation and classifier come from these.
        validation: Chooses the strength of the regulariser.
        test: Looked at once.
        strengths: Values of scikit-learn's C to choose from: the larger, the less is regularised.
    """
    scaled = _scaling(train.features)
    x, labels, classes = scaled(train.features), train.labels, num_classes(train.labels, validation.labels, test.labels)
    single = not labels.is_floating_point()
    fit = _softmax_path if single else _sigmoid_path

    def candidates() -> Iterator[tuple[float, Scoring]]:
        for strength, linear in fit(x, labels, classes, sorted(strengths)):
            yield strength, lambda rows, linear=linear: linear(scaled(rows))

    return chosen(candidates(), validation, test)


def neighbour_probe(
    train: Labelled,
    validation: Labelled,
    test: Labelled,
    *,
    counts: Iterable[int] = (1, 5, 10, 20, 50),
    temperature: float = 0.07,
) -> ProbeResult:
    """Classes of the most alike training samples, by the cosine of standardised features.

    Votes weigh exp(cosine / temperature) (Wu et al. 2018).

    Args:
        train: Whose classes are looked up; mean and deviation come from these.
        validation: Chooses the number of neighbours.
        test: Looked at once.
        counts: Numbers of neighbours to choose from; more than there are count as all.
        temperature: The smaller, the more the nearest count.
    """
    truth = multi_hot(train.labels, num_classes(train.labels, validation.labels, test.labels))
    scaled = _scaling(train.features)
    known = F.normalize(scaled(train.features), dim=1)

    def scoring(count: int) -> Scoring:
        def scores(rows: Tensor) -> Tensor:
            parts = []
            for part in rows.split(_ROWS):
                likeness, nearest = (F.normalize(scaled(part), dim=1) @ known.t()).topk(min(count, len(known)))
                votes = ((likeness - 1) / temperature).exp().unsqueeze(-1) * truth[nearest]
                parts.append(votes.sum(1) / count)
            return torch.cat(parts)

        return scores

    return chosen(((count, scoring(count)) for count in counts), validation, test)


def _scaling(train: Float[Tensor, "count dim"]) -> Callable[[Tensor], Tensor]:
    """What gives training features mean 0 and deviation 1."""
    mean, deviation = train.mean(0), train.std(0, correction=0).clamp_min(1e-6)
    return lambda rows: (rows - mean) / deviation


def chosen(candidates: Iterable[tuple[float, Scoring]], validation: Labelled, test: Labelled) -> ProbeResult:
    """The candidate with the best figure on validation samples, the first of equals, and its figures on test samples.

    Args:
        candidates: What is chosen from, by its number, with what turns features into scores of all classes.
        validation: Looked at by all.
        test: Looked at by the chosen one.

    Raises:
        ValueError: If there are no candidates.
    """
    best: tuple[float, float, Scoring] | None = None
    for value, scoring in candidates:
        found = figures(scoring(validation.features), validation.labels).figure
        if best is None or found > best[0]:
            best = found, value, scoring
    if best is None:
        raise ValueError("a probe chooses from one value at least, got none")
    found = figures(best[2](test.features), test.labels)
    return ProbeResult(found.figure, best[1], best[0], found)


def probe_folds(
    data: Labelled, splits: Sequence[str], probe: Callable[[Labelled, Labelled, Labelled], ProbeResult]
) -> OverFolds:
    """The test figure of a probe over folds: each tests once, the next one chooses, all others are learned from.

    Args:
        data: All samples.
        splits: ``fold1``, ``fold2`` ... of every sample.
        probe: Such as ``linear_probe``.
    """

    def rows(numbers: Tensor) -> Labelled:
        return Labelled(data.features[numbers], data.labels[numbers])

    return over_folds(splits, lambda fold: probe(rows(fold.train), rows(fold.validation), rows(fold.test)).accuracy)


def _states(
    network: VisionTransformer, samples: Samples, layer: int, norm: bool, batch: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    depth, device = network.config.depth, next(network.parameters()).device
    if not -depth <= layer < depth:
        raise ValueError(f"layer {layer} does not exist: the network has {depth}, 0 to {depth - 1} or -{depth} to -1")
    network.eval()
    for x, valid in whole_batches(samples, batch):
        mask = None if valid is None else valid.to(device)
        states = network(x.to(device), valid=mask, hidden=True).hidden[1 + layer % depth]
        yield (network.transformer.norm(states) if norm else states).float(), mask


def _softmax_path(
    x: Float[Tensor, "count dim"], labels: Labels, classes: int, strengths: Sequence[float]
) -> Iterator[tuple[float, Linear]]:
    """A classifier for every strength; classes without samples are never found."""
    there = labels.unique()
    if len(there) == 1:
        yield strengths[0], _placed(Linear(x.new_zeros(1, x.shape[1]), x.new_zeros(1)), there, classes, -math.inf)
        return
    truth = (labels[:, None] == there).double()
    several = len(there) > 2
    path = logistic_path(x, truth if several else truth[:, 1:], strengths, exclusive=several)
    for strength, found in zip(strengths, path, strict=True):
        # Of two classes the second is scored against the first.
        both = found if several else Linear(*(torch.cat([-part, part]) / 2 for part in found))
        yield strength, _placed(both, there, classes, -math.inf)


def _sigmoid_path(
    x: Float[Tensor, "count dim"], labels: Labels, classes: int, strengths: Sequence[float]
) -> Iterator[tuple[float, Linear]]:
    """Of every class a classifier against all others for every strength; a class that none or all have scores 0."""
    truth = labels > 0
    there = (truth.any(0) & ~truth.all(0)).nonzero()[:, 0]
    path = logistic_path(x, truth[:, there].double(), strengths, exclusive=False)
    for strength, found in zip(strengths, path, strict=True):
        yield strength, _placed(found, there, classes, 0.0)


def _placed(linear: Linear, there: Tensor, classes: int, other: float) -> Linear:
    """A map for some classes as one for all, of which the others always score the same."""
    weights = linear.weights.new_zeros(classes, linear.weights.shape[1])
    bias = linear.bias.new_full((classes,), other)
    weights[there], bias[there] = linear
    return Linear(weights, bias)
