"""Sound, spectrograms and depths of a page."""

import base64
import io
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from codeword.evaluation.players import Comparison, Take, flac, players
from codeword.evaluation.spectrogram import frequency_ticks, loudness_map, palette_png, spectrogram

RATE, HOP, LEVELS = 16000, 320, 6
STEP = 2.0**-15  # of samples of 16 bits


def _tone(hertz, seconds=1.0, amplitude=0.5):
    return amplitude * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)


def _image(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


class _Page(HTMLParser):
    def __init__(self, markup):
        super().__init__()
        self.found, self.text = [], []
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def test_sound_comes_back_and_is_cut_at_full_scale():
    signal = torch.linspace(-1.5, 1.5, 5000)
    back, rate = soundfile.read(io.BytesIO(flac(signal, RATE)), dtype="float32")
    assert rate == RATE
    assert np.abs(back - signal.clamp(-1, 1).numpy()).max() <= STEP


@pytest.mark.parametrize(("name", "height"), frequency_ticks(RATE), ids=lambda value: str(value)[:4])
def test_a_tone_is_brightest_at_its_tick(name, height):
    power = loudness_map(_tone(1000 * float(name)), RATE).mean(0)
    assert (int(power.argmax()) + 0.5) / len(power) == pytest.approx(height, abs=0.025)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 192000])
def test_ticks_lie_in_the_image_apart(rate):
    heights = [height for _, height in frequency_ticks(rate)]
    assert len(heights) >= 3
    assert all(0 < height < 1 for height in heights)
    assert all(after - before > 0.15 for before, after in pairwise(heights))


def test_ten_times_the_amplitude_is_20_decibels():
    quiet, loud = (loudness_map(_tone(1000, amplitude=amplitude), RATE).max() for amplitude in (0.05, 0.5))
    assert float(loud - quiet) == pytest.approx(20.0, abs=1e-3)


def test_time_goes_to_the_right_and_frequency_up():
    signal = torch.cat([_tone(300), _tone(5000)])
    bright = _image(spectrogram(loudness_map(signal, RATE), -6.0)).astype(float).sum(-1)
    rows, columns = bright.shape
    upper, lower = bright[: rows // 2], bright[rows // 2 :]
    left, right = slice(0, columns // 2 - 20), slice(columns // 2 + 20, None)
    assert lower[:, left].mean() > 2 * upper[:, left].mean()
    assert upper[:, right].mean() > 2 * lower[:, right].mean()


@pytest.mark.parametrize("samples", [1, 100, 511, 16000])
def test_short_and_silent_signals_have_a_picture(samples):
    levels = loudness_map(torch.zeros(samples), RATE)
    assert torch.isfinite(levels).all()
    assert (_image(spectrogram(levels, float(levels.max()))) == [252, 253, 191]).all()
    assert (_image(spectrogram(levels, 0.0)) == [0, 0, 4]).all()


def test_a_palette_image_is_read_by_others():
    random = np.random.default_rng(0)
    shades = random.integers(0, 5, (7, 11), dtype=np.uint8)
    colours = random.integers(0, 256, (5, 3), dtype=np.uint8)
    assert (_image(palette_png(shades, colours)) == colours[shades]).all()


def test_every_take_has_a_player_a_picture_and_its_depths():
    samples = 5 * HOP + 70
    signal = torch.randn(samples, generator=torch.Generator().manual_seed(0)) * 0.1
    depths = np.array([1, 1, 6, 3, 3, 2])
    takes = [Take("Original", "<i>", signal, None), Take("3 & 4 kbps", '"', signal / 2, depths)]
    markup = players(Comparison("<b>name", "part", takes), sample_rate=RATE, hop=HOP, levels=LEVELS)
    page = _Page(markup)
    sounds = [base64.b64decode(audio["src"].removeprefix("data:audio/flac;base64,")) for audio in page.of("audio")]
    for sound, take in zip(sounds, takes, strict=True):
        back, _ = soundfile.read(io.BytesIO(sound), dtype="float32")
        assert np.abs(back - take.audio.numpy()).max() <= STEP
    assert all("autoplay" not in audio and "controls" in audio for audio in page.of("audio"))
    assert len(page.of("img")) == 2
    (drawing,) = [svg for svg in page.of("svg") if svg["class"] == "depths"]
    assert drawing["viewbox"] == f"0 0 {samples / HOP:g} {LEVELS}"
    assert (_walked(page.of("path")[-1]["d"], len(depths)) == depths).all()
    told = "".join(page.text)
    assert "<b>name" in told
    assert "3 & 4 kbps" in told
    assert not page.of("b")[2:]


def _walked(path, frames):
    """Depths of frames, along a path of horizontal and vertical steps."""
    heights, x, height = np.zeros(frames), 0.0, 0.0
    for kind, number in re.findall(r"([HV])([\d.]+)", path):
        if kind == "V":
            height = LEVELS - float(number)
        else:
            heights[round(x) : round(float(number) + 0.49)] = height
            x = float(number)
    return heights
