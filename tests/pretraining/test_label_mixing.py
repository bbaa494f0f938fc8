import math

import pytest
import torch

from codeword.data.audio_samples import SILENCE, AudioSample, MelStatistics, normalized
from codeword.data.mel_augment import SpecAugment
from codeword.pretraining.label_mixing import CutMix, MelLabelMixup, Mixup, spec_augmented

TOLERANCE = 1e-5
STATISTICS = MelStatistics(mean=-5.0, deviation=3.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def recording(seed, frames=20, valid=20):
    values = 3 * torch.randn(1, frames, 6, generator=generator(seed)) - 5
    mask = torch.arange(frames) < valid
    return AudioSample(torch.where(mask[:, None], values, SILENCE), mask)


def test_mixup_is_the_weighted_mean_and_its_weight_that_of_the_label():
    x, other = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)
    found = Mixup(shape=0.8)(x, other, generator())
    assert torch.allclose(found.values, torch.full((1, 4, 4), 1 - found.share), atol=TOLERANCE)
    again = Mixup(shape=0.8)(x, other, generator())
    assert again.share == found.share != Mixup(shape=0.8)(x, other, generator(1)).share


def test_shares_are_distributed_as_beta():
    x = torch.zeros(1, 1, 1)
    draws = generator()
    shares = torch.tensor([Mixup(shape=2.0)(x, x, draws).share for _ in range(2000)])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * 2 + 1)), abs=0.005)


@pytest.mark.parametrize("size", [(8, 12), (3, 8, 12)])
def test_cutmix_takes_a_rectangle_and_counts_it(size):
    x, other, draws = torch.zeros(2, *size), torch.ones(2, *size), generator()
    areas = []
    for _ in range(50):
        found = CutMix()(x, other, draws)
        assert found.share == pytest.approx(1 - float(found.values.mean()))
        flat = found.values.flatten(0, -3)
        assert all(torch.equal(flat[0], frame) for frame in flat)
        rows, columns = flat[0].any(1).sum(), flat[0].any(0).sum()
        assert int(flat[0].sum()) == int(rows * columns)
        areas.append(1 - found.share)
    assert min(areas) < 0.2 and max(areas) > 0.4
    assert not x.any()


def test_log_mels_are_mixed_by_energy_and_padding_is_silent():
    first, second = recording(1, valid=20), recording(2, valid=10)
    found = MelLabelMixup(statistics=STATISTICS)(
        normalized(first, STATISTICS).values, normalized(second, STATISTICS).values, generator()
    )
    share = found.share
    raw = 2 * STATISTICS.deviation * found.values + STATISTICS.mean
    energy = share**2 * first.values.exp() + (1 - share) ** 2 * second.values.exp()
    assert torch.allclose(raw[:, :10], energy.log()[:, :10], atol=1e-4)
    assert torch.allclose(raw[:, 10:], (first.values + 2 * math.log(share)).clamp_min(SILENCE)[:, 10:], atol=1e-4)


def test_spec_augment_masks_what_is_no_padding_to_the_mean():
    x = normalized(recording(3, valid=12), STATISTICS).values
    rule = SpecAugment(time=5, bins=2, masks=1)
    changed = [spec_augmented(rule, x, generator(seed)) for seed in range(10)]
    assert any(not torch.equal(part, x) for part in changed)
    for part in changed:
        assert not part[:, 12:].any()
        assert torch.allclose(part[part != x], x[:, :12].mean(), atol=TOLERANCE)
    silence = torch.zeros(1, 20, 6)
    assert torch.equal(spec_augmented(rule, silence, generator()), silence)


def test_a_shape_that_is_none_is_refused():
    for rule in (Mixup, CutMix):
        with pytest.raises(ValueError, match="above 0"):
            rule(shape=0.0)
