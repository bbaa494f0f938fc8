import itertools

import numpy as np
import pytest
import torch

from codeword.functional.beam import beam_search, set_beam
from codeword.functional.cross_tables import cross_tables, means_to_first
from codeword.functional.icm import icm
from codeword.functional.nearest import nearest
from reference import additive

SIZES = [(5, 3, 4), (1, 7, 2), (9, 1), (6,), (3, 3, 3, 3)]
NEAR_TIE = 2e-6  # of the squared norm of a vector: two codes this close in squared error are both right


def problem(sizes, *, dim=6, count=24, seed=0, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    books = [torch.randn(size, dim, generator=generator) * 0.8**level for level, size in enumerate(sizes)]
    books[0] += offset
    return torch.randn(count, dim, generator=generator) * 1.5 + offset, books


def errors(x, books, codes):
    total = sum(torch.where(codes[:, [m]] < 0, 0.0, book.double()[codes[:, m]]) for m, book in enumerate(books))
    return (x.double() - total).square().sum(1)


def assert_as_good(x, books, codes, expected):
    """The same codes, but for near ties."""
    found, best = errors(x, books, codes), errors(x, books, torch.tensor(expected))
    scale = (x - books[0].mean(0)).double().square().sum(1) + 1
    assert ((found - best).abs() <= NEAR_TIE * scale).all()
    assert (codes == torch.tensor(expected)).all(1).float().mean() > 0.95


def slow_set_beam(x, books, width):
    """The codebook of level 0 about its mean, as the fast search has it."""
    slow = [book.double().numpy() for book in books]
    centre = books[0].mean(0).double().numpy()
    return [additive.set_beam(v - centre, [slow[0] - centre, *slow[1:]], width) for v in x.double().numpy()]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("limit", [1 << 28, 0])
@pytest.mark.parametrize("width", [1, 3, 10])
def test_beam_equals_slow_beam(sizes, limit, width):
    x, books = problem(sizes)
    codes = beam_search(x, cross_tables(books, limit=limit), width)
    slow = [b.double().numpy() for b in books]
    assert_as_good(x, books, codes, [additive.level_beam(v, slow, width, len(sizes)) for v in x.double().numpy()])


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("limit", [1 << 28, 0])
@pytest.mark.parametrize("width", [1, 3, 10])
def test_set_beam_equals_slow_set_beam(sizes, limit, width):
    x, books = problem(sizes)
    codes = set_beam(x, cross_tables(books, limit=limit), width)
    assert_as_good(x, books, codes, slow_set_beam(x, books, width))


def test_a_beam_needs_only_the_products_with_earlier_levels():
    x, books = problem((5, 9, 4, 8))
    full, half = cross_tables(books), cross_tables(books, ordered=True)
    assert sum(map(len, half.cross)) < sum(map(len, full.cross)) / 2
    assert torch.equal(beam_search(x, half, 3), beam_search(x, full, 3))


def test_width_one_is_greedy():
    x, books = problem((16, 16, 16), count=300)
    rest, codes = x, []
    for book in books:
        codes.append(nearest(rest, book))
        rest = rest - book[codes[-1]]
    assert torch.equal(beam_search(x, cross_tables(books), 1), torch.stack(codes, 1))


@pytest.mark.parametrize("search", [beam_search, set_beam])
def test_wide_beam_is_exhaustive(search):
    x, books = problem((4, 3, 5))
    codes = search(x, cross_tables(books), 60)
    slow = [b.double().numpy() for b in books]
    assert_as_good(x, books, codes, [additive.exhaustive(v, slow) for v in x.double().numpy()])


@pytest.mark.parametrize("search", [beam_search, set_beam])
def test_error_falls_with_width(search):
    x, books = problem((16, 16, 16, 16), dim=12, count=500)
    tables = cross_tables(books)
    means = [errors(x, books, search(x, tables, width)).mean() for width in (1, 2, 4, 8, 16)]
    assert all(wider < narrower for narrower, wider in itertools.pairwise(means))


@pytest.mark.parametrize("depth_seed", range(3))
def test_depth_ends_the_beam(depth_seed):
    x, books = problem((5, 4, 6))
    depth = torch.randint(0, 4, (len(x),), generator=torch.Generator().manual_seed(depth_seed))
    codes = beam_search(x, cross_tables(books), 3, depth=depth)
    slow = [b.double().numpy() for b in books]
    wanted = [additive.level_beam(v, slow, 3, int(n)) for v, n in zip(x.double().numpy(), depth, strict=True)]
    assert_as_good(x, books, codes, wanted)


@pytest.mark.parametrize("search", [beam_search, set_beam])
def test_codes_do_not_depend_on_the_batch(search):
    x, books = problem((24, 24, 24), dim=9, count=1100)
    tables = cross_tables(books)
    whole = search(x, tables, 4)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    assert torch.equal(search(x[order], tables, 4), whole[order])
    assert torch.equal(torch.cat([search(part, tables, 4) for part in x.split([1, 63, 500, 536])]), whole)
    depth = torch.full((len(x),), 3)
    depth[::2] = 1
    if search is beam_search:
        assert torch.equal(beam_search(x, tables, 4, depth=depth)[1::2], whole[1::2])


def test_far_from_the_origin():
    x, books = problem((16, 16, 16), count=200, offset=5000.0)
    codes = beam_search(x, cross_tables(books), 4)
    slow = [b.double().numpy() for b in books]
    wanted = torch.tensor([additive.level_beam(v, slow, 4, 3) for v in x.double().numpy()])
    assert torch.equal(codes, wanted)


def test_offsets_that_cancel():
    x, books = problem((8, 8, 8), count=200)
    apart = [books[0] + 3000, books[1] - 5000, books[2] + 2000]
    together = means_to_first(apart)
    assert all(book.mean(0).abs().max() < 1e-3 for book in together[1:])
    codes = set_beam(x, cross_tables(together), 8)
    wanted = set_beam(x, cross_tables(means_to_first(books)), 8)
    assert (codes == wanted).all(1).float().mean() > 0.98  # the offsets have left 3 digits after the point


@pytest.mark.parametrize("search", [beam_search, set_beam])
def test_shapes_and_edges(search):
    x, books = problem((4, 5))
    tables = cross_tables(books)
    assert search(x[:0], tables, 2).shape == (0, 2)
    assert search(x[0], tables, 2).tolist() == search(x, tables, 2)[0].tolist()
    assert torch.equal(search(x.view(4, 6, -1), tables, 2), search(x, tables, 2).view(4, 6, 2))
    broken = torch.full((3, 6), torch.nan)
    assert ((search(broken, tables, 2) >= 0) & (search(broken, tables, 2) < torch.tensor([4, 5]))).all()
    with pytest.raises(ValueError, match="width 0"):
        search(x, tables, 0)
    with pytest.raises(ValueError, match="5 features"):
        search(x[:, :5], tables, 2)
    with pytest.raises(ValueError, match="at least one codeword"):
        cross_tables([])


def test_set_beam_keeps_no_set_twice():
    """Every pair of codewords is reached from both of its members: without the rule half of the beam would be lost."""
    x, books = problem((6, 6), count=60)
    first = books[0] - books[0].mean(0)
    codes = set_beam(x, cross_tables([first, books[1]]), 36)
    slow = [first.double().numpy(), books[1].double().numpy()]
    assert codes.tolist() == [list(additive.exhaustive(v, slow)) for v in x.double().numpy()]
    x, books = problem((6, 6, 6), count=20)
    assert_as_good(x, books, set_beam(x, cross_tables(books), 5), slow_set_beam(x, books, 5))


@pytest.mark.parametrize("limit", [1 << 28, 0])
@pytest.mark.parametrize("sizes", SIZES)
def test_icm_equals_slow_icm(sizes, limit):
    x, books = problem(sizes)
    start = torch.stack([torch.randint(0, s, (len(x),), generator=torch.Generator().manual_seed(s)) for s in sizes], 1)
    codes = icm(x, start, cross_tables(books, limit=limit), sweeps=3)
    slow = [b.double().numpy() for b in books]
    margins = 1e-6 * (x - books[0].mean(0)).double().square().sum(1).numpy()
    rows = zip(x.double().numpy(), start.numpy(), margins, strict=True)
    assert_as_good(x, books, codes, [additive.conditional_modes(v, slow, c, 3, margin) for v, c, margin in rows])


def test_icm_never_raises_the_error():
    x, books = problem((32, 32, 32, 32), dim=8, count=3000)
    tables = cross_tables(books)
    codes = torch.randint(0, 32, (len(x), 4), generator=torch.Generator().manual_seed(0))
    before = errors(x, books, codes)
    for _ in range(6):
        better = icm(x, codes, tables, sweeps=1)
        after = errors(x, books, better)
        assert (after <= before).all()
        assert torch.equal(after < before, (better != codes).any(1))
        codes, before = better, after
    still = icm(x, codes, tables, sweeps=50)
    assert torch.equal(icm(x, still, tables, sweeps=50), still)


def test_icm_does_not_depend_on_the_batch():
    x, books = problem((16, 16, 16), count=1300)
    tables = cross_tables(books)
    start = torch.zeros(len(x), 3, dtype=torch.int64)
    whole = icm(x, start, tables, sweeps=4)
    assert torch.equal(
        torch.cat([icm(part, start[: len(part)], tables, sweeps=4) for part in x.split([1, 512, 787])]), whole
    )
    assert start.sum() == 0
    assert icm(x[:0], start[:0], tables, sweeps=4).shape == (0, 3)


def test_additive_search_reproduces_product_quantization():
    generator = torch.Generator().manual_seed(0)
    halves = [torch.randn(16, 4, generator=generator) for _ in range(2)]
    books = [torch.nn.functional.pad(halves[0], (0, 4)), torch.nn.functional.pad(halves[1], (4, 0))]
    x = torch.randn(200, 8, generator=generator)
    wanted = torch.stack([nearest(x[:, :4], halves[0]), nearest(x[:, 4:], halves[1])], 1)
    tables = cross_tables(books)
    for codes in (beam_search(x, tables, 1), icm(x, torch.zeros_like(wanted), tables, sweeps=2)):
        assert torch.equal(codes, wanted)


def test_faiss_beam_agrees():
    faiss = pytest.importorskip("faiss")
    x, books = problem((16, 16, 16, 16), dim=12, count=400)
    quantizer = faiss.ResidualQuantizer(12, 4, 4)
    faiss.copy_array_to_vector(torch.cat(books).numpy().ravel(), quantizer.codebooks)
    quantizer.is_trained, quantizer.max_beam_size = True, 5
    packed = torch.from_numpy(quantizer.compute_codes(x.numpy()).astype(np.int64))
    wanted = torch.stack([packed[:, 0] & 15, packed[:, 0] >> 4, packed[:, 1] & 15, packed[:, 1] >> 4], 1)
    codes = beam_search(x, cross_tables(books), 5)
    assert (codes == wanted).all(1).float().mean() > 0.99
    scale = x.double().square().sum(1) + 1
    assert ((errors(x, books, codes) - errors(x, books, wanted)).abs() <= 10 * NEAR_TIE * scale).float().mean() > 0.99
