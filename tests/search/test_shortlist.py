"""The shortlist finds the exact answer from scores that are wrong by as much as they say."""

import numpy as np
import pytest
import torch

from codeword.search.shortlist import Shortlist, padded_columns, padded_rows, rounding


def shortlist(costs, queries, k, asked=None):
    """One over given exact costs (vectors, queries)."""

    def rescore(query, ids):
        if asked is not None:
            asked.append(len(ids))
        return costs[ids, query]

    return Shortlist(rescore, k, queries=queries, columns=padded_columns(queries), device=costs.device)


def offer(chosen, costs, error, tile, generator):
    """All costs in tiles, each moved by up to the error."""
    wrong = (torch.rand(costs.shape, generator=generator, dtype=torch.float64) * 2 - 1) * error
    for first in range(0, len(costs), tile):
        part = (costs + wrong)[first : first + tile].float()
        scores = torch.full((padded_rows(len(part), chosen.columns), chosen.columns), torch.inf)
        scores[: len(part), : part.shape[1]] = part
        chosen.offer(scores, torch.full((chosen.columns,), error * 1.001 + 1e-6), first)


@pytest.mark.parametrize("error", [0.0, 0.01, 0.5, 100.0])
@pytest.mark.parametrize(
    ("count", "queries", "k", "tile"), [(5000, 5, 20, 700), (3000, 1, 400, 256), (900, 64, 3, 900)]
)
def test_the_k_best_despite_errors(error, count, queries, k, tile):
    generator = torch.Generator().manual_seed(0)
    costs = torch.rand(count, queries, generator=generator, dtype=torch.float64) * 10
    chosen = shortlist(costs, queries, k)
    offer(chosen, costs, error, tile, generator)
    ids, found = chosen.neighbors()
    expected = costs.t().sort(1)
    assert (ids == expected.indices[:, :k]).all() and (found == expected.values[:, :k]).all()


@pytest.mark.parametrize("order", ["rising", "falling", "random"])
def test_few_more_than_k_are_ranked(order):
    generator = torch.Generator().manual_seed(0)
    costs = torch.rand(20_000, 8, generator=generator, dtype=torch.float64)
    costs = costs if order == "random" else costs.sort(0, descending=order == "falling").values
    asked = []
    chosen = shortlist(costs, 8, 50, asked)
    offer(chosen, costs, 1e-5, 2000, generator)
    chosen.neighbors()
    assert len(asked) == 1 and asked[0] < 8 * 60


def test_ties_are_cut_back_to_the_lowest_numbers(monkeypatch):
    monkeypatch.setattr("codeword.search.shortlist._KEPT", 50)
    costs = torch.ones(5000, 3, dtype=torch.float64)
    asked = []
    chosen = shortlist(costs, 3, 10, asked)
    offer(chosen, costs, 0.1, 1000, torch.Generator().manual_seed(0))
    assert (chosen.neighbors()[0] == torch.arange(10)).all()
    assert len(asked) > 1


def test_nothing_offered_and_less_than_wanted():
    costs = torch.rand(4, 2, dtype=torch.float64)
    chosen = shortlist(costs, 2, 6)
    ids, found = chosen.neighbors()
    assert (ids == -1).all() and (found == np.inf).all()
    offer(chosen, costs, 0.0, 4, torch.Generator())
    ids, found = chosen.neighbors()
    assert (ids[:, :4] == costs.t().argsort(1)).all() and (ids[:, 4:] == -1).all() and (found[:, 4:] == np.inf).all()


def test_the_rounding_bound_holds_for_float32_sums():
    generator = torch.Generator().manual_seed(0)
    for terms in (2, 30, 1000):
        a, b = torch.randn(2, 500, terms, generator=generator)
        error = ((a * b).sum(1).double() - (a.double() * b.double()).sum(1)).abs()
        assert (error <= rounding(terms) * (a.double() * b.double()).abs().sum(1)).all()
    assert rounding(4) == 4 * 2.0**-24 and rounding(10_000) == 800 * 2.0**-24
