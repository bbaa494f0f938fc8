"""The estimators, compared with the formulas of their docstrings."""

import pytest
import torch

from codeword.functional.gradient import directional, noise_substitution, rotation, straight_through, weighed_error
from contracts.steps import vectors

DIM = 6
ROUNDING = 2e-6  # of sums of a few float32 numbers of size 1
EYE = torch.eye(DIM)


def pair(rows=5):
    return vectors(rows, DIM, seed=1).requires_grad_(), vectors(rows, DIM, seed=2).requires_grad_()


def slopes(value, x, c):
    g = vectors(len(x), DIM, seed=4)
    return g, *torch.autograd.grad((value * g).sum(), [x, c])


def test_straight_through_is_the_codeword_to_the_bit():
    x, c = pair()
    out = straight_through(1e6 * x, c)
    assert torch.equal(out, c)
    assert torch.equal(torch.autograd.grad(out.sum(), x)[0], torch.full_like(x, 1e6))


def test_straight_through_may_be_changed_in_place():
    x, c = pair()
    out = straight_through(x, c)
    expected = (c > 0).float()
    assert torch.equal(torch.autograd.grad(torch.relu_(out).sum(), x)[0], expected)


def test_noise_substitution_has_the_derivatives_of_its_docstring():
    x, c = pair()
    noise = vectors(5, DIM, seed=3)
    out = noise_substitution(x, c, noise)
    error = (c - x).norm(dim=1, keepdim=True)
    u, e = noise / noise.norm(dim=1, keepdim=True), (c - x) / error
    torch.testing.assert_close(out, x + error * u, rtol=0, atol=ROUNDING)
    g, dx, dc = slopes(out, x, c)
    along = (u * g).sum(1, keepdim=True)
    torch.testing.assert_close(dc, e * along, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(dx, g - e * along, rtol=0, atol=ROUNDING)


def test_noise_substitution_weighs_features_by_equation_9():
    x, c = pair()
    noise, w = vectors(5, DIM, seed=3), torch.tensor([0.5, 1.0, 2.0, 3.0, 0.1, 1.5])
    moved = noise_substitution(x, c, noise, w) - x
    torch.testing.assert_close((w * moved).norm(dim=1), (w * (x - c)).norm(dim=1), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        w * moved / (w * moved).norm(dim=1, keepdim=True), noise / noise.norm(dim=1, keepdim=True)
    )


@pytest.mark.parametrize("function", [noise_substitution, lambda x, c, n: directional(x, c, n, 1e-3)])
def test_an_error_of_zero_is_finite(function):
    x, _ = pair()
    c = x.detach().clone().requires_grad_()
    out = function(x, c, vectors(5, DIM, seed=3))
    assert torch.equal(out, x)
    g, dx, dc = slopes(out, x, c)
    assert torch.equal(dx, g)
    assert torch.equal(dc, torch.zeros_like(dc))


def test_directional_has_its_derivatives_and_the_length_of_the_error():
    x, c = pair()
    noise = vectors(5, DIM, seed=3)
    out = directional(x, c, noise, 0.04)
    error = (c - x).norm(dim=1, keepdim=True)
    d = (c - x + 0.2 * noise) / (c - x + 0.2 * noise).norm(dim=1, keepdim=True)
    torch.testing.assert_close(out, x + error * d, rtol=0, atol=ROUNDING)
    g, dx, dc = slopes(out, x, c)
    e, along = (c - x) / error, (d * g).sum(1, keepdim=True)
    torch.testing.assert_close(dc, e * along, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(dx, g - e * along, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(directional(x, c, noise, 0.0), c, rtol=0, atol=ROUNDING)


def test_directional_takes_its_variance_for_a_variance():
    # Unit errors in 512 dimensions: the cosine to the error is 1 / sqrt(1 + 512 * variance), .81 at 1e-3; were the
    # number taken for a standard deviation, as in the released code, it would be .9997.
    x = torch.zeros(400, 512)
    c = torch.nn.functional.normalize(vectors(400, 512, seed=2), dim=1)
    cosine = (directional(x, c, vectors(400, 512, seed=3), 1e-3) * c).sum(1)
    assert abs(cosine.mean() - (1 + 0.512) ** -0.5) < 5e-3


def test_rotation_turns_and_scales():
    for x, c in zip(*[t.detach() for t in pair()], strict=True):
        turn = torch.autograd.functional.jacobian(lambda one, c=c: rotation(one, c, 1e9), x) * x.norm() / c.norm()
        torch.testing.assert_close(turn @ turn.t(), EYE, rtol=0, atol=10 * ROUNDING)
        assert abs(torch.linalg.det(turn) - 1) < 1e-4
        torch.testing.assert_close(turn @ x * c.norm() / x.norm(), c, rtol=0, atol=10 * ROUNDING)
        aside = torch.linalg.qr(torch.stack([x, c, *EYE[:4]], 1)).Q[:, 2:]  # what is orthogonal to both stays
        torch.testing.assert_close(turn @ aside, aside, rtol=0, atol=10 * ROUNDING)


@pytest.mark.parametrize("length", [1.0, 1e-3, 1e-12, 1e-30, 0.0])
def test_rotation_is_bounded_and_keeps_the_code(length):
    x, c = pair()
    x = (length * x.detach()).requires_grad_()
    out = rotation(x, c.detach(), 2.0)
    assert torch.equal(out, c)
    g = vectors(5, DIM, seed=4)
    grad = torch.autograd.grad((out * g).sum(), x)[0]
    assert (grad.norm(dim=1) <= 2.0 * g.norm(dim=1) * (1 + 1e-5)).all()
    if length == 0:
        assert torch.equal(grad, g)
    opposite = rotation(x, -c.detach(), 2.0)
    assert torch.isfinite(torch.autograd.grad(opposite.sum(), x)[0]).all()


@pytest.mark.parametrize("aside", [0.0, 1e-7, 1e-6, 1e-5, 1e-3])
def test_rotation_of_opposite_vectors_keeps_lengths(aside):
    for c in vectors(20, DIM, seed=2):
        x = -c + aside * vectors(1, DIM, seed=3)[0]
        turn = torch.autograd.functional.jacobian(lambda one, c=c: rotation(one, c, 1e9), x) * x.norm() / c.norm()
        torch.testing.assert_close(turn @ turn.t(), EYE, rtol=0, atol=5e-3)
        torch.testing.assert_close(turn @ x * c.norm() / x.norm(), c, rtol=0, atol=5e-3)


@pytest.mark.parametrize(("codebook", "commitment"), [(1.0, 0.25), (0.0, 0.25), (0.7, 0.0), (0.0, 0.0)])
def test_the_weighed_error_is_the_sum_of_its_two_losses(codebook, commitment):
    x, c = pair()
    losses, errors = weighed_error(x, c, codebook=codebook, commitment=commitment)
    expected = codebook * (x.detach() - c).square().mean(1) + commitment * (x - c.detach()).square().mean(1)
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(errors, (x - c).square().sum(1).detach())
    assert not errors.requires_grad
    weight = vectors(5, 1)[:, 0]
    found = torch.autograd.grad((losses * weight).sum(), [x, c], allow_unused=True)
    wanted = torch.autograd.grad((expected * weight).sum(), [x, c])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(torch.zeros_like(other) if one is None else one, other)


def test_the_weighed_error_can_be_differentiated_twice():
    x, c = (t.detach().double().requires_grad_() for t in pair())
    weight = vectors(5, 1)[:, 0].double().requires_grad_()

    def curvatures(losses):
        dx, dc = torch.autograd.grad((losses * weight).sum(), [x, c], create_graph=True)
        return torch.autograd.grad(dx.pow(3).sum() + dc.exp().sum(), [x, c, weight])

    found = curvatures(weighed_error(x, c, codebook=0.7, commitment=0.25).losses)
    wanted = curvatures((0.7 * (x.detach() - c).square() + 0.25 * (x - c.detach()).square()).mean(1))
    torch.testing.assert_close(found, wanted)


def test_derivatives_are_functions_too():
    x, c = (t.detach() for t in pair())

    def value(one):
        return weighed_error(one, c, codebook=1.0, commitment=0.25).losses.sum() + straight_through(one, c).sum()

    torch.testing.assert_close(torch.func.grad(value)(x), 0.5 / DIM * (x - c) + 1)


def test_the_weighed_error_is_computed_in_float32():
    x, c = (t.detach().to(torch.bfloat16) for t in pair())
    expected = (x.double() - c.double()).square().sum(1)
    with torch.autocast("cpu", torch.bfloat16):
        losses, errors = weighed_error(x, c, codebook=1.0, commitment=0.0)
    torch.testing.assert_close(errors.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(losses.double(), expected / DIM, rtol=1e-6, atol=0)
