from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from torch.autograd import gradcheck

from codeword.functional.spectral_distance import (
    Comparison,
    MelScales,
    StftScales,
    compare,
    mel_distance,
    stft_distance,
)
from codeword.losses.audio import mel_loss, stft_loss, waveform_loss
from reference import spectra as slow

EXACT = 1e-10  # of float64 sums of logarithms
SINGLE = 1e-4  # of a float32 loss, relative; logarithms of small magnitudes lose digits
SPEECH = Path(__file__).parents[1] / "fixtures" / "ru_0001.flac"
SHORT = MelScales(sample_rate=8000, windows=(16, 64), bands=(4, 10))


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(seed, *shape):
    return 0.1 * noise(seed, *shape), 0.1 * noise(seed + 1, *shape)


@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_mel_loss_is_that_of_dac(sample_rate):
    estimate, reference = pair(0, 2, 2500)
    scales = MelScales(sample_rate=sample_rate)
    windows, bands = (32, 64, 128, 256, 512, 1024, 2048), (5, 10, 20, 40, 80, 160, 320)
    expected = [slow.mel_distance(x, y, sample_rate, windows, bands) for x, y in zip(estimate, reference, strict=True)]
    assert mel_distance(estimate, reference, scales).tolist() == pytest.approx(expected, rel=EXACT)
    assert mel_loss(estimate, reference, scales).item() == pytest.approx(sum(expected) / 2, rel=EXACT)


def test_stft_loss_is_that_of_dac():
    estimate, reference = pair(2, 2, 2500)
    expected = [slow.stft_distance(x, y) for x, y in zip(estimate, reference, strict=True)]
    assert stft_distance(estimate, reference, StftScales()).tolist() == pytest.approx(expected, rel=EXACT)
    assert stft_loss(estimate, reference).item() == pytest.approx(sum(expected) / 2, rel=EXACT)


def test_real_speech_in_single_precision():
    audio = torch.from_numpy(soundfile.read(SPEECH)[0])[:8000]
    rate = soundfile.info(SPEECH).samplerate
    scales = MelScales(sample_rate=rate)
    other = (audio * 16).round() / 16
    exact = mel_loss(other, audio, scales).item()
    assert exact > 0.1
    assert mel_loss(other.float(), audio.float(), scales).item() == pytest.approx(exact, rel=SINGLE)
    assert stft_loss(other.float(), audio.float()).item() == pytest.approx(stft_loss(other, audio).item(), rel=SINGLE)


def test_comparison_by_hand():
    mine, theirs = torch.tensor([[10.0, 0.0]]).double(), torch.tensor([[1.0, 0.001]]).double()

    def value(**fields):
        return compare(mine, theirs, Comparison(**fields)).item()

    assert value(linear_weight=0.0) == pytest.approx((1 + 2) / 2)
    assert value(linear_weight=0.0, power=2.0) == pytest.approx(3)
    assert value(linear_weight=0.0, floor=1e-2) == pytest.approx(0.5)
    assert value(log_weight=0.0, linear_weight=2.0) == pytest.approx(9.001)


def test_derivatives_by_finite_differences():
    estimate, reference = pair(4, 2, 120)
    estimate.requires_grad_()
    scales = StftScales(windows=(32, 16))
    both = replace(SHORT, comparison=Comparison())
    assert gradcheck(lambda x: mel_loss(x, reference, SHORT), estimate, fast_mode=True)
    assert gradcheck(lambda x: mel_loss(x, reference, both), estimate, fast_mode=True)
    assert gradcheck(lambda x: stft_loss(x, reference, scales), estimate, fast_mode=True)
    assert gradcheck(lambda x: waveform_loss(x, reference), estimate, fast_mode=True)


def test_nothing_between_equals_and_finite_derivatives_in_silence():
    audio, _ = pair(6, 2, 200)
    assert mel_loss(audio, audio, SHORT) == 0
    assert stft_loss(audio, audio, StftScales(windows=(32,))) == 0
    silent = torch.zeros(2, 200, dtype=torch.float64, requires_grad=True)
    (mel_loss(silent, audio, SHORT) + stft_loss(silent, audio, StftScales(windows=(32,)))).backward()
    assert silent.grad is not None
    assert silent.grad.isfinite().all()


def test_learns_a_spectrum():
    torch.manual_seed(0)
    time = torch.arange(1000) / 8000
    target = 0.5 * torch.sin(2 * torch.pi * 440 * time) + 0.05 * torch.randn(1000)
    audio = (0.01 * torch.randn(1000)).requires_grad_()
    optimizer = torch.optim.Adam([audio], 0.02)
    losses = []
    for _ in range(40):
        loss = mel_loss(audio, target, SHORT) + stft_loss(audio, target, StftScales(windows=(64,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_leading_axes_are_averaged():
    estimate, reference = pair(8, 3, 2, 200)
    flat = mel_loss(estimate.reshape(6, 200), reference.reshape(6, 200), SHORT)
    assert mel_loss(estimate, reference, SHORT).item() == pytest.approx(flat.item(), rel=EXACT)
    assert mel_distance(estimate, reference, SHORT).shape == (3, 2)
    assert waveform_loss(estimate, reference).item() == pytest.approx((estimate - reference).abs().mean().item())


def test_bands_without_bins_add_nothing():
    estimate, reference = pair(10, 300)
    crowded = MelScales(sample_rate=44100, windows=(32,), bands=(40,))
    expected = slow.mel_distance(estimate, reference, 44100, (32,), (40,))
    assert mel_distance(estimate, reference, crowded).item() == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MelScales(sample_rate=8000, windows=(30,), bands=(4,)), "windows must be one or more multiples of 4"),
        (lambda: StftScales(windows=()), "windows must be one or more multiples of 4"),
        (lambda: MelScales(sample_rate=8000, bands=(5, 10)), "windows and bands must be as many, got 7 and 2"),
        (lambda: MelScales(sample_rate=8000, highest=5000.0), "bands must lie between 0 and half the sample rate"),
        (lambda: Comparison(floor=0.0), "floor must be positive"),
    ],
)
def test_impossible_scales(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_too_short_a_signal():
    with pytest.raises(ValueError, match="1000 samples are too few for frames of 2048: at least 1025 are needed"):
        mel_loss(torch.zeros(1000), torch.zeros(1000), MelScales(sample_rate=16000))
