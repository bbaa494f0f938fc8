import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from codeword.pretraining.logistic import logistic_path

STRENGTHS = (1e-3, 1e-1, 10.0)


@pytest.fixture
def data():
    """Features whose scales differ a thousandfold and that depend on one another, and three classes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 10, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(10, 10, generator=generator, dtype=torch.float64) * torch.logspace(-1.5, 1.5, 10)
    labels = (x[:, 0] + torch.randn(120, generator=generator)).sign().long() + (x[:, 9] > 3).long() + 1
    return x + 2, labels.clamp_max(2)


def test_a_softmax_path_is_that_of_scikit_learn(data):
    x, labels = data
    truth = torch.nn.functional.one_hot(labels).double()
    for strength, found in zip(STRENGTHS, logistic_path(x, truth, STRENGTHS, exclusive=True), strict=True):
        model = LogisticRegression(C=strength, max_iter=20000, tol=1e-9).fit(x.numpy(), labels.numpy())
        shown = found(x).softmax(1).numpy()
        assert np.abs(shown - model.predict_proba(x.numpy())).max() < 2e-3


def test_sigmoids_are_independent_regressions(data):
    x, labels = data
    truth = torch.stack([(labels > 0).double(), (labels > 1).double()], 1)
    for strength, found in zip(STRENGTHS, logistic_path(x, truth, STRENGTHS, exclusive=False), strict=True):
        for column in range(2):
            model = LogisticRegression(C=strength, max_iter=20000, tol=1e-9).fit(x.numpy(), truth[:, column].numpy())
            shown = found(x)[:, column].sigmoid().numpy()
            assert np.abs(shown - model.predict_proba(x.numpy())[:, 1]).max() < 2e-3


def test_a_constant_feature_and_more_features_than_samples_are_no_matter():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, 40, generator=generator)
    x[:, 3] = 1.5
    truth = torch.eye(3).repeat(4, 1)
    (found,) = logistic_path(x, truth, (1.0,), exclusive=True)
    assert found.weights.isfinite().all()
    assert found.weights[:, 3].abs().max() < 1e-6
    assert torch.equal(found(x).argmax(1), truth.argmax(1))
