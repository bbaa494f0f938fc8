from dataclasses import replace

import numpy as np
import pytest
import torch

from codeword.data import audio_source
from codeword.data.audio_errors import AudioError
from codeword.data.audio_files import read_audio
from codeword.data.audio_listings import list_audio
from codeword.data.audio_samples import (
    PUBLISHED,
    SILENCE,
    AudioSampleConfig,
    MelStatistics,
    normalized,
    read_sample,
    statistics,
)
from codeword.data.listing import Item, Listing
from codeword.data.shards import write_shards
from codeword.functional.filterbank import MelConfig, log_mel
from codeword.quantizers.config import build, describe
from contracts.audio_samples import LOOP, SPEECH, signal, write

SMALL = AudioSampleConfig(frames=20, mel=MelConfig(bins=8))
RESAMPLED = 0.05  # nat; 1 % of the amplitude is 0.02


def frames_of(audio, config=SMALL):
    return log_mel(audio - audio.mean(), config.mel.rate, config.mel)


def test_a_recording_is_cut():
    sample = read_sample(Item(path=SPEECH), SMALL)
    audio = read_audio(SPEECH, 0, 400 + 19 * 160)
    assert torch.allclose(sample.values, frames_of(audio), atol=1e-4)
    assert sample.values.shape == (1, 20, 8)
    assert sample.valid.all()


def test_a_part_is_only_that_part():
    sample = read_sample(Item(path=SPEECH, start=2.0, seconds=0.1), SMALL)
    audio = read_audio(SPEECH, 32000, 1600)
    assert torch.allclose(sample.values[:, :8], frames_of(audio), atol=1e-4)
    assert sample.valid.tolist() == [True] * 8 + [False] * 12


def test_padding_is_silence_and_then_the_mean(tmp_path):
    write(tmp_path / "a.wav", signal(1000, 1, 16000), 16000)
    sample = read_sample(Item(path=tmp_path / "a.wav"), SMALL)
    assert sample.valid.tolist() == [True] * 4 + [False] * 16
    assert sample.values[:, 4:].eq(SILENCE).all()
    assert sample.values[:, :4].gt(SILENCE).all()
    ready = normalized(sample, MelStatistics(mean=-3.0, deviation=2.0))
    assert ready.values[:, 4:].eq(0.0).all()
    assert torch.allclose(ready.values[:, :4] * 4.0 - 3.0, sample.values[:, :4], atol=1e-5)
    assert torch.equal(ready.valid, sample.valid)


def test_less_than_a_frame_is_one(tmp_path):
    """The zeros that complete it are no step away from a recording with an offset."""
    found = []
    for offset in (0.0, 0.25):
        write(tmp_path / "a.wav", signal(100, 1, 16000) + np.float32(offset), 16000, "FLOAT")
        found.append(read_sample(Item(path=tmp_path / "a.wav"), SMALL))
    assert found[0].valid.sum() == 1
    assert found[0].values[0, 0].gt(SILENCE).all()
    assert torch.allclose(found[0].values, found[1].values, atol=1e-2)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_any_rate_and_channels_are_heard_alike(tmp_path, rate):
    """The same tones at the rate of the filterbank, and as three channels at another."""

    def tone(hertz, rate):
        return (0.3 * np.sin(2 * np.pi * hertz * np.arange(rate // 2) / rate)).astype(np.float32)

    write(tmp_path / "a.wav", np.stack([tone(440, rate), tone(1250, rate), 0 * tone(1, rate)]), rate)
    config = AudioSampleConfig(frames=30, mel=MelConfig(bins=20, high=3000.0))
    audio = torch.from_numpy(tone(440, 16000) + tone(1250, 16000))[None] / 3
    expected = frames_of(audio[:, : config.mel.samples(30)], config)
    found = read_sample(Item(path=tmp_path / "a.wav"), config).values
    loud = expected > expected.max() - 8.0
    assert loud[0, 10].sum() > 5
    assert (found - expected)[loud].abs().max() < RESAMPLED


def test_where_a_sample_begins_is_drawn(tmp_path):
    """Every sample of the ramp tells its place; the mean is not heard, but the level of the tone is."""
    time = np.arange(16000) / 16000
    write(tmp_path / "a.wav", (0.5 * np.exp(-3 * time) * np.sin(2 * np.pi * 1000 * time))[None].astype("f4"), 16000)
    item = Item(path=tmp_path / "a.wav", start=0.1, seconds=0.8)
    levels = [
        read_sample(item, SMALL, torch.Generator().manual_seed(seed)).values[0, 0].max().item() for seed in range(40)
    ]
    again = read_sample(item, SMALL, torch.Generator().manual_seed(7))
    assert again.values[0, 0].max().item() == levels[7]
    begins = (read_sample(item, SMALL).values[0, 0].max() - torch.tensor(levels)) / 6.0
    assert begins.min() >= -0.01
    assert begins.min() < 0.1
    assert 0.45 < begins.max() <= 0.8 - 0.215 + 0.01


def test_only_what_is_needed_is_decoded(monkeypatch):
    asked = []
    read = audio_source.read_frames
    monkeypatch.setattr(audio_source, "read_frames", lambda *a: asked.append(a[2]) or read(*a))
    read_sample(Item(path=SPEECH), SMALL, torch.Generator().manual_seed(0))
    assert asked == [400 + 19 * 160]


@pytest.mark.parametrize(("start", "said"), [(0.0, "nothing is there from 0.0 s"), (9.0, "lasts 0.000 s")])
def test_nothing_to_hear_is_told(tmp_path, start, said):
    write(tmp_path / "a.wav", np.zeros((1, 0), np.float32), 8000)
    with pytest.raises(AudioError, match=said):
        read_sample(Item(path=tmp_path / "a.wav", start=start), SMALL)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "m4a", "mka", "g722"])
def test_a_recording_in_a_tar_file_is_what_it_is_outside(tmp_path, suffix):
    """Whole, a part, and one that begins anywhere, through libsndfile and through PyAV."""
    for name in "ab":
        write(tmp_path / f"{name}.{suffix}", signal(30000, 1, 16000, seed=ord(name)), 16000)
    listing = Listing("audio", "by hand", tuple(Item(path=tmp_path / f"{name}.{suffix}") for name in "ab"))
    written = write_shards(listing, tmp_path / "out", seed=None)
    for item, inside in zip(listing.items, written.items, strict=True):
        for part in ({}, {"start": 0.5, "seconds": 0.1}, {"start": 0.3}):
            for seed in (None, 1):
                wanted, found = (
                    read_sample(
                        replace(one, **part), SMALL, None if seed is None else torch.Generator().manual_seed(seed)
                    )
                    for one in (item, inside)
                )
                assert torch.equal(wanted.values, found.values)
                assert torch.equal(wanted.valid, found.valid)


def test_a_damaged_recording_in_a_tar_file_is_named(tmp_path):
    for number, (suffix, keep) in enumerate((("wav", 900), ("wav", 0), ("flac", 2000), ("m4a", 500))):
        path = write(tmp_path / f"{number}.{suffix}", signal(8000, 1, 16000), 16000)
        path.write_bytes(path.read_bytes()[:keep])
    items = tuple(Item(path=path) for path in sorted(tmp_path.iterdir()))
    for item in write_shards(Listing("audio", "by hand", items), tmp_path / "out", seed=None).items:
        with pytest.raises(AudioError, match=r"shard-000000\.tar, 00000000\d\.\w+ ") as raised:
            read_sample(item, SMALL)
        assert "\n" not in str(raised.value)


def test_statistics_count_every_valid_value_once(tmp_path):
    write(tmp_path / "a.wav", signal(1000, 1, 16000), 16000)
    write(tmp_path / "b.wav", 0.1 * signal(5000, 1, 16000), 16000)
    (tmp_path / "c.wav").write_text("no audio")
    items = tuple(Item(path=tmp_path / f"{name}.wav") for name in "abc")
    parts = [frames_of(read_audio(item.path, 0, 400 + 19 * 160)).flatten() for item in items[:2]]
    values = torch.cat(parts).double()
    found = statistics(Listing("audio", "by hand", items), SMALL)
    assert found.mean == pytest.approx(values.mean().item(), abs=1e-4)
    assert found.deviation == pytest.approx(values.std(correction=0).item(), abs=1e-4)
    first = statistics(Listing("audio", "by hand", items), SMALL, clips=1)
    assert first.mean == pytest.approx(parts[0].mean().item(), abs=1e-4)
    ready = normalized(read_sample(items[0], SMALL), first)
    assert ready.values[0, ready.valid].std(correction=0).item() == pytest.approx(0.5, abs=1e-4)


def test_clips_of_statistics_are_spread_over_the_listing(tmp_path):
    for number in range(6):
        write(tmp_path / f"{number}.wav", (number + 1) / 6 * signal(800, 1, 16000), 16000)
    listing = list_audio(tmp_path)
    chosen = Listing("audio", "by hand", listing.items[::2])
    assert statistics(listing, SMALL, clips=3) == statistics(chosen, SMALL)


def test_statistics_of_nothing_are_refused(tmp_path):
    (tmp_path / "c.wav").write_text("no audio")
    write(tmp_path / "zero.wav", np.zeros((1, 800), np.float32), 16000)
    for name, said in (("c.wav", r"none of 1 items can be read: .*c\.wav"), ("zero.wav", "are silent")):
        with pytest.raises(AudioError, match=said):
            statistics(Listing("audio", "by hand", (Item(path=tmp_path / name),)), SMALL)


def test_music_and_speech_lie_in_the_range_of_the_published_statistics():
    """Not the sets they were measured on, but the same convention: another one is many nats away."""
    items = (Item(path=SPEECH), Item(path=LOOP))
    found = statistics(Listing("audio", "by hand", items), AudioSampleConfig(frames=400))
    for published in PUBLISHED.values():
        assert abs(found.mean - published.mean) < 3.0
        assert 0.5 < found.deviation / published.deviation < 2.0


def test_a_configuration_is_described_and_comes_back():
    assert build(describe(SMALL)) == SMALL
    assert build(describe(PUBLISHED["esc50"])) == PUBLISHED["esc50"]
    with pytest.raises(ValueError, match="1 frame or more"):
        AudioSampleConfig(frames=0)
