import math

import numpy as np
import pytest
import torch

from codeword.functional.allocation import clamp_gate, depth, hard_gate, margins, smooth_gate, straight_gate

LEVELS = 8


def by_hyperbolic_cosines(u, alpha):
    """Equation 7 as the paper writes it, in float64."""
    return np.log(np.cosh(alpha * (u + 0.5)) / np.cosh(alpha * (u - 0.5))) / (2 * alpha) + 0.5


def importance(count=1000, seed=0):
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))


def test_depth_is_the_sum_of_the_hard_gate():
    p = importance()
    for scale in (1.0, 3.7, 8.0, 48.0):
        found = depth(p, scale, LEVELS)
        wanted = [min(math.floor(np.float32(v) * np.float32(scale)) + 1, LEVELS) for v in p.numpy()]
        assert found.tolist() == wanted
        assert torch.equal(hard_gate(margins(p, scale, LEVELS)).sum(-1).long(), found)


def test_every_frame_spends_a_level_and_none_more_than_there_are():
    p = torch.tensor([0.0, 1e-9, 0.125, 0.9999, 1.0])
    assert depth(p, 8.0, LEVELS).tolist() == [1, 1, 2, 8, 8]
    assert depth(p, 48.0, LEVELS).tolist() == [1, 1, 7, 8, 8]


def test_scale_may_differ_by_item():
    p = torch.full((3, 5), 0.5)
    assert depth(p, torch.tensor([[1.0], [8.0], [48.0]]), LEVELS)[:, 0].tolist() == [1, 5, 8]


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 2.0, 8.0, 30.0])
def test_smooth_gate_is_the_papers(alpha):
    u = torch.linspace(-10, 10, 401, dtype=torch.float64)
    np.testing.assert_allclose(smooth_gate(u, alpha).numpy(), by_hyperbolic_cosines(u.numpy(), alpha), atol=1e-9)


@pytest.mark.parametrize("alpha", [100.0, 1e4])
def test_steep_gates_become_the_clamp(alpha):
    u = torch.linspace(-3, 3, 601)
    half, whole = smooth_gate(u, alpha), smooth_gate(u, alpha, shift=1.0)
    assert torch.isfinite(half).all()
    torch.testing.assert_close(half, (u + 0.5).clamp(0, 1), atol=1 / alpha, rtol=0)
    torch.testing.assert_close(whole, clamp_gate(u), atol=1 / alpha, rtol=0)


def test_half_a_gate_at_the_threshold():
    assert smooth_gate(torch.zeros(1), 2.0).item() == pytest.approx(0.5)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_derivatives_integrate_to_one_and_add_up_to_one(alpha):
    u = torch.linspace(-60, 60, 120_001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(smooth_gate(u, alpha).sum(), u)
    assert torch.trapezoid(slope, u.detach()).item() == pytest.approx(1.0, abs=1e-6)
    wanted = torch.sigmoid(alpha * (2 * u + 1)) - torch.sigmoid(alpha * (2 * u - 1))
    torch.testing.assert_close(slope, wanted.detach())
    x = torch.linspace(2, 5, 31, dtype=torch.float64, requires_grad=True)
    (sums,) = torch.autograd.grad(smooth_gate(x.unsqueeze(-1) - torch.arange(-40, 60), alpha).sum(), x)
    torch.testing.assert_close(sums, torch.ones_like(sums), atol=1e-6, rtol=0)


def test_gradients_by_finite_differences():
    u = torch.linspace(-2.3, 3.1, 17, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: smooth_gate(v, 1.5), u)
    assert torch.autograd.gradcheck(clamp_gate, u)


def test_straight_gate_has_the_value_of_one_and_the_derivative_of_the_other():
    u = torch.linspace(-2, 2, 9, requires_grad=True)
    gate = straight_gate(hard_gate(u), smooth_gate(u, 1.0))
    assert torch.equal(gate.detach(), (u.detach() >= 0).float())
    (slope,) = torch.autograd.grad(gate.sum(), u)
    (wanted,) = torch.autograd.grad(smooth_gate(u, 1.0).sum(), u)
    assert torch.equal(slope, wanted)
