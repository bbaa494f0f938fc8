import math

import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, top_k_accuracy_score

from codeword.metrics.classification import (
    areas_under_roc,
    average_precisions,
    class_accuracies,
    d_prime,
    figures,
    multi_hot,
    top_k,
)

TOLERANCE = 1e-12


def made(count=200, classes=7, seed=0, levels=None):
    """Scores, with many equal ones if they have few levels; labels of which class 3 has none."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, classes, generator=generator)
    if levels:
        scores = (scores * levels).round() / levels
    truth = (torch.rand(count, classes, generator=generator) < 0.2).float()
    truth[:, 3] = 0
    return scores, truth


@pytest.mark.parametrize("levels", [None, 2])
def test_average_precision_and_area_are_those_of_scikit_learn(levels):
    scores, truth = made(levels=levels)
    precisions, areas = average_precisions(scores, truth), areas_under_roc(scores, truth)
    for number in range(7):
        if number == 3:
            assert precisions[3].isnan() and areas[3].isnan()
            continue
        column, wanted = scores[:, number].numpy(), truth[:, number].numpy()
        assert float(precisions[number]) == pytest.approx(average_precision_score(wanted, column), abs=TOLERANCE)
        assert float(areas[number]) == pytest.approx(roc_auc_score(wanted, column), abs=TOLERANCE)


def test_mean_average_precision_is_macro_over_classes_with_items():
    scores, truth = made()
    there = [0, 1, 2, 4, 5, 6]
    wanted = average_precision_score(truth[:, there].numpy(), scores[:, there].numpy(), average="macro")
    found = figures(scores, truth)
    assert found.mean_average_precision == found.figure == pytest.approx(wanted, abs=TOLERANCE)
    assert found.missing == (3,) and math.isnan(found.per_class[3]) and math.isnan(found.top1)
    assert found.remark() == "1 of 7 classes have no item in this set, no mean has them: 3"
    assert found.remark("abcdefg").endswith("no mean has them: d")


def test_top_k_is_that_of_scikit_learn():
    scores, _ = made()
    labels = torch.randint(7, (200,), generator=torch.Generator().manual_seed(1))
    for k in (1, 5):
        wanted = top_k_accuracy_score(labels.numpy(), scores.numpy(), k=k, labels=list(range(7)))
        assert top_k(scores, labels, k) == pytest.approx(wanted, abs=TOLERANCE)
    assert top_k(scores, labels, 20) == 1.0


def test_accuracy_of_every_class_weighs_up_to_the_accuracy_of_all():
    scores = torch.tensor([[2.0, 1, 0], [0, 1, 0], [3, 2, 1], [0, 9, 0]])
    labels = torch.tensor([0, 0, 1, 1])
    assert class_accuracies(scores, labels).tolist()[:2] == [0.5, 0.5]
    found = figures(scores, labels)
    assert found.top1 == found.figure == 0.5
    assert found.missing == (2,) and math.isnan(found.per_class[2])


def test_d_prime_of_two_normal_distributions_is_their_distance():
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(200_000, 1, generator=generator) < 0.3).float()
    scores = 1.5 * truth + torch.randn(200_000, 1, generator=generator)
    assert d_prime(scores, truth) == pytest.approx(1.5, abs=0.02)
    assert d_prime(truth, truth) == math.inf
    assert math.isnan(d_prime(scores, torch.zeros_like(truth)))


def test_all_classes_present_need_no_remark():
    scores, labels = torch.eye(3), torch.arange(3)
    assert figures(scores, labels).remark() == ""
    assert torch.equal(multi_hot(labels, 3), torch.eye(3))


@pytest.mark.parametrize("labels", [torch.tensor([0]), torch.tensor([0, 3]), torch.tensor([0, -1]), torch.ones(2, 4)])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(ValueError, match="class"):
        figures(torch.zeros(2, 3), labels)
