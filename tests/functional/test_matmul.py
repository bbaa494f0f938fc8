import pytest
import torch
import torch.nn.functional as F

from codeword.functional.matmul import fast_matmul, linear, wide

ROUNDING = 1e-5  # of inner products of size 10


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("batch", [(), (0,), (1,), (5,), (128,), (300,), (2, 3), (2, 0)])
@pytest.mark.parametrize(("dim", "out"), [(7, 3), (1, 1), (40, 64)])
def test_linear_is_the_product(batch, dim, out):
    x, weight = draw(*batch, dim).requires_grad_(), draw(out, dim, seed=1).requires_grad_()
    y = linear(x, weight)
    expected = x.double() @ weight.double().t()
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=ROUNDING)
    slope = draw(*batch, out, seed=2)
    found = torch.autograd.grad((y * slope).sum(), [x, weight])
    wanted = torch.autograd.grad((expected * slope).sum(), [x, weight])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_linear_differentiates_in_float64():
    x, weight = draw(4, 3).double().requires_grad_(), draw(2, 3, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(linear, (x, weight))


def test_rows_do_not_depend_on_their_company():
    x, weight = draw(400, 37), draw(19, 37, seed=1)
    y = linear(x, weight)
    for rows in (1, 3, 127, 128, 129):
        assert torch.equal(torch.cat([linear(part, weight) for part in x.split(rows)]), y)
    assert torch.equal(linear(x[5:], weight), y[5:])
    assert torch.equal(linear(x.t().contiguous().t(), weight), y)
    assert torch.equal(linear(x, weight.t().contiguous().t()), y)
    assert torch.equal(linear(x.flip(0), weight), y.flip(0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_multiplied_in_float32(dtype):
    x, weight = draw(9, 40).to(dtype).requires_grad_(), draw(5, 40, seed=1).to(dtype).requires_grad_()
    y = linear(x, weight)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.double(), x.double() @ weight.double().t(), rtol=0, atol=ROUNDING)
    y.sum().backward()
    assert x.grad.dtype == dtype
    assert weight.grad.dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(linear(x, weight), y)


def test_wide_keeps_what_is_wide():
    for dtype, expected in [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64,) * 2]:
        assert wide(torch.zeros(1, dtype=dtype)).dtype == expected


@pytest.mark.parametrize("before", ["highest", "high", "medium"])
def test_the_fast_mode_keeps_accuracy_and_is_given_back(before):
    original = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(before)
        a, b = draw(200, 300), draw(300, 100, seed=1)
        with fast_matmul():
            product = a @ b
        with pytest.raises(KeyError), fast_matmul():
            raise KeyError
        assert torch.get_float32_matmul_precision() == before
    finally:
        torch.set_float32_matmul_precision(original)
    assert (product - a.double() @ b.double()).abs().max() < 1e-4
    torch.testing.assert_close(F.linear(a, b.t()).double(), a.double() @ b.double(), rtol=0, atol=1e-4)
