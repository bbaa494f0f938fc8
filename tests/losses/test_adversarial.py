import pytest
import torch
from torch.autograd import gradcheck

from codeword.losses.adversarial import discriminator_loss, feature_matching_loss, generator_loss

EXACT = 1e-12


def maps(seed, *, scale=1.0):
    """Two discriminators with two and one maps before their verdicts; some maps have channels last."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [[(2, 3, 4, 5), (2, 3, 2, 2), (2, 1, 2, 2)], [(2, 4, 6), (2, 1, 6)]]
    found = [[scale * torch.randn(s, generator=generator, dtype=torch.float64) for s in some] for some in shapes]
    found[0][0] = found[0][0].contiguous(memory_format=torch.channels_last)
    return found


def mean(values):
    return sum(values) / len(values)


def test_equal_loops():
    made, real = maps(0), maps(1)
    flat = (
        [[x.flatten().tolist() for x in some] for some in made],
        [[x.flatten().tolist() for x in some] for some in real],
    )
    judged = sum(
        mean([v * v for v in fake[-1]]) + mean([(1 - v) ** 2 for v in true[-1]])
        for fake, true in zip(*flat, strict=True)
    )
    fooled = sum(mean([(1 - v) ** 2 for v in fake[-1]]) for fake in flat[0])
    matched = sum(
        mean([abs(a - b) for a, b in zip(x, y, strict=True)])
        for fake, true in zip(*flat, strict=True)
        for x, y in zip(fake[:-1], true[:-1], strict=True)
    )
    assert discriminator_loss(made, real).item() == pytest.approx(judged, rel=EXACT)
    assert generator_loss(made).item() == pytest.approx(fooled, rel=EXACT)
    assert feature_matching_loss(made, real).item() == pytest.approx(matched, rel=EXACT)


def test_best_verdicts_cost_nothing():
    zero = [[torch.zeros(2, 1, 3)], [torch.zeros(2, 1, 5)]]
    one = [[torch.ones(2, 1, 3)], [torch.ones(2, 1, 5)]]
    assert discriminator_loss(zero, one) == 0
    assert discriminator_loss(one, zero) == 4
    assert generator_loss(one) == 0
    assert generator_loss(zero) == 2


def test_derivatives_by_finite_differences():
    real = maps(1)
    leaves = [x.requires_grad_() for some in maps(0) for x in some]

    def grouped(flat):
        return [list(flat[:3]), list(flat[3:])]

    assert gradcheck(lambda *x: discriminator_loss(grouped(x), real), leaves, fast_mode=True)
    assert gradcheck(lambda *x: generator_loss(grouped(x)), leaves, fast_mode=True)
    assert gradcheck(lambda *x: feature_matching_loss(grouped(x), real), leaves, fast_mode=True)


def test_features_of_real_signals_and_verdicts_learn_nothing_from_matching():
    made, real = ([[x.requires_grad_() for x in some] for some in maps(seed)] for seed in (0, 1))
    feature_matching_loss(made, real).backward()
    assert all(x.grad is None for some in real for x in some)
    assert all(some[-1].grad is None for some in made)
    assert all(x.grad is not None for some in made for x in some[:-1])


def test_half_precision_is_summed_in_single():
    made, real = ([[x.bfloat16() for x in some] for some in maps(seed)] for seed in (0, 1))
    wide_made, wide_real = ([[x.float() for x in some] for some in half] for half in (made, real))
    assert torch.equal(discriminator_loss(made, real), discriminator_loss(wide_made, wide_real))
    assert torch.equal(generator_loss(made), generator_loss(wide_made))
    assert torch.equal(feature_matching_loss(made, real), feature_matching_loss(wide_made, wide_real))


def test_different_discriminators_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        discriminator_loss(maps(0), maps(1)[:1])
