import json
import os
import time

import pytest

from codeword.data import audio_corpus
from codeword.data.audio_corpus import AudioEntry, Corpus, folder, manifest, open_corpus, scan
from codeword.data.audio_errors import AudioError
from codeword.data.audio_presets import PRESETS, preset
from contracts.audio_samples import FIXTURES, signal, write


@pytest.fixture
def tree(tmp_path):
    """Two speakers, a track, a text, and two files that are no audio."""
    for name, frames in {"a/1.wav": 4000, "a/2.flac": 8000, "b/deep/3.ogg": 16000, "c.wav": 100}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name, signal(frames, 1), 8000)
    (tmp_path / "a" / "notes.txt").write_text("no audio")
    (tmp_path / "a" / "bad.wav").write_text("no audio")
    (tmp_path / "b" / "empty.flac").write_bytes(b"")
    return tmp_path


def names(corpus, home):
    return [os.path.relpath(clip.entry.path, home) for clip in corpus.clips]


def test_a_folder_is_searched_to_its_bottom(tree):
    corpus = open_corpus(tree)
    assert names(corpus, tree) == ["a/1.wav", "a/2.flac", "b/deep/3.ogg", "c.wav"]
    assert [clip.frames for clip in corpus.clips] == [4000, 8000, 16000, 100]
    assert [clip.entry.group for clip in corpus.clips] == ["a", "a", "b/deep", "."]
    assert corpus.seconds == pytest.approx(28100 / 8000)


def test_bad_files_are_set_aside_with_a_reason(tree):
    corpus = open_corpus(tree)
    assert [os.path.relpath(bad.path, tree) for bad in corpus.bad] == ["a/bad.wav", "b/empty.flac"]
    for bad in corpus.bad:
        assert "\n" not in bad.reason
        assert bad.path in bad.reason
    lines = corpus.report().splitlines()
    assert lines[0] == "all: 4 clips, 0.00 hours"
    assert lines[1] == "2 files skipped"
    assert len(lines) == 4


def test_a_folder_without_audio_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(AudioError, match=r"a \.csv manifest|holds no audio|no manifest"):
            open_corpus(path)


def test_a_manifest_names_files_parts_and_splits(tree):
    (tree / "list.csv").write_text(
        "path,rate,kind,group,split,start,seconds\n"
        "a/1.wav,8000,speech,anna,train,,\n"
        "a/2.flac,8000,speech,bert,test,0.25,0.5\n"
        "b/deep/3.ogg,8000,music,,train,,0.5\n"
        "b/deep/3.ogg,8000,music,,train,1.5,99\n"
        "b/deep/3.ogg,8000,music,,train,2.5,1\n"
    )
    corpus = open_corpus(tree / "list.csv")
    assert [(clip.first, clip.frames) for clip in corpus.clips] == [(0, 4000), (2000, 4000), (0, 4000), (12000, 4000)]
    assert [clip.entry.kind for clip in corpus.clips] == ["speech", "speech", "music", "music"]
    assert "lasts 2.000 s: nothing starts at 2.5 s" in corpus.bad[0].reason
    assert names(corpus.only(split="train", kind="speech"), tree) == ["a/1.wav"]
    with pytest.raises(ValueError, match="'valid': there are 'test', 'train'"):
        corpus.only(split="valid")


def test_a_root_takes_absolute_paths_in(tree):
    (tree / "list.csv").write_text("wav,lab,split\n/a/1.wav,x,train\n")
    (entry,) = manifest(tree / "list.csv", root=tree)
    assert (entry.path, entry.split) == (str(tree / "a" / "1.wav"), "train")
    (entry,) = manifest(tree / "list.csv")
    assert entry.path == "/a/1.wav"


def test_columns_can_be_named(tree):
    (tree / "list.csv").write_text("clip,label,fold\na/1.wav,tom,2\n")
    columns = {"path": "clip", "kind": "label", "split": "fold"}
    (entry,) = manifest(tree / "list.csv", columns=columns)
    assert (entry.kind, entry.split) == ("tom", "2")
    with pytest.raises(AudioError, match="no column 'x' for 'path'"):
        manifest(tree / "list.csv", columns={"path": "x"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no header line"),
        ("name,kind\na,b\n", "no column 'path': it has name, kind"),
        ("path\n", "names no files"),
        ("path,start\na/1.wav,soon\n", "line 2: could not convert"),
        ("path,start\na/1.wav,1\na/1.wav,-1\n", "line 3: start and seconds"),
        ("path,seconds\na/1.wav,nan\n", "line 2: start and seconds"),
        ("path,kind\n,music\n", "line 2: the column 'path' is empty"),
    ],
)
def test_a_bad_manifest_is_refused_in_one_line(text, words, tree):
    (tree / "list.csv").write_text(text)
    with pytest.raises(AudioError, match=words) as caught:
        manifest(tree / "list.csv")
    assert "\n" not in str(caught.value)


def test_a_short_line_of_a_manifest_has_empty_columns(tree):
    (tree / "list.csv").write_text("path,kind,split\na/1.wav\n")
    assert manifest(tree / "list.csv") == [AudioEntry(path=str(tree / "a/1.wav"))]


def test_an_index_spares_opening_what_has_not_changed(tree, monkeypatch):
    index, opened = tree / "index.jsonl", []
    read = audio_corpus.audio_info
    monkeypatch.setattr(audio_corpus, "audio_info", lambda path: opened.append(path) or read(path))
    first = scan(folder(tree), index=index)
    assert len(opened) == 6
    assert scan(folder(tree), index=index) == first
    assert len(opened) == 6
    time.sleep(0.01)
    write(tree / "a" / "1.wav", signal(5000, 1), 8000)
    assert scan(folder(tree), index=index).clips[0].frames == 5000
    assert opened[6:] == [str(tree / "a" / "1.wav")]
    assert {json.loads(line)["path"] for line in index.read_text().splitlines()} == set(opened)


def test_a_foreign_index_is_refused(tree):
    (tree / "index.jsonl").write_text("{]\n")
    with pytest.raises(AudioError, match="no index"):
        scan(folder(tree), index=tree / "index.jsonl")


def test_corpora_are_joined(tree):
    one, two = scan(folder(tree / "a", kind="x")), scan(folder(tree / "b", kind="y"))
    both = one + two
    assert (len(both), len(both.bad)) == (3, 2)
    assert {clip.entry.kind for clip in both.clips} == {"x", "y"}


def test_splits_keep_groups_together_and_near_their_shares():
    clips = [
        audio_corpus.AudioClip(AudioEntry(path=f"{n}.wav", group=f"g{n // 3}"), 8000, 1, 0, 100) for n in range(6000)
    ]
    shares = {"train": 0.8, "val": 0.1, "test": 0.1}
    done = Corpus(tuple(clips)).with_splits(shares)
    splits = {}
    for clip in done.clips:
        assert splits.setdefault(clip.entry.group, clip.entry.split) == clip.entry.split
    for split, share in shares.items():
        count = sum(value == split for value in splits.values())
        assert abs(count - 2000 * share) < 4 * (2000 * share * (1 - share)) ** 0.5
    fewer = Corpus(tuple(clips[:600])).with_splits(shares)
    assert fewer.clips == done.clips[:600]
    assert Corpus(tuple(clips)).with_splits(shares, seed=1).clips != done.clips
    with pytest.raises(ValueError, match="not all zero"):
        done.with_splits({"train": 0.0})


PATHS = {
    "daps": {
        "clean/f1_script1_clean.wav": ("f1", "train"),
        "produced/m10_script2_produced.wav": ("m10", "test"),
        "cleanraw/f1_script1_cleanraw.wav": None,
    },
    "musdb18": {
        "train/A - B/vocals.wav": ("A - B", "train"),
        "test/C/mixture.wav": ("C", "test"),
        "test/D - E.stem.mp4": ("D - E", "test"),
        "other/x.wav": None,
    },
    "audioset": {
        "balanced_train_segments/--4gqARaEJE.wav": ("--4gqARaEJE", "train"),
        "eval_segments/abcdefghijk_30000.wav": ("abcdefghijk", "test"),
        "all/abcdefghijX.flac": ("abcdefghijX", "test"),
    },
    "common_voice": {
        "en/clips/common_voice_en_1.mp3": ("en/clips/common_voice_en_1.mp3", "train"),
        "en/clips/common_voice_en_2.mp3": ("en/clips/common_voice_en_2.mp3", "val"),
        "en/clips/common_voice_en_9.mp3": ("en/clips/common_voice_en_9.mp3", ""),
    },
    "vctk": {"wav48_silence_trimmed/p225/p225_001_mic1.flac": ("p225", ""), "wav16/p225/x.wav": None},
    "libritts": {
        "train-clean-100/19/198/19_198_000.wav": ("19", "train"),
        "dev-clean/84/121/a.flac": ("84", "val"),
        "test-other/367/1/a.flac": ("367", "test"),
    },
    "dns_speech": {
        "clean_fullband/read_speech/book_1_chp_2_reader_00123_0.wav": ("reader_00123", ""),
        "clean_fullband/vctk_wav48_silence_trimmed/p225/a.wav": ("/p225/", ""),
        "noise_fullband/a.wav": None,
    },
    "jamendo": {"04/1234.mp3": ("1234", ""), "05/77.low.mp3": ("77", "")},
}


@pytest.mark.parametrize("name", PATHS)
def test_a_preset_knows_the_layout_of_its_corpus(name, tmp_path):
    for path in PATHS[name]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    if name == "audioset":
        (tmp_path / "eval_segments.csv").write_text('# YTID, start\nabcdefghijX, 0.0, 10.0, "/m/1,/m/2"\n')
    if name == "common_voice":
        for split, number in {"train": 1, "dev": 2}.items():
            line = f'client\tother.mp3\t"Open quote\t2\nclient\tcommon_voice_en_{number}.mp3\tText\t2\n'
            (tmp_path / "en" / f"{split}.tsv").write_text("client_id\tpath\tsentence\tup_votes\n" + line)
    found = {os.path.relpath(entry.path, tmp_path): (entry.group, entry.split) for entry in preset(name, tmp_path)}
    assert found == {path: wanted for path, wanted in PATHS[name].items() if wanted is not None}


def test_every_preset_has_a_test_and_says_what_it_expects(tmp_path):
    assert set(PATHS) | {"librispeech"} == set(PRESETS)
    with pytest.raises(AudioError, match="no preset 'x': there are daps"):
        preset("x", tmp_path)
    write(tmp_path / "a.wav", signal(10))
    with pytest.raises(AudioError, match="laid out differently: expected"):
        preset("daps", tmp_path)


def test_real_recordings_are_a_corpus():
    corpus = open_corpus(FIXTURES)
    assert len(corpus) == 5
    assert corpus.seconds == pytest.approx(257278 / 16000 + (69305 + 77321 + 296317 + 19621) / 44100)
