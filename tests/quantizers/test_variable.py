import pytest
import torch

from codeword.quantizers import Cosine, Gradient, Projected, ResidualQuantizer, Uniform, VectorQuantizer
from codeword.quantizers.config import build, describe
from codeword.quantizers.variable import Clamp, Smooth, VariableQuantizer

DIM, LEVELS, SIZE = 12, 4, 16


def quantizer(surrogate=None):
    torch.manual_seed(0)
    books = [VectorQuantizer(5, SIZE, learning=Gradient(), geometry=Cosine(), seeding=Uniform()) for _ in range(LEVELS)]
    return VariableQuantizer(ResidualQuantizer([Projected(book, DIM) for book in books]), surrogate=surrogate)


def frames(batch=3, count=7):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, count, DIM, generator=generator)
    return x, torch.rand(batch, count, generator=generator)


def test_codes_are_present_down_to_the_depth():
    variable = quantizer().eval()
    x, p = frames()
    for scale in (1.0, 2.5, 4.0, 24.0):
        codes = variable.encode(x, p, scale)
        assert torch.equal((codes >= 0).sum(-1), variable.depth(p, scale))
        assert torch.equal(variable(x, p, scale).codes, codes)


def test_the_masked_sum_is_what_a_prefix_decodes_to():
    variable = quantizer().eval()
    x, p = frames()
    all_codes = variable.quantizer.encode(x)
    depth = variable.depth(p, 4.0)
    wanted = torch.stack(
        [variable.quantizer.decode(torch.where(torch.arange(LEVELS) < n, all_codes, -1)) for n in range(1, LEVELS + 1)]
    )
    picked = wanted.gather(0, (depth - 1)[None, ..., None].expand(1, *x.shape)).squeeze(0)
    torch.testing.assert_close(variable(x, p, 4.0).vectors, picked, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("surrogate", [Smooth(1.0), Smooth(4.0, shift=1.0), Clamp()])
def test_importance_gets_the_surrogates_gradient(surrogate):
    variable = quantizer(surrogate).train()
    x, p = frames()
    p.requires_grad_()
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    (grad,) = torch.autograd.grad((variable(x, p, 4.0).vectors * upstream).sum(), p)
    codes = variable.quantizer.eval().encode(x)
    shares = [
        variable.quantizer.decode(torch.where(torch.arange(LEVELS) <= level, codes, -1))
        - variable.quantizer.decode(torch.where(torch.arange(LEVELS) < level, codes, -1))
        for level in range(LEVELS)
    ]
    u = (p.detach() * 4.0).requires_grad_()
    soft = surrogate(u.unsqueeze(-1) - torch.arange(LEVELS))
    (wanted,) = torch.autograd.grad((soft * torch.stack([(s * upstream).sum(-1) for s in shares], -1)).sum(), u)
    torch.testing.assert_close(grad, 4.0 * wanted, atol=1e-5, rtol=1e-4)


def test_scales_beyond_the_range_are_refused():
    x, p = frames()
    variable = quantizer().eval()
    for scale in (0.5, 24.1, torch.tensor([[1.0], [2.0], [30.0]])):
        with pytest.raises(ValueError, match="between 1 and 24"):
            variable.encode(x, p, scale)


def test_needs_levels_to_leave_out():
    with pytest.raises(ValueError, match="VectorQuantizer has none"):
        VariableQuantizer(VectorQuantizer(4, 8))


def test_surrogates_are_described():
    for surrogate in (Smooth(0.5, shift=1.0), Clamp()):
        assert build(describe(surrogate)) == surrogate
    with pytest.raises(ValueError, match="alpha"):
        Smooth(0.0)
