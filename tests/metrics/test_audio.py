import math
import sys
from pathlib import Path

import pytest
import soundfile
import soxr
import torch

from codeword.functional.spectral_distance import MelScales, StftScales
from codeword.losses.audio import mel_loss, stft_loss, waveform_loss
from codeword.metrics.audio import (
    align,
    mel_distance,
    pesq,
    sdr,
    si_sdr,
    snr,
    stft_distance,
    stoi,
    visqol,
    waveform_distance,
)
from reference import similarity as slow

EXACT = 1e-9  # decibels, of float64
RATE = 16000
SCALES = MelScales(sample_rate=RATE)
BATCHED = [snr, si_sdr, sdr, lambda x, y: mel_distance(x, y, SCALES), stft_distance, waveform_distance]
SINGLE = [lambda x, y: pesq(x, y, RATE), lambda x, y: stoi(x, y, RATE), lambda x, y: visqol(x, y, RATE, "speech")]
SPEECH = torch.from_numpy(soundfile.read(Path(__file__).parents[1] / "fixtures" / "ru_0001.flac")[0]).float()[:32000]


def noisy(signal, level=0.02, seed=0):
    return signal + level * torch.randn(signal.shape, generator=torch.Generator().manual_seed(seed))


def clips(count, time=4000):
    return SPEECH[: count * time].reshape(count, time)


def test_ratios_equal_least_squares():
    reference, estimate = clips(2), noisy(clips(2))
    for i in range(2):
        x, y = estimate[i].double().numpy(), reference[i].double().numpy()
        assert si_sdr(reference, estimate)[i].item() == pytest.approx(slow.sdr(x, y, 1), abs=EXACT)
        assert snr(reference, estimate)[i].item() == pytest.approx(slow.snr(x, y), abs=EXACT)
        assert sdr(reference, estimate)[i].item() == pytest.approx(slow.sdr(x, y, 512), abs=1e-3)
    centred = si_sdr(reference + 1.0, estimate, zero_mean=True)
    assert centred.tolist() == pytest.approx(si_sdr(reference, estimate, zero_mean=True).tolist(), abs=1e-3)
    assert (si_sdr(reference + 1.0, estimate) < centred).all()


def test_distances_are_the_losses_clip_by_clip():
    reference, estimate = clips(3), noisy(clips(3))
    for metric, loss in (
        (lambda x, y: mel_distance(x, y, SCALES), lambda x, y: mel_loss(x, y, SCALES)),
        (stft_distance, stft_loss),
        (
            lambda x, y: stft_distance(x, y, StftScales(windows=(64,))),
            lambda x, y: stft_loss(x, y, StftScales(windows=(64,))),
        ),
        (waveform_distance, waveform_loss),
    ):
        values = metric(reference, estimate)
        assert values.shape == (3,)
        assert values.tolist() == pytest.approx([loss(y, x).item() for x, y in zip(reference, estimate, strict=True)])


@pytest.mark.parametrize("metric", BATCHED)
def test_each_clip_has_its_own_number(metric):
    reference, estimate = clips(3), noisy(clips(3))
    values = metric(reference, estimate)
    assert values.tolist() == pytest.approx([metric(x, y).item() for x, y in zip(reference, estimate, strict=True)])
    stereo = metric(reference.repeat(2, 1).reshape(2, 3, -1), estimate.repeat(2, 1).reshape(2, 3, -1))
    assert stereo.reshape(-1).tolist() == pytest.approx(values.repeat(2).tolist())
    assert not metric(reference, estimate.requires_grad_()).requires_grad


@pytest.mark.parametrize("metric", [snr, si_sdr, sdr])
def test_a_silent_reference_has_no_ratio(metric):
    reference, estimate = clips(2).clone(), noisy(clips(2))
    reference[0] = 0.0
    values = metric(reference, estimate)
    assert values.isnan().tolist() == [True, False]
    assert metric(clips(1), torch.zeros(1, 4000)).item() < 1e-6


def test_perceptual_scores_fall_with_noise():
    worse, better = noisy(SPEECH, 0.05), noisy(SPEECH, 0.005)
    for metric in SINGLE:
        low, high, best = metric(SPEECH, worse), metric(SPEECH, better), metric(SPEECH, SPEECH)
        assert low < high < best
        assert metric(SPEECH, worse) == low
    assert pesq(SPEECH, SPEECH, RATE) == pytest.approx(4.644, abs=1e-3)  # the top of P.862.2
    assert stoi(SPEECH, SPEECH, RATE) == pytest.approx(1)
    assert visqol(SPEECH, SPEECH, RATE, "speech") == pytest.approx(4.511, abs=1e-2)  # the polynomial would say 5
    assert 0 < stoi(SPEECH, worse, RATE, extended=True) < stoi(SPEECH, worse, RATE)


def test_narrow_band_and_audio_mode():
    low = torch.from_numpy(soxr.resample(SPEECH.numpy(), RATE, 8000))
    assert pesq(low, low, 8000) == pytest.approx(4.549, abs=1e-3)  # the top of P.862.1
    high = torch.from_numpy(soxr.resample(SPEECH[:16000].numpy(), RATE, 48000))
    assert visqol(high, high, 48000) == pytest.approx(4.732, abs=1e-3)
    assert visqol(high, noisy(high), 48000) < 3


@pytest.mark.parametrize("metric", SINGLE)
def test_undefined_scores_are_none_and_silence_for_sound_is_the_worst(metric):
    silence = torch.zeros_like(SPEECH)
    assert metric(silence, silence) is None
    assert metric(silence, SPEECH) is None
    assert metric(SPEECH, silence) in (0.0, 1.0)
    assert metric(SPEECH[8000:10400], SPEECH[8000:10400]) is None


def test_clips_without_enough_sound():
    sparse = torch.zeros(32000)
    sparse[8000:10000] = SPEECH[20000:22000]
    assert stoi(sparse, noisy(sparse, 1e-4), RATE) is None
    bursts = noisy(torch.zeros(32000), 0.3) * (torch.arange(32000) % 5120 < 1600)  # 0.1 s each: no utterance
    assert pesq(bursts, noisy(bursts), RATE) is None


@pytest.mark.parametrize("metric", BATCHED + SINGLE)
def test_what_is_refused(metric):
    broken = SPEECH.clone()
    broken[7] = math.nan
    with pytest.raises(ValueError, match="the estimate holds a value that is not finite at sample 7"):
        metric(SPEECH, broken)
    broken[7] = math.inf
    with pytest.raises(ValueError, match="the reference holds a value that is not finite at sample 7"):
        metric(broken, SPEECH)
    with pytest.raises(ValueError, match=r"shapes differ: reference \(32000,\), estimate \(31999,\); .*align"):
        metric(SPEECH, SPEECH[1:])
    with pytest.raises(ValueError, match="the reference is empty"):
        metric(torch.zeros(0), torch.zeros(0))


@pytest.mark.parametrize("metric", BATCHED)
def test_other_batches_are_refused(metric):
    with pytest.raises(ValueError, match=r"shapes differ: reference \(2, 4000\), estimate \(1, 4000\)"):
        metric(clips(2), clips(1))


def test_rates_and_lengths_that_are_refused():
    with pytest.raises(ValueError, match="PESQ is defined at 8000 and 16000 samples per second, got 44100"):
        pesq(SPEECH, SPEECH, 44100)
    long = torch.zeros(20 * RATE + 1)
    with pytest.raises(ValueError, match=r"PESQ is for clips of at most 20 s, got 20.0 s: cut it in pieces"):
        pesq(long, long, RATE)
    with pytest.raises(ValueError, match="ViSQOL in audio mode is for 48000 samples per second, got 16000"):
        visqol(SPEECH, SPEECH, RATE)
    with pytest.raises(ValueError, match="ViSQOL in speech mode is for 16000 samples per second, got 48000"):
        visqol(SPEECH, SPEECH, 48000, "speech")
    for metric in (lambda x, y: mel_distance(x, y, SCALES), stft_distance):
        with pytest.raises(ValueError, match="1024 samples are too few for frames of 2048: at least 1025 are needed"):
            metric(SPEECH[:1024], SPEECH[:1024])


@pytest.mark.parametrize("missing", ["pesq", "pystoi", "visqol", "ai_edge_litert.interpreter"])
def test_missing_packages_name_the_extra(monkeypatch, missing):
    metric = dict(zip(("pesq", "pystoi", "visqol", "ai_edge_litert.interpreter"), [*SINGLE, SINGLE[2]], strict=True))
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError, match=r"needs a package that is not installed: pip install 'codeword\[metrics\]'"):
        metric[missing](SPEECH, SPEECH)
    if missing == "ai_edge_litert.interpreter":  # audio mode has a model of its own
        high = torch.from_numpy(soxr.resample(SPEECH[:16000].numpy(), RATE, 48000))
        assert visqol(high, high, 48000) is not None


@pytest.mark.parametrize("delay", [-40, -1, 0, 1, 8, 40])
@pytest.mark.parametrize("cut", [0, 13])
def test_alignment_finds_and_removes_a_delay(delay, cut):
    late = torch.nn.functional.pad(SPEECH, (max(0, delay), 0))[max(0, -delay) :]
    late = noisy(late, 1e-3)[: len(late) - cut]
    reference, estimate, found = align(SPEECH, 0.5 * late, 50)
    assert found == delay
    assert reference.shape == estimate.shape
    assert len(reference) >= 32000 - abs(delay) - cut
    assert si_sdr(reference, estimate).item() > 25
    if delay:
        assert align(SPEECH, late, 0).delay == 0


def test_alignment_of_stereo_follows_the_sum_of_channels():
    stereo = torch.stack([SPEECH, 0.1 * noisy(torch.zeros_like(SPEECH))])
    delayed = torch.nn.functional.pad(stereo, (5, 0))
    reference, estimate, delay = align(stereo, delayed, 10)
    assert delay == 5
    assert torch.equal(reference, estimate)
    assert reference.shape == (2, 32000)


def test_alignment_at_its_limits():
    silence = torch.zeros(100)
    assert align(silence, SPEECH[:90], 10).delay == 0
    assert align(torch.ones(1), torch.ones(1), 10).reference.shape == (1,)
    impulse = torch.zeros(100)
    impulse[50] = 1.0
    assert align(impulse, impulse.roll(9), 5).delay in range(-5, 6)
    with pytest.raises(ValueError, match=r"channels differ: \(\) and \(2,\)"):
        align(silence, torch.zeros(2, 100), 10)
    with pytest.raises(ValueError, match="most must be 0 or more, got -1"):
        align(silence, silence, -1)
    with pytest.raises(ValueError, match="the estimate is empty"):
        align(silence, silence[:0], 1)
    with pytest.raises(ValueError, match="the estimate holds a value that is not finite at sample 3"):
        align(silence, torch.tensor([0.0, 0.0, 0.0, math.nan]), 1)
