"""Inverted lists against brute force over the same lists in float64."""

import numpy as np
import pytest
import torch

from codeword.search import CodedIndex, InvertedIndex
from reference import search as slow
from reference.indexes import assert_same_neighbours, build, level, random_codes

SIZE = 10


def coarse(dim=12, size=SIZE):
    return level(torch.Generator().manual_seed(7), dim, size, scale=2.0)


def filled(kind, *, by_residual=True, metric="l2", count=900):
    quantizer = build(kind)
    index = InvertedIndex(coarse(), quantizer, by_residual=by_residual, metric=metric)
    codes = random_codes(quantizer.sizes, count)
    lists = torch.randint(SIZE - 1, (count,), generator=torch.Generator().manual_seed(3))  # the last list is empty
    for part in torch.arange(count).split(250):
        index.add_codes(codes[part], lists[part])
    books = [book.detach().double().numpy() for book in quantizer.codebooks()]
    vectors = slow.reconstruct(codes.numpy(), books)
    if by_residual:
        vectors = vectors + index.centroids.double().numpy()[lists]
    return index, lists.numpy(), vectors


def queries(count=6):
    return 2 * torch.randn(count, 12, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("by_residual", [True, False])
@pytest.mark.parametrize("kind", ["product", "residual", "additive", "groups", "rotated"])
@pytest.mark.parametrize("probes", [1, 4, 99])
def test_equals_brute_force_in_the_lists_probed(kind, by_residual, metric, probes):
    index, lists, vectors = filled(kind, by_residual=by_residual, metric=metric)
    wanted = queries()
    found = index.search(wanted, 12, probes=probes)
    centroids = index.centroids.double().numpy()
    expected = slow.in_lists(wanted.numpy(), centroids, lists, vectors, 12, probes, metric)
    assert_same_neighbours(found, expected, wanted.numpy(), vectors, metric)


def test_all_lists_probed_it_is_the_search_in_codes():
    quantizer = build("residual")
    rows = torch.randn(400, 12, generator=torch.Generator().manual_seed(0))
    index, whole = InvertedIndex(coarse(), quantizer, by_residual=False), CodedIndex(quantizer)
    index.add(rows)
    whole.add(rows)
    found, expected = index.search(queries(), 15, probes=SIZE), whole.search(queries(), 15)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5)
    assert (found.ids == expected.ids).float().mean() > 0.99


@pytest.mark.parametrize("by_residual", [True, False])
def test_adding_vectors_assigns_and_encodes_them(by_residual):
    quantizer, cells = build("product"), coarse()
    rows = 2 * torch.randn(300, 12, generator=torch.Generator().manual_seed(0))
    index = InvertedIndex(cells, quantizer, by_residual=by_residual)
    for part in rows.split(70):
        index.add(part)
    assert len(index) == 300 and index.size == SIZE
    lists = torch.cdist(rows.double(), index.centroids.double()).argmin(1)
    rest = rows - index.centroids[lists] if by_residual else rows
    for number in range(SIZE):
        ids, codes = index.members(number)
        assert (ids == (lists == number).nonzero()[:, 0]).all()
        assert (codes == quantizer.encode(rest[ids])).all()


def test_the_answer_does_not_depend_on_batches(monkeypatch):
    index, _, _ = filled("rotated")
    wanted = queries(20)
    whole = index.search(wanted, 10, probes=3)
    parts = [index.search(part, 10, probes=3) for part in wanted.split(9)]
    monkeypatch.setattr("codeword.search.inverted._BLOCK", 8)
    assert (index.search(wanted, 10, probes=3).ids == whole.ids).all()
    assert (torch.cat([part.ids for part in parts]) == whole.ids).all()
    assert (torch.cat([part.distances for part in parts]) == whole.distances).all()


@pytest.mark.parametrize(("pairs", "rows"), [(1, 64), (700, 1 << 16)])
def test_pairs_are_looked_up_in_parts(monkeypatch, pairs, rows):
    index, lists, vectors = filled("residual")
    monkeypatch.setattr("codeword.search.inverted._PAIRS", pairs)
    monkeypatch.setattr("codeword.search.inverted._ROWS", rows)
    wanted = queries(5)
    expected = slow.in_lists(wanted.numpy(), index.centroids.double().numpy(), lists, vectors, 12, 5)
    assert_same_neighbours(index.search(wanted, 12, probes=5), expected, wanted.numpy(), vectors)


def test_nothing_stored_empty_lists_and_no_queries():
    empty = InvertedIndex(coarse(), build("product"))
    assert (empty.search(queries(2), 3).ids == -1).all()
    index, _, _ = filled("product", count=30)
    assert index.search(torch.empty(0, 12), 4).ids.shape == (0, 4)
    beside = index.search(index.centroids[SIZE - 1 :], 4, probes=1)
    assert (beside.ids == -1).all() and (beside.distances == np.inf).all()
    assert (index.search(queries(3), 50, probes=SIZE).ids >= 0).sum(1).eq(30).all()


def test_codes_of_variable_depth():
    quantizer = build("residual")
    codes = random_codes(quantizer.sizes, 200)
    codes[::3, 2:] = -1
    lists = torch.arange(200) % SIZE
    index = InvertedIndex(coarse(), quantizer)
    index.add_codes(codes, lists)
    books = [book.detach().double().numpy() for book in quantizer.codebooks()]
    vectors = slow.reconstruct(codes.numpy(), books) + index.centroids.double().numpy()[lists]
    expected = slow.in_lists(queries().numpy(), index.centroids.double().numpy(), lists.numpy(), vectors, 9, 4)
    assert_same_neighbours(index.search(queries(), 9, probes=4), expected, queries().numpy(), vectors)


def test_what_a_caller_gets_wrong():
    with pytest.raises(ValueError, match="needs 1 level and the 12 features of the quantizer, got 4 levels"):
        InvertedIndex(build("residual"), build("product"))
    with pytest.raises(ValueError, match="got 1 levels and 3 features"):
        InvertedIndex(coarse(dim=3), build("product"))
    index, _, _ = filled("product", count=5)
    with pytest.raises(ValueError, match="probes must be at least 1"):
        index.search(queries(1), 2, probes=0)
    with pytest.raises(ValueError, match=r"lists must lie in 0\.\.9, got 0\.\.10"):
        index.add_codes(random_codes((16,) * 4, 2), torch.tensor([0, SIZE]))
    with pytest.raises(ValueError, match=r"queries of shape \(rows, 12\)"):
        index.search(torch.zeros(1, 4), 2)


@pytest.mark.parametrize("by_residual", [True, False])
@pytest.mark.parametrize("count", [1, 2, 15, 17])
def test_fewer_vectors_than_a_group_of_scores(count, by_residual):
    index, lists, vectors = filled("residual", by_residual=by_residual, count=count)
    wanted = queries()
    found = index.search(wanted, 3, probes=SIZE)
    expected = slow.in_lists(wanted.numpy(), index.centroids.double().numpy(), lists, vectors, 3, SIZE, "l2")
    assert (found.ids.numpy() >= 0).sum() == len(wanted) * min(3, count)
    if count >= 3:
        assert_same_neighbours(found, expected, wanted.numpy(), vectors, "l2")


def test_lists_that_do_not_exist():
    index = filled("residual", count=4)[0]
    codes = random_codes(index.quantizer.sizes, 2)
    for number in (-1, SIZE):
        with pytest.raises(ValueError, match=f"has the lists 0..9, asked for {number}"):
            index.members(number)
    with pytest.raises(ValueError, match=r"lists must lie in 0..9, got 3..10"):
        index.add_codes(codes, torch.tensor([3, SIZE]))
