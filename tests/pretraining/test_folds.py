import pytest
import torch

from codeword.pretraining.folds import divided, folds, over_folds


def test_every_sample_tests_once_and_chooses_once():
    splits = [f"fold{1 + number % 11}" for number in range(44)] + ["", "train"]
    found = folds(splits)
    assert [fold.name for fold in found] == [f"fold{number}" for number in range(1, 12)]
    assert sorted(torch.cat([fold.test for fold in found]).tolist()) == list(range(44))
    assert sorted(torch.cat([fold.validation for fold in found]).tolist()) == list(range(44))
    for fold in found:
        assert sorted(torch.cat([fold.train, fold.validation, fold.test]).tolist()) == list(range(44))


def test_mean_and_spread_are_those_of_the_folds():
    values = {"fold1": 0.5, "fold2": 0.7, "fold3": 0.9}
    found = over_folds(["fold1", "fold2", "fold3"], lambda fold: values[fold.name])
    assert found.mean == pytest.approx(0.7) and found.spread == pytest.approx(0.2)


def test_two_folds_are_too_few():
    with pytest.raises(ValueError, match="3 are needed"):
        folds(["fold1", "fold2", "train"])


def test_a_share_has_some_of_every_class_and_a_smaller_one_is_part_of_it():
    labels = torch.tensor([0] * 50 + [1] * 10 + [3])
    few, more = divided(labels, 0.1, seed=3), divided(labels, 0.5, seed=3)
    assert torch.bincount(labels[few.chosen]).tolist() == [5, 1, 0, 1]
    assert set(few.chosen.tolist()) <= set(more.chosen.tolist())
    assert sorted(torch.cat(few).tolist()) == list(range(61))
    assert divided(labels, 0.1, seed=4).chosen.tolist() != few.chosen.tolist()
    with pytest.raises(ValueError, match="share"):
        divided(labels, 0.0)
