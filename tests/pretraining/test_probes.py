import math
from functools import partial

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from codeword.nn.vit import VisionTransformer
from codeword.pretraining.attentive import AttentiveConfig, LabelledPatches, attentive_probe
from codeword.pretraining.probes import (
    Labelled,
    PatchFeatures,
    chosen,
    features,
    linear_probe,
    neighbour_probe,
    patch_features,
    probe_folds,
)
from codeword.pretraining.samples import Inputs
from contracts.labelled import TINY, chance, quarter_samples, separable, several
from contracts.pretraining import Unfiled

TOLERANCE = 1e-5
PROBES = [partial(linear_probe, strengths=(0.01, 1.0)), neighbour_probe]


def parts(make, count=120, **options):
    return [make(count, seed, **options) for seed in range(3)]


class Padded(Unfiled):
    """Samples of which the second half of the grid is padding with any content."""

    grid = (2, 2)

    def __init__(self, samples, content):
        self.samples, self.content = samples, content

    def __len__(self):
        return len(self.samples)

    def inputs(self, numbers, views):
        values = self.samples.inputs(numbers, views).values.clone()
        values[:, :, 4:] = self.content
        return Inputs(values, torch.tensor([[True, True, False, False]]).expand(len(values), -1))

    def configuration(self):
        return {}


@pytest.mark.parametrize("probe", PROBES, ids=["linear", "neighbours"])
def test_separable_classes_are_found_and_labels_by_chance_are_not(probe):
    found = probe(*parts(partial(separable, dim=16)))
    assert found.accuracy >= 0.95 and found.validation >= 0.95
    assert found.accuracy == found.test.top1
    assert probe(*parts(chance)).accuracy == pytest.approx(0.25, abs=0.15)


@pytest.mark.parametrize("probe", PROBES, ids=["linear", "neighbours"])
def test_samples_of_several_classes_are_judged_by_average_precision(probe):
    found = probe(*parts(several))
    assert found.accuracy == found.test.mean_average_precision >= 0.85
    generator = torch.Generator().manual_seed(5)
    train, validation, test = (
        Labelled(part.features, part.labels[torch.randperm(120, generator=generator)]) for part in parts(several)
    )
    assert probe(train, validation, test).accuracy == pytest.approx(float(test.labels.mean()), abs=0.15)


@pytest.mark.parametrize("probe", PROBES, ids=["linear", "neighbours"])
def test_the_choice_is_that_of_the_validation_samples_alone(probe):
    train, validation, test = parts(chance)
    found = probe(train, validation, test)
    other = probe(train, validation, Labelled(-test.features, test.labels.flip(0)))
    assert (other.chosen, other.validation) == (found.chosen, found.validation)
    assert other.accuracy != found.accuracy


def test_the_test_samples_are_looked_at_once_by_the_chosen_candidate():
    _, validation, test = parts(chance)
    seen = []

    def candidate(name, right):
        def scores(rows):
            seen.append((name, "test" if rows is test.features else "validation"))
            labels = test.labels if rows is test.features else validation.labels
            return (
                torch.where(torch.arange(len(rows)) < right, labels, 3 - labels).eq(torch.arange(4)[:, None]).t() + 0.0
            )

        return scores

    names = {1.0: 30, 2.0: 90, 3.0: 90, 4.0: 60}
    found = chosen(((name, candidate(name, right)) for name, right in names.items()), validation, test)
    assert seen == [*[(name, "validation") for name in names], (2.0, "test")]
    assert (found.chosen, found.validation) == (2.0, 0.75)


def test_the_linear_probe_is_scikit_learns_logistic_regression_on_standardised_features():
    train, validation, test = parts(separable, dim=6)
    found = linear_probe(train, validation, test, strengths=(0.01,))
    scaler = StandardScaler().fit(train.features.double().numpy())
    model = LogisticRegression(C=0.01, max_iter=10_000).fit(
        scaler.transform(train.features.double().numpy()), train.labels.numpy()
    )
    assert found.accuracy == model.score(scaler.transform(test.features.double().numpy()), test.labels.numpy())


@pytest.mark.parametrize("classes", [2, 4])
def test_every_strength_converges_where_features_are_many_and_scales_differ(classes):
    """A fit that stops early warns, and warnings are errors here."""
    train, validation, test = parts(chance, 150, classes=classes, dim=100)
    for strength in (1e-4, 1.0, 10.0):
        found = linear_probe(train, validation, test, strengths=sorted({1e-4, strength}))
        assert found.accuracy == pytest.approx(1 / classes, abs=0.2)


@pytest.mark.parametrize("probe", PROBES, ids=["linear", "neighbours"])
@pytest.mark.parametrize("make", [separable, several])
def test_classes_may_be_missing_anywhere(probe, make):
    train, validation, test = parts(make)

    def without(part, number):
        if part.labels.ndim == 1:
            rows = part.labels != number
            return Labelled(part.features[rows], part.labels[rows])
        labels = part.labels.clone()
        labels[:, number] = 0
        return Labelled(part.features, labels)

    for given in (
        (without(train, 0), validation, test),
        (train, without(validation, 1), test),
        (train, validation, without(test, 2)),
        (without(without(train, 0), 1), without(validation, 1), without(test, 2)),
    ):
        found = probe(*given)
        assert math.isfinite(found.accuracy) and found.accuracy > 0.3
        assert found.test.missing == (() if given[2] is test else (2,))


def test_a_train_set_of_one_class_finds_that_class():
    train, validation, test = parts(separable)
    one = Labelled(train.features[train.labels == 2], train.labels[train.labels == 2])
    assert linear_probe(one, validation, test).accuracy == 0.25
    assert neighbour_probe(one, validation, test).accuracy == 0.25


def test_neighbours_vote_as_in_a_loop():
    scale = torch.logspace(-2, 2, 8)  # features of different scales count alike
    train, validation, test = (Labelled(3 + scale * part.features, part.labels) for part in parts(chance, 40))
    known, asked = (((part.features - 3) / scale).numpy() for part in (train, test))
    mean, deviation = known.mean(0), known.std(0)
    found = neighbour_probe(train, validation, test, counts=(7,), temperature=0.5)
    right = 0
    for row, label in zip(asked, test.labels, strict=True):
        pair = (torch.from_numpy((rows - mean) / deviation) for rows in (row[None], known))
        likeness = torch.cosine_similarity(*pair)
        votes = [0.0] * 4
        for near in likeness.argsort(descending=True)[:7].tolist():
            votes[int(train.labels[near])] += math.exp(float(likeness[near]) / 0.5)
        right += votes.index(max(votes)) == int(label)
    assert found.accuracy == pytest.approx(right / 40)
    assert neighbour_probe(train, validation, test, counts=(1000,)).chosen == 1000


@pytest.mark.parametrize("probe", PROBES, ids=["linear", "neighbours"])
def test_every_fold_tests_once(probe):
    data = separable(100, 0, dim=16)
    splits = [f"fold{1 + number // 20}" for number in range(100)]
    found = probe_folds(data, splits, probe)
    assert len(found.values) == 5 and found.mean >= 0.9
    assert found.mean == pytest.approx(sum(found.values) / 5)


def test_features_are_the_means_of_the_patches_that_are_no_padding():
    torch.manual_seed(0)
    network = VisionTransformer(TINY)
    samples, _ = quarter_samples(10)
    tokens = network(samples.inputs(range(10), [0] * 10).values, hidden=True)
    assert torch.allclose(features(network, samples, batch=3), tokens.tokens[:, 1:].mean(1), atol=TOLERANCE)
    assert torch.allclose(features(network, samples, pooling="cls"), tokens.tokens[:, 0], atol=TOLERANCE)
    first = features(network, samples, layer=0, norm=False)
    assert torch.allclose(first, tokens.hidden[1][:, 1:].mean(1), atol=TOLERANCE)
    assert torch.equal(first, features(network, samples, layer=-2, norm=False))
    quiet, loud = (features(network, Padded(samples, content)) for content in (0.0, 9.0))
    assert torch.allclose(quiet, loud, atol=TOLERANCE)
    found = patch_features(network, Padded(samples, 0.0), batch=4)
    assert torch.allclose(found.patches[:, :2].mean(1), quiet, atol=TOLERANCE)
    assert found.valid.tolist() == [[True, True, False, False]] * 10


def test_a_layer_or_token_that_does_not_exist_is_named():
    network = VisionTransformer(TINY)
    samples, _ = quarter_samples(4)
    with pytest.raises(ValueError, match="layer 2 does not exist"):
        features(network, samples, layer=2)
    with pytest.raises(ValueError, match="cls token"):
        bare = VisionTransformer(type(TINY)(**{**vars(TINY), "cls_token": False}))
        features(bare, samples, pooling="cls")


def needles(count, seed, several_classes=False):
    """The class is in one patch, the loudest, whose place varies; the mean of all hardly knows it."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    patches = torch.randn(count, 16, 8, generator=generator)
    directions = torch.randn(3, 8, generator=torch.Generator().manual_seed(97))
    place = torch.randint(8, (count,), generator=generator)
    patches[torch.arange(count), place] = 4 * directions[labels]
    patches[:, 8:] = 50.0
    valid = torch.arange(16).expand(count, -1) < 8
    truth = torch.nn.functional.one_hot(labels, 3).float() if several_classes else labels
    return LabelledPatches(PatchFeatures(patches, valid), truth)


@pytest.mark.parametrize("several_classes", [False, True])
def test_the_attentive_probe_finds_the_patch_that_knows(several_classes):
    config = AttentiveConfig(heads=2, steps=100, learning_rates=(1e-2,), validate_every=50, accelerator="cpu")
    given = [needles(120, seed, several_classes) for seed in range(3)]
    found = attentive_probe(*given, config)
    assert found.accuracy >= 0.9
    torch.rand(1)  # another state of the generator, on which nothing depends
    state = torch.get_rng_state()
    assert found == attentive_probe(*given, config)
    assert torch.equal(state, torch.get_rng_state())
