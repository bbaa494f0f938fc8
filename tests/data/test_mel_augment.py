import math

import pytest
import torch
from torch.testing import assert_close

from codeword.data.audio_files import read_audio
from codeword.data.audio_samples import SILENCE, AudioSample, AudioSampleConfig, read_sample
from codeword.data.listing import Item
from codeword.data.mel_augment import (
    BetaGain,
    MelMixup,
    MelNoise,
    RollTime,
    SpecAugment,
    bridle_augmentations,
)
from codeword.functional.filterbank import MelConfig, log_mel
from codeword.quantizers.config import build, describe
from contracts.audio_samples import SPEECH

ALL = [RollTime(), BetaGain(), SpecAugment(time=6, bins=3), MelNoise()]
FRAMES, BINS, VALID = 24, 8, 17


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def waveform(path, start, samples):
    audio = read_audio(path, start, samples)
    return audio - audio.mean()


def sample(seed=0, valid=VALID):
    values = 3.0 * torch.randn(1, FRAMES, BINS, generator=generator(seed)) - 4.0
    values[:, 3, 0] = SILENCE
    values[:, valid:] = SILENCE
    return AudioSample(values, torch.arange(FRAMES) < valid)


@pytest.mark.parametrize("change", ALL, ids=lambda change: type(change).__name__)
def test_a_change_is_a_pure_function_that_leaves_padding_alone(change):
    before = sample()
    given = AudioSample(before.values.clone(), before.valid.clone())
    results = [change(given, generator(seed)) for seed in (7, 7, 8)]
    assert torch.equal(given.values, before.values)
    assert torch.equal(results[0].values, results[1].values)
    assert not torch.equal(results[0].values, results[2].values)
    assert not torch.equal(results[0].values, before.values)
    for result in results:
        assert result.values[:, VALID:].eq(SILENCE).all()
        assert torch.equal(result.valid, before.valid)
        assert result.values.isfinite().all()
    assert build(describe(change)) == change


@pytest.mark.parametrize("change", [*ALL, SpecAugment(time=9, bins=0)], ids=repr)
def test_what_is_not_valid_stays_wherever_it_is(change):
    given = sample(valid=FRAMES)._replace(valid=torch.arange(FRAMES) % 3 != 1)
    for seed in range(20):
        after = change(given, generator(seed)).values
        assert torch.equal(after[:, ~given.valid], given.values[:, ~given.valid])


def test_a_roll_begins_at_every_frame_alike():
    values = torch.arange(FRAMES).float()[None, :, None].expand(1, FRAMES, BINS)
    given = AudioSample(values, torch.arange(FRAMES) < VALID)
    counts = torch.zeros(VALID)
    for seed in range(680):
        rolled = RollTime()(given, generator(seed)).values[0, :, 0]
        first = int(rolled[0])
        assert rolled[:VALID].tolist() == [(first + place) % VALID for place in range(VALID)]
        assert rolled[VALID:].tolist() == list(range(VALID, FRAMES))
        counts[first] += 1
    assert (counts - 40).abs().max() < 4 * math.sqrt(40)


def test_a_gain_is_that_of_the_waveform():
    """The filterbank of an amplified waveform, but for what its floor cut off."""
    config = AudioSampleConfig(frames=50, mel=MelConfig(bins=20))
    before = read_sample(Item(path=SPEECH, start=1.0), config)
    for seed in range(5):
        after = BetaGain()(before, generator(seed))
        factor = torch.rand(19, generator=generator(seed), dtype=torch.float64).sort().values[9].item() + 0.5
        audio = factor * waveform(SPEECH, 16000, config.mel.samples(50))
        assert_close(after.values, log_mel(audio, 16000, config.mel), atol=1e-2, rtol=0)


def test_gains_are_distributed_as_the_paper_says():
    given = sample()
    gains = torch.tensor(
        [(BetaGain()(given, generator(seed)).values[0, 0, 0] - given.values[0, 0, 0]).item() for seed in range(1500)]
    )
    factors = gains.div(2).exp() - 0.5
    deviation = (10 * 10 / (20**2 * 21)) ** 0.5
    assert abs(factors.mean() - 0.5) < 4 * deviation / 1500**0.5
    assert abs(factors.std() / deviation - 1) < 4 / 3000**0.5
    flat = torch.tensor([(BetaGain(shape=1)(given, generator(seed)).values[0, 0, 0]).item() for seed in range(500)])
    assert flat.sub(given.values[0, 0, 0]).div(2).exp().sub(0.5).std() == pytest.approx(12**-0.5, rel=0.1)


def test_what_is_on_the_floor_stays_there():
    for seed in range(20):
        after = BetaGain()(sample(), generator(seed)).values
        assert after[0, 3, 0] == torch.tensor(SILENCE)
        assert after.min() >= torch.tensor(SILENCE)
    silent = log_mel(torch.zeros(1, 800), 16000)
    given = AudioSample(silent, torch.ones(3, dtype=torch.bool))
    assert all(torch.equal(BetaGain()(given, generator(seed)).values, silent) for seed in range(20))


def test_masks_are_stretches_within_their_bounds():
    given = sample()
    mean = given.values[:, :VALID].mean()
    widths = set()
    for seed in range(300):
        after = SpecAugment(time=5, bins=2)(given, generator(seed)).values[0]
        masked = after[:VALID] == mean
        rows, columns = masked.all(1).nonzero()[:, 0], masked.all(0).nonzero()[:, 0]
        for places in (rows, columns):
            assert places.numel() == 0 or places[-1] - places[0] + 1 == places.numel()
        expected = given.values[0].clone()
        expected[rows], expected[:VALID, columns] = mean, mean
        assert torch.equal(after, expected)
        widths.add((rows.numel(), columns.numel()))
    assert widths == {(row, column) for row in range(6) for column in range(3)}


def test_masks_leave_the_share_that_they_should():
    given, most = sample(valid=6), 0
    for seed in range(200):
        after = SpecAugment(time=192, bins=48, masks=1)(given, generator(seed)).values[0, :6]
        kept = after != given.values[0, :6].mean()
        assert kept.any(1).sum() >= 3
        assert kept.any(0).sum() >= BINS - 4
        most = max(most, 6 - int(kept.any(1).sum()))
    assert most == 3
    assert torch.equal(SpecAugment(masks=0)(given, generator()).values, given.values)


def test_noise_has_the_ratio_that_was_asked_for():
    given = sample(valid=FRAMES)
    given = given._replace(values=given.values.expand(1, FRAMES, BINS).repeat(1, 200, 50))
    given = given._replace(valid=torch.ones(200 * FRAMES, dtype=torch.bool))
    for decibels in (0.0, 20.0):
        after = MelNoise(low=decibels, high=decibels)(given, generator(1)).values.double().exp()
        signal = given.values.double().exp()
        noise = after - signal
        assert 10 * math.log10(signal.mean() / noise.mean()) == pytest.approx(decibels, abs=0.05)
        assert noise.std() / noise.mean() == pytest.approx(1.0, abs=0.02)  # of an exponential distribution
    assert noise.min() >= 0


def test_a_mixture_is_that_of_the_waveforms():
    """Phases agree here and disagree there: the energies of bins differ, their sum does not."""
    config = AudioSampleConfig(frames=200, mel=MelConfig(bins=10))
    samples = config.mel.samples(config.frames)
    a, b = waveform(SPEECH, 16000, samples), waveform(SPEECH, 64000, samples)
    parts = [read_sample(Item(path=SPEECH, start=start), config) for start in (1.0, 4.0)]
    mixed = MelMixup()(*parts, generator(3))
    share = torch.rand(19, generator=generator(3), dtype=torch.float64).sort().values[9].item()
    assert mixed.share == share
    heard = log_mel(share * a + (1 - share) * b, 16000, config.mel)
    assert (mixed.sample.values.exp().sum((0, 1)) / heard.exp().sum((0, 1))).log().abs().max() < 0.1
    assert (mixed.sample.values - heard).abs().mean() < 0.5


def test_a_mixture_is_as_long_as_its_longer_part():
    a, b = sample(1, valid=5), sample(2, valid=11)
    mixed = MelMixup()(a, b, generator(4))
    assert torch.equal(mixed.sample.valid, b.valid)
    alone = (b.values[:, 5:11] + 2 * math.log(1 - mixed.share)).clamp_min(SILENCE)
    assert_close(mixed.sample.values[:, 5:11], alone)
    assert mixed.sample.values[:, 11:].eq(SILENCE).all()
    other_way = MelMixup()(b, a, generator(4))
    assert_close(other_way.sample.values[:, 5:11], (b.values[:, 5:11] + 2 * math.log(mixed.share)).clamp_min(SILENCE))
    assert build(describe(MelMixup(shape=3))) == MelMixup(shape=3)


def test_what_mixes_is_marked():
    assert {type(change).__name__ for change in ALL if change.mixing} == {"MelNoise"}
    assert MelMixup.mixing
    assert [type(change).__name__ for change in bridle_augmentations()] == ["BetaGain", "RollTime"]


@pytest.mark.parametrize("make", [lambda: BetaGain(shape=0), lambda: MelMixup(shape=0), lambda: SpecAugment(most=2.0)])
def test_what_cannot_be_is_refused(make):
    with pytest.raises(ValueError, match="got"):
        make()
