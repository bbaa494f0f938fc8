import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.data.audio_augment import Gain, ShiftPhase, vrvq_augmentations
from codeword.data.audio_corpus import AudioEntry, Corpus, scan
from codeword.data.audio_errors import AudioError
from codeword.data.audio_excerpts import ExcerptConfig, Excerpts, Salience
from codeword.data.audio_files import read_audio
from codeword.data.audio_loudness import loudness
from codeword.data.audio_resample import resample
from codeword.data.audio_source import FileSource
from contracts.audio_samples import signal, write

RATE = 8000
SAME = 1e-3  # resampled in parts and as a whole, full scale 1
CONFIG = ExcerptConfig(rate=RATE, seconds=0.25, batch=6, augment=(ShiftPhase(), Gain()))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for number, (suffix, seconds) in enumerate([("wav", 1), ("flac", 2), ("ogg", 4), ("wav", 8)]):
        write(folder / f"speech{number}.{suffix}", signal(seconds * RATE, 1, RATE, number), RATE)
    write(folder / "music.flac", signal(3 * 44100, 2), 44100)
    write(folder / "short.wav", signal(500, 1, RATE), RATE)
    return folder


@pytest.fixture(scope="module")
def corpus(home):
    files = sorted(home.glob("*.*"))
    return scan([AudioEntry(path=str(path), kind=path.stem.rstrip("0123456789"), group=path.stem) for path in files])


def test_a_batch_is_a_function_of_seed_and_number(corpus):
    one, two = Excerpts(corpus, CONFIG), Excerpts(corpus, CONFIG)
    batch = one.batch(7)
    assert batch.shape == (6, 1, 2000)
    assert batch.dtype == torch.float32
    two.batch(3)
    assert torch.equal(two.batch(7), batch)
    assert not torch.equal(one.batch(8), batch)
    assert not torch.equal(Excerpts(corpus, replace(CONFIG, seed=1)).batch(7), batch)


@pytest.mark.parametrize("workers", [0, 1, 5])
@pytest.mark.parametrize("start", [0, 4])
def test_batches_are_the_same_for_any_number_of_workers_and_any_start(workers, start, corpus):
    excerpts = Excerpts(corpus, CONFIG, workers=workers, ahead=2)
    batches = excerpts.batches(start)
    for number in range(start, start + 6):
        assert torch.equal(next(batches), Excerpts(corpus, CONFIG).batch(number))
    batches.close()


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_shares_of_the_ranks_are_the_batch(world_size, corpus):
    shares = [Excerpts(corpus, CONFIG, workers=rank).batches(2, rank, world_size) for rank in range(world_size)]
    for number in (2, 3):
        assert torch.equal(torch.cat([next(share) for share in shares]), Excerpts(corpus, CONFIG).batch(number))
    with pytest.raises(ValueError, match="cannot be shared by 4"):
        next(Excerpts(corpus, CONFIG).batches(0, 0, 4))


def test_threads_end_with_the_iterator(corpus):
    before = threading.active_count()
    batches = Excerpts(corpus, CONFIG, workers=4).batches()
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


def plain(**settings):
    return ExcerptConfig(**{"rate": RATE, "seconds": 0.05, "batch": 30, "salience": None} | settings)


def test_kinds_take_turns_and_clips_are_drawn_by_duration(corpus):
    excerpts = Excerpts(corpus, plain())
    clips = torch.cat([excerpts.labelled(number).clips for number in range(30)]).tolist()
    kinds = [corpus.clips[clip].entry.kind for clip in clips]
    assert kinds == [name for name, _ in zip(itertools.cycle(["music", "short", "speech"]), kinds, strict=False)]
    drawn = [clip for clip in clips if corpus.clips[clip].entry.kind == "speech"]
    seconds = {n: clip.seconds for n, clip in enumerate(corpus.clips) if clip.entry.kind == "speech"}
    expected = {n: len(drawn) * s / sum(seconds.values()) for n, s in seconds.items()}
    chi_square = sum((drawn.count(n) - wanted) ** 2 / wanted for n, wanted in expected.items())
    assert chi_square < 16.3  # 3 degrees of freedom, 0.1 %


def test_weights_set_frequencies(corpus):
    excerpts = Excerpts(corpus, plain(weights={"music": 3.0, "speech": 1.0}))
    clips = torch.cat([excerpts.labelled(number).clips for number in range(20)]).tolist()
    kinds = [corpus.clips[clip].entry.kind for clip in clips]
    assert set(kinds) == {"music", "speech"}
    assert abs(kinds.count("music") - 450) < 4 * (600 * 0.75 * 0.25) ** 0.5
    for weights, words in [({"noise": 1.0}, "noise"), ({"music": 0.0}, "not all zero"), ({"music": -1.0}, "not all")]:
        with pytest.raises(ValueError, match=words):
            Excerpts(corpus, plain(weights=weights))


@pytest.mark.parametrize(("balance", "first"), [("group", range(6)), ("none", None)])
def test_groups_or_nothing_take_turns(balance, first, corpus):
    clips = Excerpts(corpus, plain(balance=balance, batch=600)).labelled(0).clips.tolist()
    if first is not None:
        order = sorted(range(len(corpus)), key=lambda n: corpus.clips[n].entry.group)
        assert clips[:12] == order * 2
    else:
        share = corpus.clips[0].seconds / corpus.seconds
        assert abs(clips.count(0) - 600 * share) < 4 * (600 * share * (1 - share)) ** 0.5


def test_places_are_uniform(corpus):
    long = Corpus(tuple(clip for clip in corpus.clips if clip.entry.path.endswith("speech3.wav")))
    starts = Excerpts(long, plain(batch=2000)).labelled(0).starts.numpy()
    last = 8 * RATE - 400
    assert (starts.min(), starts.max()) >= (0, last - 300)
    assert starts.max() <= last
    counts = np.histogram(starts, bins=10, range=(0, last + 1))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # 9 degrees of freedom, 0.1 %


def test_an_excerpt_is_the_part_of_its_file(corpus):
    excerpts = Excerpts(corpus, plain())
    found = excerpts.labelled(3)
    same = 0
    for audio, length, clip, start in zip(*found, strict=True):
        if corpus.clips[clip].rate == RATE:
            wanted = read_audio(corpus.clips[clip].entry.path, int(start), 400)
            assert torch.equal(audio[:, :length], wanted)
            assert not audio[:, length:].any()
            same += 1
    assert same == 20


@settings(max_examples=25, deadline=None)
@given(
    place=st.integers(0, 145), rate=st.sampled_from([8000, 16000, 22050, 32000, 48000]), samples=st.integers(1, 3000)
)
def test_a_resampled_part_is_the_part_of_the_resampled_whole(place, rate, samples, corpus):
    number = next(n for n, clip in enumerate(corpus.clips) if clip.rate == 44100)
    whole = resample(read_audio(corpus.clips[number].entry.path).numpy(), 44100, rate)
    start = 882 * place  # a frame of the file that is also a sample at every one of these rates
    part = FileSource(corpus).read(number, start, samples, rate)
    wanted = whole[:, start * rate // 44100 :][:, :samples]
    assert part.shape == wanted.shape
    assert np.abs(part - wanted).max() < SAME


def test_a_part_of_a_clip_stays_in_it(home):
    path = str(home / "music.flac")
    clip = scan([AudioEntry(path=path, start=1.0, seconds=0.5)])
    source = FileSource(clip)
    whole = resample(read_audio(path).numpy(), 44100, RATE)
    part = source.read(0, 0, 10**6, RATE)
    assert part.shape == (2, RATE // 2)
    assert np.abs(part - whole[:, RATE : RATE * 3 // 2]).max() < SAME
    starts = Excerpts(clip, plain(batch=200)).labelled(0).starts
    assert 44100 <= starts.min() <= starts.max() <= 44100 * 1.5 - 0.05 * 44100


def test_a_short_clip_is_padded_with_zeros(corpus, home):
    short = Corpus(tuple(clip for clip in corpus.clips if clip.entry.kind == "short"))
    found = Excerpts(short, plain(seconds=0.25, batch=3)).labelled(0)
    assert found.lengths.tolist() == [500] * 3
    assert torch.equal(found.audio[0, :, :500], read_audio(home / "short.wav"))
    assert not found.audio[:, :, 500:].any()
    changed = Excerpts(short, plain(seconds=0.25, batch=3, augment=vrvq_augmentations())).batch(0)
    assert not changed[:, :, 500:].any()


@pytest.fixture
def half_silent(tmp_path):
    """Two seconds of which the first three quarters are silence."""
    audio = signal(2 * RATE, 1, RATE)
    audio[:, : 3 * RATE // 2] *= 1e-4
    return scan([AudioEntry(path=str(write(tmp_path / "a.wav", audio, RATE, "FLOAT")))])


def test_salient_excerpts_are_loud(half_silent):
    loud = {}
    for tries in (1, 4, 20):
        config = plain(batch=120, salience=Salience(tries=tries))
        batch = Excerpts(half_silent, config).batch(0).numpy()
        loud[tries] = np.mean([loudness(audio, RATE) > -40 for audio in batch])
    assert abs(loud[1] - 0.27) < 0.13
    assert abs(loud[4] - (1 - 0.73**4)) < 0.13
    assert loud[20] > 0.97


def test_of_quiet_places_the_loudest_is_kept(half_silent):
    config = plain(batch=60, salience=Salience(cutoff=100.0, tries=16))
    levels = [loudness(audio, RATE) for audio in Excerpts(half_silent, config).batch(0).numpy()]
    assert np.mean(np.array(levels) > -40) > 0.95


def test_silence_does_not_hang(tmp_path):
    silence = scan([AudioEntry(path=str(write(tmp_path / "a.wav", np.zeros((1, RATE), np.float32), RATE)))])
    assert not Excerpts(silence, replace(CONFIG, augment=vrvq_augmentations())).batch(0).any()


def test_stereo_and_one_channel(corpus, home):
    stereo = Excerpts(corpus, plain(channels=2)).labelled(0)
    for audio, clip in zip(stereo.audio, stereo.clips, strict=True):
        assert torch.equal(audio[0], audio[1]) == (corpus.clips[clip].channels == 1)
    music = Corpus(tuple(clip for clip in corpus.clips if clip.entry.kind == "music"))
    config = plain(rate=44100, seconds=0.01, batch=100)
    single = Excerpts(music, replace(config, one_channel=True)).labelled(0)
    mixed = Excerpts(music, config).labelled(0)
    whole, chosen = read_audio(home / "music.flac"), []
    for audio, start in zip(single.audio, single.starts, strict=True):
        (channel,) = (c for c in (0, 1) if torch.equal(audio[0], whole[c, start : start + 441]))
        chosen.append(channel)
    assert 30 < sum(chosen) < 70
    for audio, start in zip(mixed.audio, mixed.starts, strict=True):
        torch.testing.assert_close(audio[0], whole[:, start : start + 441].mean(0))


@pytest.fixture
def spoilt(tmp_path):
    """A corpus that was sound when it was read, and of which a part was spoilt afterwards."""
    for number in range(8):
        write(tmp_path / f"{number}.flac", signal(2 * RATE, 1, RATE, number), RATE)
    corpus = scan([AudioEntry(path=str(tmp_path / f"{number}.flac")) for number in range(8)])
    raw = (tmp_path / "1.flac").read_bytes()
    (tmp_path / "1.flac").write_bytes(raw[: len(raw) // 2])
    (tmp_path / "3.flac").unlink()
    (tmp_path / "5.flac").write_bytes(b"no audio any more")
    return corpus


def test_bad_files_are_replaced_counted_and_change_nothing_else(spoilt):
    whole = Excerpts(spoilt, replace(CONFIG, batch=40))
    first = whole.labelled(0)
    assert {bad.path[-6:] for bad in whole.bad.values()} == {"1.flac", "3.flac", "5.flac"}
    assert all("\n" not in bad.reason for bad in whole.bad.values())
    assert not {3, 5} & set(first.clips.tolist())
    # The same whatever was found out before, by whatever number of workers.
    assert torch.equal(whole.batch(0), first.audio)
    ahead = Excerpts(spoilt, replace(CONFIG, batch=40), workers=3)
    batches = ahead.batches(0)
    assert torch.equal(next(batches), first.audio)
    batches.close()
    assert set(ahead.bad) == set(whole.bad)


def test_a_corpus_of_nothing_but_bad_files_ends(spoilt):
    bad = Corpus(tuple(spoilt.clips[n] for n in (3, 5)))
    with pytest.raises(AudioError, match=r"100 files in a row cannot be read.*\.flac"):
        Excerpts(bad, CONFIG).batch(0)


def test_an_error_in_a_thread_reaches_the_caller(spoilt):
    bad = Corpus(tuple(spoilt.clips[n] for n in (3, 5)))
    with pytest.raises(AudioError, match="in a row"):
        next(Excerpts(bad, CONFIG, workers=2).batches(0))


@pytest.mark.parametrize(
    "change",
    [{"seconds": 0.0}, {"batch": 0}, {"channels": 0}, {"rate": 0}, {"salience": Salience(tries=0)}],
)
def test_settings_that_make_no_batch_are_refused(change, corpus):
    with pytest.raises(ValueError, match="at least"):
        Excerpts(corpus, replace(CONFIG, **change))


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(AudioError, match="nothing to draw from"):
        Excerpts(Corpus(()), CONFIG)
    with pytest.raises(ValueError, match="workers"):
        Excerpts(Corpus(()), CONFIG, workers=-1)
