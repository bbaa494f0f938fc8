import math

import pytest
import torch
from torch.autograd import gradcheck

from codeword.functional.similarity import sdr, si_sdr, snr
from reference import similarity as slow

EXACT = 1e-9  # decibels, of float64
SINGLE = 1e-3  # decibels, of float32 at 20 dB


def pair(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    reference = torch.randn(shape, generator=generator, dtype=torch.float64)
    return 0.8 * reference + 0.1 * torch.randn(shape, generator=generator, dtype=torch.float64), reference


@pytest.mark.parametrize("seed", range(5))
def test_equal_least_squares(seed):
    estimate, reference = pair(seed, 3, 300)
    estimate = estimate + 0.3 * reference.roll(2, -1)
    for i in range(3):
        mine, theirs = estimate[i].numpy(), reference[i].numpy()
        assert snr(estimate, reference)[i].item() == pytest.approx(slow.snr(mine, theirs), abs=EXACT)
        assert si_sdr(estimate, reference)[i].item() == pytest.approx(slow.sdr(mine, theirs, 1), abs=EXACT)
        mine, theirs = mine - mine.mean(), theirs - theirs.mean()
        expected = slow.sdr(mine, theirs, 1)
        assert si_sdr(estimate, reference, zero_mean=True)[i].item() == pytest.approx(expected, abs=EXACT)
        for taps in (1, 5, 40):
            expected = slow.sdr(estimate[i].numpy(), reference[i].numpy(), taps)
            assert sdr(estimate, reference, taps=taps)[i].item() == pytest.approx(expected, abs=1e-6)


def test_scale_and_filter_do_not_matter_where_they_should_not():
    estimate, reference = pair(10, 2000)
    assert si_sdr(7 * estimate, reference).item() == pytest.approx(si_sdr(estimate, reference).item(), abs=EXACT)
    assert snr(7 * estimate, reference).item() < -10
    delayed = torch.nn.functional.pad(reference, (100, 0))[:2000]
    assert si_sdr(delayed, reference).item() < 0
    assert sdr(delayed, reference).item() > 10


def test_orthogonal_noise_by_hand():
    reference, error = torch.tensor([3.0, 0.0, 4.0, 0.0]), torch.tensor([0.0, 0.3, 0.0, 0.4])
    assert si_sdr(reference + error, reference).item() == pytest.approx(20, abs=SINGLE)
    assert snr(reference + error, reference).item() == pytest.approx(20, abs=SINGLE)


def test_equal_and_silent_signals_stay_finite():
    _, reference = pair(11, 100)
    assert si_sdr(reference, reference) > 150
    assert snr(reference, reference) > 150
    silence = torch.zeros(100)
    assert si_sdr(silence, silence) == 0
    assert si_sdr(reference, silence.double()) < -100


@pytest.mark.parametrize("ratio", [snr, si_sdr, lambda x, y: sdr(x, y, taps=4)])
def test_derivatives_by_finite_differences(ratio):
    estimate, reference = pair(12, 2, 40)
    assert gradcheck(lambda x: ratio(x, reference), estimate.requires_grad_())


def test_half_precision_is_computed_in_single():
    estimate, reference = (x.bfloat16() for x in pair(13, 100))
    assert si_sdr(estimate, reference) == si_sdr(estimate.float(), reference.float())
    assert math.isfinite(snr(estimate, reference))
