import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.data.audio_augment import Gain, NormalizeLoudness, RescalePeak, ShiftPhase, vrvq_augmentations
from codeword.data.audio_files import audio_info, read_audio
from codeword.data.audio_loudness import loudness
from contracts.audio_samples import CHOIR, LOOP, SPEECH, signal

CLOSE = 0.01  # LU


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("path", [SPEECH, CHOIR, LOOP], ids=lambda path: path.stem)
@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_loudness_is_that_of_another_meter(path, gain):
    rate = audio_info(path).rate
    audio = read_audio(path).numpy() * np.float32(gain)
    audio = audio[:, : len(audio[0]) // (rate // 10) * (rate // 10)]  # the other meter counts a block that is not whole
    other = pyloudnorm.Meter(rate, filter_class="DeMan").integrated_loudness(audio.T)
    assert abs(loudness(audio, rate) - other) < CLOSE


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_a_tone_of_full_scale_has_the_loudness_of_the_standard(rate):
    """BS.1770: a sine of 997 Hz at full scale in one channel is -3.01 LUFS."""
    tone = np.sin(2 * np.pi * 997 * np.arange(3 * rate) / rate).astype(np.float32)[None]
    assert loudness(tone, rate) == pytest.approx(-3.01, abs=0.05)
    assert loudness(np.repeat(tone, 2, 0), rate) == pytest.approx(0.0, abs=0.05)


def test_silence_has_no_loudness():
    assert loudness(np.zeros((1, 16000), np.float32), 16000) == -np.inf
    assert loudness(np.zeros((2, 0), np.float32), 16000) == -np.inf
    assert np.isfinite(loudness(np.ones((1, 1), np.float32), 16000))


@given(seed=st.integers(0, 2**32 - 1), gain=st.floats(0.01, 1.0))
@settings(max_examples=30, deadline=None)
def test_loudness_becomes_the_target(seed, gain):
    audio = signal(16000, 1, 16000, seed) * np.float32(gain)
    out = NormalizeLoudness(target=-16.0, most=80.0)(audio, 16000, generator())
    assert loudness(out, 16000) == pytest.approx(-16.0, abs=0.01)
    assert np.allclose(out / np.abs(out).max(), audio / np.abs(audio).max(), atol=1e-5)


def test_silence_and_whispers_are_not_blown_up():
    silence = np.zeros((1, 8000), np.float32)
    assert np.array_equal(NormalizeLoudness()(silence, 16000, generator()), silence)
    quiet = signal(16000, 1, 16000) * np.float32(0.01)
    assert np.allclose(NormalizeLoudness(most=20.0)(quiet, 16000, generator()), 10 * quiet)


def test_a_peak_is_scaled_down_only():
    audio = np.array([[0.5, -2.0]], np.float32)
    assert np.array_equal(RescalePeak()(audio, 8000, generator()), audio / 2)
    assert RescalePeak()(audio / 4, 8000, generator())[0, 1] == -0.5
    assert RescalePeak()(np.zeros((1, 0), np.float32), 8000, generator()).shape == (1, 0)


@pytest.mark.parametrize("frames", [1, 2, 999, 16000])
def test_a_phase_shift_turns_every_tone_by_one_angle(frames):
    audio = signal(frames, 2, 16000)
    shifted = ShiftPhase()(audio, 16000, generator(3))
    angle = generator(3).uniform(-np.pi, np.pi)
    before, after = np.fft.rfft(audio), np.fft.rfft(shifted)
    inner = slice(1, (frames + 1) // 2)  # neither zero frequency nor Nyquist, which have no phase
    assert np.allclose(after[:, inner], before[:, inner] * np.exp(1j * angle), atol=1e-2)
    assert np.allclose(after[:, 0], before[:, 0] * np.cos(angle), atol=1e-2)
    assert shifted.dtype == np.float32


@pytest.mark.parametrize("seed", range(5))
def test_a_shifted_cosine_is_a_cosine_with_that_phase(seed):
    time = 2 * np.pi * 10 * np.arange(800) / 800
    out = ShiftPhase()(np.cos(time, dtype=np.float32)[None], 8000, generator(seed))
    assert np.abs(out[0] - np.cos(time + generator(seed).uniform(-np.pi, np.pi))).max() < 1e-5


def test_gain_is_drawn_from_its_range():
    audio = np.ones((1, 4), np.float32)
    gains = [20 * np.log10(Gain(low=-12.0, high=3.0)(audio, 8000, generator(seed))[0, 0]) for seed in range(500)]
    assert -12 <= min(gains) < -11
    assert 2 < max(gains) <= 3
    assert abs(np.mean(gains) + 4.5) < 4 * 15 / 12**0.5 / 500**0.5


@pytest.mark.parametrize("change", [NormalizeLoudness(), RescalePeak(peak=0.1), ShiftPhase(), Gain()])
def test_a_change_is_a_pure_function(change):
    audio = signal(4000, 2)
    before = audio.copy()
    first, second = change(audio, 44100, generator(7)), change(audio, 44100, generator(7))
    assert np.array_equal(first, second)
    assert np.array_equal(audio, before)
    assert first.shape == audio.shape
    assert first.dtype == np.float32
    assert not np.array_equal(first, audio)


def test_what_the_paper_trains_on():
    names = [type(change).__name__ for change in vrvq_augmentations()]
    assert names == ["NormalizeLoudness", "RescalePeak", "ShiftPhase"]
