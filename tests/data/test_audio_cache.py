import json
import shutil

import numpy as np
import pytest
import torch

from codeword.data import audio_cache
from codeword.data.audio_cache import ClipCache
from codeword.data.audio_corpus import AudioEntry, Corpus, scan
from codeword.data.audio_errors import AudioError
from codeword.data.audio_excerpts import ExcerptConfig, Excerpts
from codeword.data.audio_files import read_audio
from codeword.data.audio_resample import resample
from codeword.data.audio_source import FileSource
from contracts.audio_samples import signal, write

ROUNDED = 1.01 * 2**-16  # half a step of 16 bits
CONFIG = ExcerptConfig(rate=8000, seconds=0.1, batch=8, channels=2)


@pytest.fixture
def corpus(tmp_path):
    for number, (rate, channels) in enumerate([(8000, 1), (8000, 2), (44100, 2), (16000, 6), (8000, 1)]):
        write(tmp_path / f"{number}.wav", signal(rate, channels, rate, number) / 2, rate)
    return scan([AudioEntry(path=str(tmp_path / f"{number}.wav"), kind=str(number)) for number in range(5)])


def test_it_holds_what_the_files_hold(corpus, tmp_path):
    cache, files = ClipCache(tmp_path / "cache", corpus, 8000, 2), FileSource(corpus)
    for number, clip in enumerate(corpus.clips):
        for start in (0, 100 * clip.rate // 8000, clip.frames - 20):
            stored, read = cache.read(number, start, 900, 8000), files.read(number, start, 900, 8000)
            if number == 3:
                assert len(stored) == 2
                read = np.stack([read[::2].mean(0), read[1::2].mean(0)])
            assert abs(stored.shape[1] - read.shape[1]) <= 1  # a frame of the file lies between two of the cache
            if start * 8000 % clip.rate == 0:
                count = min(stored.shape[1], read.shape[1])
                assert np.abs(stored[:, :count] - read[:, :count]).max() < (ROUNDED if clip.rate == 8000 else 2e-3)
    whole = resample(read_audio(corpus.clips[2].entry.path).numpy(), 44100, 8000)
    assert np.abs(cache.read(2, 0, 10**6, 8000) - whole).max() < ROUNDED


def test_batches_are_nearly_those_of_the_files(corpus, tmp_path):
    mono = Corpus(tuple(clip for clip in corpus.clips if clip.rate == 8000))
    cached = Excerpts(mono, CONFIG, source=ClipCache(tmp_path / "cache", mono, 8000, 2)).labelled(3)
    plain = Excerpts(mono, CONFIG).labelled(3)
    assert torch.equal(cached.starts, plain.starts)
    assert (cached.audio - plain.audio).abs().max() < ROUNDED


def test_excerpts_are_as_long_as_those_of_the_files(corpus, tmp_path):
    config = ExcerptConfig(rate=8000, seconds=0.1, batch=200, salience=None)
    other = Corpus(tuple(clip for clip in corpus.clips if clip.rate != 8000))
    found = Excerpts(other, config, source=ClipCache(tmp_path / "cache", other, 8000)).labelled(0)
    assert found.lengths.unique().tolist() == [800]


@pytest.mark.parametrize("workers", [0, 4])
def test_it_is_made_once_and_the_same_for_any_number_of_workers(workers, corpus, tmp_path, monkeypatch):
    first = ClipCache(tmp_path / "cache", corpus, 8000, 2)
    ClipCache(tmp_path / "other", corpus, 8000, 2, workers=workers)
    for name in ("samples.i16", "clips.jsonl"):
        assert (tmp_path / "other" / name).read_bytes() == (tmp_path / "cache" / name).read_bytes()
    monkeypatch.setattr(audio_cache, "read_frames", None)
    again = ClipCache(tmp_path / "cache", corpus, 8000, 2)
    assert np.array_equal(again.read(1, 5, 100, 8000), first.read(1, 5, 100, 8000))


@pytest.mark.parametrize("lines", [1, 2, 4])
@pytest.mark.parametrize("spill", [0, 31])
def test_an_interrupted_making_goes_on(lines, spill, corpus, tmp_path):
    ClipCache(tmp_path / "whole", corpus, 8000, 2)
    shutil.copytree(tmp_path / "whole", tmp_path / "half")
    text = (tmp_path / "whole" / "clips.jsonl").read_text().splitlines(keepends=True)
    places = [json.loads(line) for line in text[1:lines]]
    end = 2 * (places[-1]["offset"] + places[-1]["frames"] * places[-1]["channels"]) if places else 0
    # Killed after some samples of the next clip were written, in the middle of a line.
    (tmp_path / "half" / "clips.jsonl").write_text("".join(text[:lines]) + text[lines][:spill])
    with (tmp_path / "half" / "samples.i16").open("r+b") as file:
        file.truncate(end + spill)
    ClipCache(tmp_path / "half", corpus, 8000, 2)
    for name in ("samples.i16", "clips.jsonl"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_cache_of_something_else_is_refused(corpus, tmp_path):
    ClipCache(tmp_path / "cache", corpus, 8000, 2)
    with pytest.raises(AudioError, match=r"another rate \(8000, now 16000\)"):
        ClipCache(tmp_path / "cache", corpus, 16000, 2)
    with pytest.raises(AudioError, match=r"another channels \(2, now 1\)"):
        ClipCache(tmp_path / "cache", corpus, 8000, 1)
    with pytest.raises(AudioError, match="another corpus"):
        ClipCache(tmp_path / "cache", Corpus(corpus.clips[:3]), 8000, 2)
    write(tmp_path / "4.wav", signal(9000, 1, 8000), 8000)
    with pytest.raises(AudioError, match="another corpus"):
        ClipCache(tmp_path / "cache", corpus, 8000, 2)


def test_a_damaged_cache_is_refused(corpus, tmp_path):
    ClipCache(tmp_path / "cache", corpus, 8000, 2)
    with (tmp_path / "cache" / "samples.i16").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(AudioError, match="truncated"):
        ClipCache(tmp_path / "cache", corpus, 8000, 2)
    (tmp_path / "cache" / "clips.jsonl").write_text("nonsense\n")
    with pytest.raises(AudioError, match="damaged"):
        ClipCache(tmp_path / "cache", corpus, 8000, 2)


def test_a_file_that_went_bad_is_noted_and_replaced(corpus, tmp_path):
    (tmp_path / "1.wav").unlink()
    cache = ClipCache(tmp_path / "cache", corpus, 8000, 2)
    with pytest.raises(AudioError, match=r"1\.wav.*no such file"):
        cache.read(1, 0, 10, 8000)
    config = ExcerptConfig(rate=8000, seconds=0.1, batch=60, balance="none")
    excerpts = Excerpts(corpus, config, source=cache)
    assert 1 not in excerpts.labelled(0).clips.tolist()
    assert [bad.path[-5:] for bad in excerpts.bad.values()] == ["1.wav"]
    with pytest.raises(ValueError, match="make another cache"):
        cache.read(0, 0, 10, 16000)


def test_nothing_to_keep_is_a_cache_too(tmp_path):
    write(tmp_path / "a.wav", signal(0, 1), 8000)
    corpus = scan([AudioEntry(path=str(tmp_path / "a.wav"))])
    assert ClipCache(tmp_path / "cache", corpus, 8000).read(0, 0, 10, 8000).shape == (1, 0)


def test_full_scale_is_cut(tmp_path):
    audio = np.array([[0.0, 1.0, -1.0, 3.0, -3.0]], np.float32)
    corpus = scan([AudioEntry(path=str(write(tmp_path / "a.wav", audio, 8000, "FLOAT")))])
    assert ClipCache(tmp_path / "cache", corpus, 8000).read(0, 0, 5, 8000).tolist() == [[0.0, 1.0, -1.0, 1.0, -1.0]]
