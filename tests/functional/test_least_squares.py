import numpy as np
import pytest
import torch

from codeword.functional.beam import beam_search
from codeword.functional.cross_tables import cross_tables
from codeword.functional.least_squares import code_statistics, least_squares_codebooks
from reference import additive as slow

SIZES = (6, 4, 5)


def problem(seed=0, count=400, dim=7):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, dim, generator=generator)
    codes = torch.stack([torch.randint(0, size, (count,), generator=generator) for size in SIZES], 1)
    books = [torch.randn(size, dim, generator=generator) for size in SIZES]
    return x, codes, books, torch.rand(count, generator=generator) + 0.1


def error(x, codes, books):
    return float((x - sum(book[codes[:, m]] for m, book in enumerate(books))).double().square().sum(1).mean())


@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_are_the_normal_equations(weighted):
    x, codes, _, weights = problem()
    found = code_statistics(x, codes, SIZES, weights if weighted else None)
    design = np.zeros((len(x), 15))
    for level, start in enumerate((0, 6, 10)):
        design[np.arange(len(x)), start + codes[:, level].numpy()] = 1
    weight = weights.double().numpy() if weighted else np.ones(len(x))
    np.testing.assert_allclose(found.counts.numpy(), design.T @ (design * weight[:, None]), rtol=1e-6)
    np.testing.assert_allclose(found.sums.numpy(), design.T @ (x.double().numpy() * weight[:, None]), atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_solution_equals_dense_least_squares(weighted):
    x, codes, books, weights = problem()
    found = least_squares_codebooks(code_statistics(x, codes, SIZES, weights if weighted else None), books, ridge=0.01)
    weight = weights.double().numpy() if weighted else np.ones(len(x))
    wanted = slow.least_squares(x.double().numpy(), codes.numpy(), [b.double().numpy() for b in books], weight, 0.01)
    for book, right in zip(found, wanted, strict=True):
        np.testing.assert_allclose(book.numpy(), right, atol=1e-4)


def test_statistics_add_up_over_chunks():
    x, codes, _books, _ = problem()
    whole = code_statistics(x, codes, SIZES)
    parts = [code_statistics(x[part], codes[part], SIZES) for part in (slice(0, 100), slice(100, 100), slice(100, 400))]
    assert torch.equal(sum(part.counts for part in parts), whole.counts)
    torch.testing.assert_close(sum(part.sums for part in parts), whole.sums, atol=1e-4, rtol=0)


def test_codewords_that_serve_nobody_stay():
    x, codes, books, _ = problem()
    codes = codes.clamp(max=3)
    found = least_squares_codebooks(code_statistics(x, codes, SIZES), books)
    assert torch.equal(found[0][4:], books[0][4:])
    assert torch.equal(found[2][4:], books[2][4:])
    assert not torch.equal(found[0][:4], books[0][:4])


def test_alternation_never_raises_the_error_of_given_codes():
    x, _, books, _ = problem(count=1000)
    before = float("inf")
    for _ in range(6):
        codes = beam_search(x, cross_tables(books), 24)
        books = least_squares_codebooks(code_statistics(x, codes, SIZES), books)
        after = error(x, codes, books)
        assert after < before
        before = after


def test_no_vectors_change_nothing():
    x, codes, books, _ = problem()
    found = least_squares_codebooks(code_statistics(x[:0], codes[:0], SIZES), books)
    assert all(torch.equal(new, old) for new, old in zip(found, books, strict=True))


def test_one_level_gives_means():
    x, codes, books, _ = problem()
    found = least_squares_codebooks(code_statistics(x, codes[:, :1], SIZES[:1]), books[:1], ridge=1e-12)[0]
    means = torch.stack([x[codes[:, 0] == k].mean(0) for k in range(6)])
    torch.testing.assert_close(found, means, atol=1e-5, rtol=0)


def test_too_many_codewords_are_refused():
    with pytest.raises(ValueError, match="at most 16384"):
        code_statistics(torch.zeros(1, 1), torch.zeros(1, 2, dtype=torch.int64), (16384, 1))
