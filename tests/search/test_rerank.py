"""Re-ranking with exact vectors in memory and in a file."""

import numpy as np
import pytest
import torch

from codeword.data.vectors import open_vectors
from codeword.search import CodedIndex, FlatIndex, InvertedIndex, Reranked
from reference import search as slow
from reference.indexes import build, level


def rows(count, seed=0):
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(seed))


def coded(metric="l2"):
    index = CodedIndex(build("residual"), metric=metric)
    index.add(rows(300))
    return index


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_every_vector_a_candidate_it_is_exact_search(metric):
    found = Reranked(coded(metric), rows(300), factor=100).search(rows(20, seed=1), 5)
    expected = slow.neighbours(rows(20, seed=1).numpy(), rows(300).numpy(), 5, metric)
    assert (found.ids.numpy() == expected[0]).all()
    np.testing.assert_allclose(found.distances, expected[1], rtol=1e-6)


def test_candidates_alone_are_ranked_by_exact_distance():
    index, wanted = coded(), rows(20, seed=1)
    found = Reranked(index, rows(300), factor=3).search(wanted, 4)
    candidates = index.search(wanted, 12).ids
    for query, ids, best in zip(wanted, candidates, found.ids, strict=True):
        exact = (rows(300)[ids].double() - query.double()).square().sum(1)
        assert (best == ids[exact.argsort()[:4]]).all()
    exact = FlatIndex(12)
    exact.add(rows(300))
    truth = exact.search(wanted, 1).ids
    assert (found.ids[:, :1] == truth).sum() > (index.search(wanted, 1).ids == truth).sum()


def test_a_file_is_read_in_place(tmp_path):
    np.save(tmp_path / "rows.npy", rows(300).numpy())
    stored = Reranked(coded(), open_vectors(tmp_path / "rows.npy"), factor=5).search(rows(9, seed=1), 4)
    given = Reranked(coded(), rows(300), factor=5).search(rows(9, seed=1), 4)
    assert (stored.ids == given.ids).all() and (stored.distances == given.distances).all()


def test_options_reach_the_index():
    inner = InvertedIndex(level(torch.Generator().manual_seed(7), 12, 10), build("product"))
    inner.add(rows(300))
    outer = Reranked(inner, rows(300), factor=300)
    assert len(outer) == 300
    every = outer.search(rows(9, seed=1), 3, probes=10)
    assert (every.ids.numpy() == slow.neighbours(rows(9, seed=1).numpy(), rows(300).numpy(), 3)[0]).all()
    assert (outer.search(rows(9, seed=1), 3, probes=1).distances >= every.distances).all()


def test_blocks_of_queries_change_nothing(monkeypatch):
    outer = Reranked(coded(), rows(300))
    whole = outer.search(rows(9, seed=1), 3)
    monkeypatch.setattr("codeword.search.rerank._CHUNK", 300)
    assert (outer.search(rows(9, seed=1), 3).ids == whole.ids).all()


def test_fewer_vectors_than_wanted_and_no_queries():
    index = CodedIndex(build("product"))
    index.add(rows(2))
    found = Reranked(index, rows(2)).search(rows(3, seed=1), 4)
    assert (found.ids[:, :2].sort(1).values == torch.tensor([0, 1])).all() and (found.ids[:, 2:] == -1).all()
    assert Reranked(index, rows(2)).search(torch.empty(0, 12), 4).ids.shape == (0, 4)


def test_what_a_caller_gets_wrong():
    with pytest.raises(ValueError, match="the store holds 299 vectors, the index 300"):
        Reranked(coded(), rows(299))
    with pytest.raises(ValueError, match="factor must be at least 1"):
        Reranked(coded(), rows(300), factor=0)
    with pytest.raises(ValueError, match="k must be at least 1"):
        Reranked(coded(), rows(300)).search(rows(1), 0)


def test_an_index_that_grew_or_queries_of_another_dimension():
    index = coded()
    outer = Reranked(index, rows(300))
    with pytest.raises(ValueError, match=r"queries of shape \(rows, 12\), got \(2, 5\)"):
        outer.search(torch.zeros(2, 5), 1)
    index.add(rows(1))
    with pytest.raises(ValueError, match="the store holds 300 vectors, the index 301"):
        outer.search(rows(1), 1)
