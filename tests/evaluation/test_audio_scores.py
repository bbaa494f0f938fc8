"""Measures by name: what identical signals get, and delays that do not count."""

import importlib

import numpy as np
import pytest
import torch

from codeword.data.audio_files import read_audio
from codeword.evaluation.audio_scores import METRICS, OWN_METRICS, Scorer
from codeword.metrics import audio
from contracts.audio_models import RATE, noise
from contracts.audio_samples import SPEECH

SPOKEN = ("pesq", "stoi", "estoi", "visqol", "visqol_speech")


@pytest.fixture(scope="module")
def speech():
    return read_audio(SPEECH, 4 * RATE, 2 * RATE)[0]


def test_identical_signals_get_the_best_marks(speech):
    found = Scorer((*OWN_METRICS, "pesq", "stoi", "visqol_speech"), RATE)(speech, speech)
    assert [found[name] for name in ("mel", "stft", "waveform")] == [0, 0, 0]
    assert found["si_sdr"] > 100
    assert found.get("sdr", 1000) > 100
    assert found["stoi"] == pytest.approx(1)
    assert found["pesq"] == pytest.approx(4.644, abs=1e-3)
    assert 4 < found["visqol_speech"] <= 5


@pytest.mark.parametrize("delay", [-1900, -1, 37, 3999])
def test_a_delay_does_not_count(speech, delay):
    moved = torch.cat([torch.zeros(delay), speech]) if delay > 0 else speech[-delay:]
    found = Scorer(("si_sdr",), RATE)(speech, moved)
    assert found["si_sdr"] > 100


def test_every_name_gives_what_its_function_gives(speech):
    worse = speech + 0.01 * noise(1, len(speech))[0]
    found = Scorer(("si_sdr", "sdr", "stft", "waveform"), RATE)(speech, worse)
    assert found["si_sdr"] == pytest.approx(float(audio.si_sdr(speech, worse)))
    assert found["sdr"] == pytest.approx(float(audio.sdr(speech, worse)))
    assert found["stft"] == pytest.approx(float(audio.stft_distance(speech, worse)))
    assert found["waveform"] == pytest.approx(float((speech - worse).abs().mean()))


@pytest.mark.parametrize(
    ("name", "own", "rate"),
    [("pesq", 44100, 16000), ("pesq", 8000, 8000), ("visqol", 16000, 48000), ("stoi", 44100, 44100)],
)
def test_measures_stand_at_rates_they_are_defined_at(name, own, rate):
    assert METRICS[name].rate(own) == rate


def test_long_clips_are_rated_in_pieces(speech):
    worse = speech + 0.01 * noise(1, len(speech))[0]
    once = METRICS["pesq"].score(speech, worse, RATE)
    many = METRICS["pesq"].score(speech.repeat(12), worse.repeat(12), RATE)
    assert many == pytest.approx(once, abs=0.3)


def test_what_is_undefined_is_left_out():
    silence = torch.zeros(2 * RATE)
    assert set(Scorer(OWN_METRICS, RATE)(silence, silence)) == {"mel", "stft", "waveform"}


def test_too_little_to_compare_is_refused(speech):
    with pytest.raises(ValueError, match=r"0\.50 of 2\.00 seconds came back"):
        Scorer(("si_sdr",), RATE)(speech, speech[: RATE // 2])


def test_unknown_names_and_missing_packages_are_told_before_any_work(monkeypatch):
    with pytest.raises(ValueError, match="there is no metric 'pesk': choose from si_sdr, sdr"):
        Scorer(("si_sdr", "pesk"), RATE)

    def without(module):
        raise ImportError(module)

    monkeypatch.setattr(importlib, "import_module", without)
    for name in SPOKEN:
        with pytest.raises(ValueError, match=r"is not installed: pip install 'codeword\[metrics\]'"):
            Scorer((name,), RATE)


def test_weighted_snr_forgives_noise_where_the_signal_is_loud(speech):
    def found(noise):
        return Scorer(("weighted_snr",), RATE)(speech, speech + noise)["weighted_snr"]

    generator = torch.Generator().manual_seed(0)
    white = torch.randn(len(speech), generator=generator)
    spectrum = torch.fft.rfft(speech)
    shaped = torch.fft.irfft(torch.fft.rfft(white) * spectrum.abs().square().add(1e-6).sqrt(), n=len(speech))
    same = speech.square().mean().sqrt() / 10
    white, shaped = (noise * (same / noise.square().mean().sqrt()) for noise in (white, shaped))
    assert found(shaped) > found(white) + 3
    for factor in (0.5, 0.25):  # 6.02 dB for half the noise
        assert found(factor * white) - found(white) == pytest.approx(-20 * np.log10(factor), abs=1e-2)
