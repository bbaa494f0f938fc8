"""Search in codes against brute force over reconstructions in float64."""

import numpy as np
import pytest
import torch

from codeword.quantizers import ProductQuantizer, ResidualQuantizer
from codeword.quantizers.scalar import ScalarQuantizer
from codeword.search import CodedIndex, FlatIndex, InvertedIndex, Reranked
from codeword.search.rows import check_metric
from codeword.search.tables import AdditiveTables
from reference import search as slow
from reference.indexes import assert_same_neighbours, build, level, random_codes

KINDS = ["vector", "product", "residual", "additive", "groups", "rotated", "normalized", "projected"]


def queries_near(quantizer, count, seed=2, noise=0.5):
    generator = torch.Generator().manual_seed(seed)
    vectors = quantizer.decode(random_codes(quantizer.sizes, count, seed))
    return (vectors + noise * torch.randn(vectors.shape, generator=generator)).detach()


def expected_neighbours(quantizer, codes, wanted, k, metric="l2"):
    books = [book.detach().double().numpy() for book in quantizer.codebooks()]
    vectors = slow.reconstruct(codes.numpy(), books)
    return slow.neighbours(wanted.double().numpy(), vectors, k, metric), vectors


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("queries", [1, 70])
def test_equals_brute_force(kind, metric, queries):
    quantizer = build(kind)
    codes, wanted = random_codes(quantizer.sizes, 400), queries_near(quantizer, queries)
    index = CodedIndex(quantizer, metric=metric)
    index.add_codes(codes)
    expected, vectors = expected_neighbours(quantizer, codes, wanted, 15, metric)
    assert_same_neighbours(index.search(wanted, 15), expected, wanted.numpy(), vectors, metric)


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("kind", ["product", "residual", "groups", "rotated"])
def test_codes_of_variable_depth(kind, metric):
    quantizer = build(kind)
    codes = random_codes(quantizer.sizes, 600)
    codes[torch.arange(600)[:, None] % 5 < torch.arange(4)] = -1
    wanted = queries_near(quantizer, 20)
    index = CodedIndex(quantizer, metric=metric)
    index.add_codes(random_codes(quantizer.sizes, 50, seed=5))
    index.add_codes(codes)
    every = torch.cat([random_codes(quantizer.sizes, 50, seed=5), codes])
    expected, vectors = expected_neighbours(quantizer, every, wanted, 15, metric)
    assert (index.codes == every).all()
    assert_same_neighbours(index.search(wanted, 15), expected, wanted.numpy(), vectors, metric)


@pytest.mark.parametrize("kind", ["product", "residual"])
def test_many_tiles_large_k_and_sizes_that_are_no_powers_of_two(kind):
    quantizer = build(kind, sizes=(7, 300, 1, 33))
    codes, wanted = random_codes(quantizer.sizes, 70_000), queries_near(quantizer, 3)
    index = CodedIndex(quantizer)
    index.add_codes(codes)
    books = [book.detach().double() for book in quantizer.codebooks()]
    vectors = sum(book[codes[:, m]] for m, book in enumerate(books))
    for k in (1, 2000):
        for count in (1, 3):
            found = index.search(wanted[:count], k)
            distances = torch.cdist(wanted[:count].double(), vectors).square().topk(k, largest=False).values
            np.testing.assert_allclose(found.distances, distances, rtol=1e-5)


def test_product_tables_are_block_by_block():
    assert not AdditiveTables(build("product").codebooks(), "l2").needs_norms
    assert not AdditiveTables(build("vector").codebooks(), "l2").needs_norms
    assert AdditiveTables(build("groups").codebooks(), "l2").needs_norms
    assert AdditiveTables(build("residual").codebooks(), "l2").needs_norms
    assert not AdditiveTables(build("residual").codebooks(), "ip").needs_norms


@pytest.mark.parametrize("kind", ["product", "residual"])
def test_a_common_offset_keeps_its_digits(kind):
    quantizer = build(kind, offset=5000.0)
    codes, wanted = random_codes(quantizer.sizes, 1000), queries_near(quantizer, 20)
    index = CodedIndex(quantizer)
    index.add_codes(codes)
    (ids, distances), vectors = expected_neighbours(quantizer, codes, wanted, 10)
    centre = vectors.mean(0)
    assert_same_neighbours(index.search(wanted, 10), (ids, distances), wanted.numpy() - centre, vectors - centre)


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_does_not_depend_on_batches(kind):
    quantizer = build(kind)
    wanted = queries_near(quantizer, 70)
    index = CodedIndex(quantizer)
    index.add_codes(random_codes(quantizer.sizes, 800))
    whole = index.search(wanted, 40)
    for step in (5, 33):
        parts = [index.search(part, 40) for part in wanted.split(step)]
        assert (torch.cat([part.ids for part in parts]) == whole.ids).all()
        assert (torch.cat([part.distances for part in parts]) == whole.distances).all()
    one = index.search(wanted[66:67], 40)
    assert (one.ids == whole.ids[66]).all() and (one.distances == whole.distances[66]).all()


def test_equal_codes_come_in_the_order_of_their_numbers():
    quantizer = build("vector", sizes=(3,))
    codes = torch.arange(40_000)[:, None] % 3
    index = CodedIndex(quantizer)
    index.add_codes(codes)
    wanted = queries_near(quantizer, 5, noise=0.01)
    nearest = quantizer.encode(wanted)
    found = index.search(wanted, 30)
    assert (found.ids == nearest + 3 * torch.arange(30)).all()


def test_more_ties_than_candidates_are_kept(monkeypatch):
    monkeypatch.setattr("codeword.search.shortlist._KEPT", 100)
    quantizer = build("product")
    codes = random_codes(quantizer.sizes, 8).repeat(400, 1)
    index = CodedIndex(quantizer)
    index.add_codes(codes)
    wanted = queries_near(quantizer, 70)
    expected, vectors = expected_neighbours(quantizer, codes, wanted, 20)
    assert_same_neighbours(index.search(wanted, 20), expected, wanted.numpy(), vectors)
    assert (index.search(wanted, 20).ids.sort(1).values == torch.from_numpy(expected[0]).sort(1).values).all()


def test_adding_vectors_encodes_them():
    quantizer = build("beam")
    rows = torch.randn(60, 12, generator=torch.Generator().manual_seed(0))
    index = CodedIndex(quantizer)
    for part in rows.split(25):
        index.add(part)
    assert len(index) == 60
    assert (index.codes == quantizer.encode(rows)).all()
    found = index.search(quantizer.decode(quantizer.encode(rows[:10])), 1)
    np.testing.assert_allclose(found.distances, 0, atol=1e-4)


def test_gradients_stay_outside():
    quantizer = build("residual")
    rows, wanted = torch.randn(20, 12, requires_grad=True), torch.randn(3, 12, requires_grad=True)
    flat, index = FlatIndex(12), CodedIndex(quantizer)
    cells = InvertedIndex(level(torch.Generator().manual_seed(7), 12, 4), quantizer)
    for one in (flat, index, cells):
        one.add(rows)
        assert not one.search(wanted, 2).distances.requires_grad
    assert not Reranked(index, rows).search(wanted, 2).distances.requires_grad and not flat.vectors.requires_grad


@pytest.mark.parametrize(("size", "dtype"), [(256, torch.uint8), (257, torch.int16), (40_000, torch.int32)])
def test_codes_are_stored_compactly(size, dtype):
    quantizer = build("vector", dim=2, sizes=(size,))
    codes, wanted = random_codes((size,), 500), queries_near(quantizer, 4)
    index = CodedIndex(quantizer)
    index.add_codes(codes)
    assert index.codes.dtype == dtype
    expected, vectors = expected_neighbours(quantizer, codes, wanted, 3)
    assert_same_neighbours(index.search(wanted, 3), expected, wanted.numpy(), vectors)


def test_a_level_without_any_effect():
    silent = level(torch.Generator().manual_seed(0), 4, 5, scale=0.0)
    quantizer = ResidualQuantizer([silent, level(torch.Generator().manual_seed(1), 4, 9)]).eval()
    codes, wanted = random_codes((5, 9), 50), queries_near(quantizer, 4)
    index = CodedIndex(quantizer)
    index.add_codes(codes)
    expected, vectors = expected_neighbours(quantizer, codes, wanted, 6)
    assert_same_neighbours(index.search(wanted, 6), expected, wanted.numpy(), vectors)


def test_nothing_stored_nothing_asked_and_more_wanted_than_there_is():
    quantizer = build("residual")
    index = CodedIndex(quantizer)
    assert (index.search(torch.zeros(2, 12), 3).ids == -1).all()
    index.add(torch.empty(0, 12))
    index.add_codes(random_codes(quantizer.sizes, 2))
    assert index.search(torch.empty(0, 12), 3).ids.shape == (0, 3)
    found = index.search(torch.zeros(2, 12), 5)
    assert (found.ids.sort(1).values == torch.tensor([-1, -1, -1, 0, 1])).all()
    assert (found.distances[:, 2:] == np.inf).all() and (found.distances[:, :2] < np.inf).all()


def test_what_a_caller_gets_wrong():
    index = CodedIndex(build("product"))
    with pytest.raises(ValueError, match=r"queries of shape \(rows, 12\), got \(2, 5\)"):
        index.search(torch.zeros(2, 5), 1)
    with pytest.raises(ValueError, match="not finite"):
        index.search(torch.full((1, 12), float("inf")), 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        index.search(torch.zeros(2, 12), 0)
    with pytest.raises(ValueError, match=r"vectors of shape \(rows, 12\)"):
        index.add(torch.zeros(2, 13))
    with pytest.raises(ValueError, match=r"codes of shape \(vectors, 4\), got \(2, 3\)"):
        index.add_codes(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"level 1 must lie in 0..15, or be -1 for none: got 0..16"):
        index.add_codes(torch.tensor([[0, 16, 0, 0], [0, 0, 0, 0]]))
    with pytest.raises(ValueError, match="level 0 must lie"):
        index.add_codes(torch.tensor([[-2, 0, 0, 0]]))
    with pytest.raises(ValueError, match="'l2' or 'ip', got 'cosine'"):
        check_metric("cosine")


def test_a_decoder_that_is_no_sum_of_codewords():
    with pytest.raises(ValueError, match="no codebooks"):
        CodedIndex(ScalarQuantizer([3, 3]))
    with pytest.raises(ValueError, match="no codebooks"):
        CodedIndex(ProductQuantizer([ScalarQuantizer([3, 3]), level(torch.Generator(), 2, 4)]).eval())


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_codes_of_any_integer_type(dtype):
    index = CodedIndex(build("residual"))
    codes = random_codes(index.quantizer.sizes, 50)
    index.add_codes(codes.to(dtype))
    assert (index.codes == codes).all()


def test_codewords_whose_squares_leave_float32_are_refused():
    tables = [1e19 * torch.eye(4)]
    with pytest.raises(ValueError, match=r"reach a length of .*: squared distances leave float32"):
        AdditiveTables(tables, "l2")
