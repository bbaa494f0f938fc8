import jaxtyping
import pytest
import torch

from codeword.functional.nearest import nearest

RULE = 1e-6  # of |x - mu|^2 + |c - mu|^2


def draw(rows, dim, seed=0, offset=0.0, scale=1.0):
    return scale * torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)) + offset


def distances(x, codebook):
    mean = codebook.double().mean(0)
    x, codebook = x.double() - mean, codebook.double() - mean
    return torch.cdist(x, codebook, compute_mode="donot_use_mm_for_euclid_dist")


def excess(x, codebook, codes):
    """How much farther the chosen codeword is than the nearest, in float64, in units of what the rule allows."""
    square = distances(x, codebook).square()
    mean = codebook.double().mean(0)
    chosen = codebook.double()[codes]
    allowed = RULE * ((x.double() - mean).square().sum(1) + (chosen - mean).square().sum(1)) + 1e-300
    return (square.gather(1, codes[:, None])[:, 0] - square.amin(1)) / allowed


SHAPES = [(70, 3, 1), (70, 1, 2), (50, 7, 31), (50, 5, 64), (50, 5, 65), (130, 16, 100), (130, 64, 256), (40, 33, 1000)]
LARGE = [(300, 4, 8192), (300, 4, 8193), (70, 6, 20_000), (1100, 2, 600), (20, 500, 300)]


@pytest.mark.parametrize(("rows", "dim", "size"), SHAPES + LARGE)
@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (5000.0, 1.0), (-3.0, 1e-4), (0.0, 1e6)])
def test_the_index_is_that_of_float64(rows, dim, size, offset, scale):
    codebook, x = draw(size, dim, 0, offset, scale), draw(rows, dim, 1, offset, scale)
    codes = nearest(x, codebook)
    assert codes.dtype == torch.int64
    assert excess(x, codebook, codes).max() <= 1
    # and all but the closest calls are exactly that of float64
    assert (codes == distances(x, codebook).argmin(1)).float().mean() > 0.95


def test_a_large_offset_costs_no_digits():
    codebook, x = draw(256, 16, 0, 5000.0), draw(2000, 16, 1, 5000.0)
    assert torch.equal(nearest(x, codebook), distances(x, codebook).argmin(1))


@pytest.mark.parametrize(("rows", "dim", "size"), SHAPES + LARGE[:3])
def test_exact_ties_go_to_the_lowest_index(rows, dim, size):
    codebook = draw(size, dim)
    order = torch.randint(0, size, (2 * size,), generator=torch.Generator().manual_seed(2))
    doubled = codebook[order]  # every codeword several times, in any order
    codes = nearest(draw(rows, dim, 1), doubled)
    first = torch.full((size,), 2 * size).scatter_reduce(0, order, torch.arange(2 * size), "amin")
    assert torch.equal(codes, first[order[codes]])


@pytest.mark.parametrize(("dim", "size"), [(5, 40), (16, 300), (3, 9000)])
def test_the_index_does_not_depend_on_the_batch(dim, size):
    codebook, x = draw(size, dim), draw(1500, dim, 1)
    codes = nearest(x, codebook)
    for rows in (1, 3, 64, 1000):
        several = min(30 * rows, 1500)
        parts = [nearest(part, codebook) for part in x[:several].split(rows)]
        assert torch.equal(torch.cat(parts), codes[:several])
    order = torch.randperm(1500, generator=torch.Generator().manual_seed(0))
    assert torch.equal(nearest(x[order], codebook), codes[order])
    assert torch.equal(nearest(x[7:], codebook), codes[7:])
    assert torch.equal(nearest(x.t().contiguous().t(), codebook), codes)
    assert torch.equal(nearest(x[::3], codebook), codes[::3])
    assert torch.equal(nearest(x.reshape(3, 5, 100, dim), codebook), codes.reshape(3, 5, 100))
    assert nearest(x[4], codebook) == codes[4]


@pytest.mark.parametrize("batch", [(0,), (2, 0), ()])
def test_empty_and_single(batch):
    assert nearest(torch.zeros(*batch, 3), draw(9, 3)).shape == batch


def test_rows_that_are_not_finite_get_a_codeword_and_disturb_nobody():
    for size in (1, 9, 70, 8200):
        codebook, x = draw(size, 3), draw(40, 3, 1)
        codes = nearest(x, codebook)
        x[::4] = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, float("nan")]).repeat(2)[:, None]
        again = nearest(x, codebook)
        assert ((again >= 0) & (again < size)).all()
        kept = torch.arange(40) % 4 > 0
        assert torch.equal(again[kept], codes[kept])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_precision_is_computed_in_float32_at_least(dtype):
    codebook, x = draw(100, 8).to(dtype), draw(200, 8, 1).to(dtype)
    assert excess(x, codebook, nearest(x, codebook)).max() <= 1
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest(x, codebook), nearest(x.double().to(dtype), codebook))
        assert torch.equal(nearest(x.float(), codebook.float()), nearest(x, codebook))


def test_float64_keeps_its_digits():
    codebook = 1.0 + 1e-12 * torch.arange(10.0, dtype=torch.float64)[:, None]
    assert torch.equal(nearest(codebook, codebook), torch.arange(10))


def test_no_gradient_and_no_trace_of_the_matmul_setting():
    x = draw(20, 3).requires_grad_()
    before = torch.get_float32_matmul_precision()
    assert not nearest(x, draw(9, 3).requires_grad_()).requires_grad
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("codebook", [torch.zeros(4, 2), torch.zeros(0, 3)])
def test_what_does_not_fit_is_named(codebook, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the shape hook of the tests speaks first
    with pytest.raises(ValueError, match="codebook of shape"):
        nearest(torch.zeros(5, 3), codebook)
