"""Exact search against brute force in float64."""

import jaxtyping
import numpy as np
import pytest
import torch

from codeword.search import FlatIndex
from reference import search as slow
from reference.indexes import assert_same_neighbours


def vectors(count, dim, seed=0, offset=0.0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) + offset


def index_of(rows, metric="l2"):
    index = FlatIndex(rows.shape[1], metric=metric)
    index.add(rows)
    return index


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("count", [1, 15, 1000, 5000])
@pytest.mark.parametrize("queries", [1, 3, 70])
def test_equals_brute_force(metric, count, queries):
    rows, wanted = vectors(count, 24), vectors(queries, 24, seed=1)
    found = index_of(rows, metric).search(wanted, 20)
    expected = slow.neighbours(wanted.numpy(), rows.numpy(), 20, metric)
    assert (found.ids.numpy() == expected[0]).all()
    assert_same_neighbours(found, expected, wanted.numpy(), rows.numpy(), metric)


def test_many_queries_take_several_blocks_and_passes():
    rows, wanted = vectors(300, 4), vectors(4500, 4, seed=1)
    found = index_of(rows).search(wanted, 2)
    expected = torch.cdist(wanted.double(), rows.double()).topk(2, largest=False).indices
    assert (found.ids == expected).all()


def test_large_k():
    rows, wanted = vectors(9000, 8), vectors(5, 8, seed=1)
    found = index_of(rows).search(wanted, 4000)
    assert (found.ids.numpy() == slow.neighbours(wanted.numpy(), rows.numpy(), 4000)[0]).all()


@pytest.mark.parametrize("offset", [5e3, 1e6])
def test_a_common_offset_keeps_its_digits(offset):
    rows, wanted = vectors(3000, 32, offset=offset), vectors(40, 32, seed=1, offset=offset)
    found = index_of(rows).search(wanted, 10)
    assert (found.ids.numpy() == slow.neighbours(wanted.numpy(), rows.numpy(), 10)[0]).all()


def test_vectors_of_very_different_lengths():
    rows, wanted = vectors(4000, 16), vectors(10, 16, seed=1)
    rows[::1000] *= 1e6
    found = index_of(rows).search(wanted, 10)
    assert (found.ids.numpy() == slow.neighbours(wanted.numpy(), rows.numpy(), 10)[0]).all()


def test_ties_go_to_the_lowest_number():
    rows = vectors(5, 8).repeat(4000, 1)
    found = index_of(rows).search(vectors(6, 8, seed=1), 50)
    assert (found.ids.numpy() == slow.neighbours(vectors(6, 8, seed=1).numpy(), rows.numpy(), 50)[0]).all()


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_the_answer_does_not_depend_on_batches(metric):
    rows, wanted = vectors(2000, 33), vectors(40, 33, seed=1)
    index = index_of(rows, metric)
    whole = index.search(wanted, 30)
    for step in (1, 17):
        parts = [index.search(part, 30) for part in wanted.split(step)]
        assert (torch.cat([part.ids for part in parts]) == whole.ids).all()
        assert (torch.cat([part.distances for part in parts]) == whole.distances).all()


def test_added_in_parts_it_is_the_same_index():
    rows, wanted = vectors(700, 8), vectors(9, 8, seed=1)
    parts = FlatIndex(8)
    for part in rows.split(99):
        parts.add(part)
    assert len(parts) == 700
    assert (parts.search(wanted, 5).ids == index_of(rows).search(wanted, 5).ids).all()


def test_no_vectors_and_no_queries():
    empty = FlatIndex(6).search(torch.randn(3, 6), 4)
    assert (empty.ids == -1).all() and (empty.distances == np.inf).all()
    none = index_of(vectors(10, 6)).search(torch.empty(0, 6), 4)
    assert none.ids.shape == none.distances.shape == (0, 4)
    index = FlatIndex(6, metric="ip")
    index.add(torch.empty(0, 6))
    assert (index.search(torch.randn(1, 6), 2).distances == -np.inf).all()


def test_arrays_are_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the shape hook of the tests speaks first
    index = index_of(vectors(4, 6))
    for call in (lambda: index.add(np.zeros((2, 6), np.float32)), lambda: index.search(np.zeros((2, 6)), 1)):
        with pytest.raises(ValueError, match=r"as a tensor, got ndarray: torch\.from_numpy\(array\)"):
            call()


def test_what_a_caller_gets_wrong():
    index = index_of(vectors(4, 6))
    with pytest.raises(ValueError, match=r"queries of shape \(rows, 6\), got \(2, 5\)"):
        index.search(torch.zeros(2, 5), 1)
    with pytest.raises(ValueError, match=r"vectors of shape \(rows, 6\), got \(2, 7\)"):
        index.add(torch.zeros(2, 7))
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        index.search(torch.zeros(2, 6), 0)
    with pytest.raises(ValueError, match="row 1 is not finite"):
        index.add(torch.tensor([[0.0] * 6, [float("nan")] * 6]))
    with pytest.raises(ValueError, match="train it first"):
        index.train(vectors(4, 6))
    with pytest.raises(ValueError, match="dim must be at least 1"):
        FlatIndex(0)


def test_training_chooses_the_centre():
    rows, wanted = vectors(500, 8, offset=1e4), vectors(7, 8, seed=1, offset=1e4)
    index = FlatIndex(8)
    index.train(rows[:100])
    mean = index.mean
    index.add(rows)
    assert mean is not None and index.mean is mean
    assert (index.search(wanted, 5).ids.numpy() == slow.neighbours(wanted.numpy(), rows.numpy(), 5)[0]).all()


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("scale", [1e-19, 1e-22, 1e-23, 1e-30, 1e17])
def test_numbers_whose_squares_nearly_leave_float32(metric, scale):
    base, wanted = scale * vectors(300, 64), scale * vectors(20, 64, seed=1)
    index = FlatIndex(64, metric=metric)
    index.add(base)
    a, b = wanted.double()[:, None], base.double()[None]
    costs = (a - b).square().sum(-1) if metric == "l2" else -(a * b).sum(-1)
    assert (index.search(wanted, 10).ids == costs.sort(dim=1, stable=True).indices[:, :10]).all()


def test_numbers_whose_squares_leave_float32_are_refused():
    index = FlatIndex(12)
    index.add(vectors(5, 12))
    with pytest.raises(ValueError, match=r"queries holds numbers up to .*: squared distances leave float32 beyond"):
        index.search(1e20 * vectors(1, 12), 1)
    with pytest.raises(ValueError, match=r"vectors holds numbers up to .*: squared distances leave float32 beyond"):
        index.add(1e300 * vectors(5, 12).double())
    assert len(index) == 5


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("count", [1, 5, 300])
@pytest.mark.parametrize("queries", [1, 9])
def test_few_pairs_are_answered_as_many_are(monkeypatch, metric, count, queries):
    index = index_of(vectors(count, 8).mul(2).round(), metric)  # many ties
    wanted = vectors(queries, 8, seed=1).round()
    monkeypatch.setattr("codeword.search.flat._DIRECT", 1 << 30)
    direct = index.search(wanted, 20)
    monkeypatch.setattr("codeword.search.flat._DIRECT", 0)
    listed = index.search(wanted, 20)
    assert (direct.ids == listed.ids).all() and (direct.distances == listed.distances).all()
    assert (direct.ids >= 0).sum() == queries * min(20, count)
