import json

import pytest

from codeword.data import audio_corpus
from codeword.data.audio_listings import list_audio
from codeword.data.folders import ListingError
from codeword.data.shards import write_shards
from contracts.audio_samples import signal, write

CLASSES = "index,mid,display_name\n1,/m/1,Speech\n0,/m/0,Male speech, man\n2,/m/2,Bell\n"
QUOTED = CLASSES.replace("Male speech, man", '"Male speech, man"')


def fill(home, *names, frames=800):
    """Files of a tenth of a second."""
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        write(home / name, signal(frames, 1, 8000), 8000)


def told(listing, home):
    return [(i.path.relative_to(home).as_posix(), i.labels, i.split, i.group) for i in listing.items]


def missing(listing, home):
    for bad in listing.bad:
        assert "\n" not in bad.reason
    return [bad.path.relative_to(home).as_posix() for bad in listing.bad]


def test_esc50_has_five_folds_and_keeps_clips_of_a_recording_together(tmp_path):
    fill(tmp_path, "audio/1-1-A-7.wav", "audio/1-1-B-7.wav", "audio/5-2-A-0.wav")
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/esc50.csv").write_text(
        "filename,fold,target,category,esc10,src_file,take\n"
        "1-1-A-7.wav,1,7,rooster,False,1,A\n1-1-B-7.wav,1,7,rooster,False,1,B\n"
        "5-2-A-0.wav,5,0,wolf,True,2,A\n3-3-A-1.wav,3,1,cat,False,3,A\n"
    )
    listing = list_audio(tmp_path)
    assert listing.layout == "ESC-50, 5 folds"
    assert told(listing, tmp_path) == [
        ("audio/1-1-A-7.wav", ("rooster",), "fold1", "1"),
        ("audio/1-1-B-7.wav", ("rooster",), "fold1", "1"),
        ("audio/5-2-A-0.wav", ("wolf",), "fold5", "2"),
    ]
    assert listing.classes == ("wolf", "cat", "rooster")  # by number, also the one whose files are missing
    assert listing.targets() == [(2,), (2,), (0,)]
    assert missing(listing, tmp_path) == ["audio/3-3-A-1.wav"]
    assert list_audio(tmp_path / "meta/esc50.csv") == listing


def test_tar_shards_are_listed_and_no_archive_beside_what_was_unpacked(tmp_path):
    fill(tmp_path, "in/train/cat/a.wav", "in/train/dog/b.wav", "in/eval/cat/c.wav")
    written = write_shards(list_audio(tmp_path / "in"), tmp_path / "out", per_shard=1)
    listing = list_audio(tmp_path / "out")
    assert listing.items == written.items
    assert listing.layout == "3 tar shards"
    assert listing.targets() == [(0,), *listing.targets()[1:]]
    assert [item.split for item in listing.items] == ["test", "train", "train"]
    assert list_audio(tmp_path / "out/test-000000.tar").items == written.only("test").items
    fill(tmp_path, "words/no/a_nohash_0.wav", "words/yes/b_nohash_0.wav")
    for name in ("validation_list.txt", "testing_list.txt", "words.tar.gz"):
        (tmp_path / "words" / name).write_text("")
    assert list_audio(tmp_path / "words").layout == "Speech Commands"
    (tmp_path / "words" / "testing_list.txt").unlink()
    with pytest.raises(ListingError, match=r"words\.tar\.gz"):
        list_audio(tmp_path / "words")


def test_folders_of_folds_are_splits(tmp_path):
    fill(tmp_path, "fold1/cat/a.wav", "fold2/dog/b.wav", "fold_10/cat/c.wav")
    listing = list_audio(tmp_path)
    assert [(item.labels, item.split) for item in listing.items] == [
        (("cat",), "fold1"),
        (("dog",), "fold2"),
        (("cat",), "fold10"),
    ]


def test_speech_commands_are_split_by_their_lists(tmp_path):
    speakers = "yes/a1_nohash_0.wav", "yes/a1_nohash_1.wav", "no/b2_nohash_0.wav", "no/c3_nohash_0.wav"
    fill(tmp_path, *speakers, "_background_noise_/hum.wav", "yes/deep/x.wav")
    (tmp_path / "validation_list.txt").write_text("no/b2_nohash_0.wav\nno/gone_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/c3_nohash_0.wav\n")
    listing = list_audio(tmp_path)
    assert told(listing, tmp_path) == [
        ("no/b2_nohash_0.wav", ("no",), "val", "b2"),
        ("no/c3_nohash_0.wav", ("no",), "test", "c3"),
        ("yes/a1_nohash_0.wav", ("yes",), "train", "a1"),
        ("yes/a1_nohash_1.wav", ("yes",), "train", "a1"),
    ]
    assert listing.classes == ("no", "yes")
    assert missing(listing, tmp_path) == ["no/gone_nohash_0.wav"]


@pytest.fixture
def lists(tmp_path):
    """A list of training as AST has it, one of test as AudioMAE has it, and their classes."""
    fill(tmp_path, "wav/a.wav", "wav/b.wav", "c.wav")
    train = [{"wav": "wav/a.wav", "labels": "/m/1,/m/0"}, {"wav": "wav/b.wav", "labels": "/m/9"}, {"wav": "gone.wav"}]
    (tmp_path / "train_data.json").write_text(json.dumps({"data": train}))
    (tmp_path / "eval.json").write_text(json.dumps([{"wav": "c.wav", "labels": ["/m/2"]}]))
    (tmp_path / "class_labels_indices.csv").write_text(QUOTED)
    (tmp_path / "other.csv").write_text("index,mid,display_name\n0,/m/0,Zero\n")
    (tmp_path / "about.json").write_text('{"licence": "CC0"}')
    return tmp_path


def test_json_lists_of_audioset(lists):
    listing = list_audio(lists)
    assert listing.layout == "an AudioSet JSON list"
    assert told(listing, lists) == [
        ("c.wav", ("Bell",), "test", ""),
        ("wav/a.wav", ("Speech", "Male speech, man"), "train", ""),
    ]
    assert listing.classes == ("Male speech, man", "Speech", "Bell")
    assert listing.targets() == [(2,), (1, 0)]
    assert missing(listing, lists) == ["wav/b.wav", "gone.wav"]
    assert "'/m/9' (train_data.json) is not among the 3" in listing.bad[0].reason
    assert [item.path for item in list_audio(lists / "eval.json").items] == [lists / "c.wav"]


def test_a_json_list_takes_its_root_and_its_classes_from_elsewhere(lists, tmp_path):
    home = tmp_path / "lists"
    home.mkdir()
    (home / "mine.json").write_text('[{"wav": "/wav/a.wav", "labels": "/m/0"}, {"wav": "c.wav", "labels": ""}]')
    plain = list_audio(home / "mine.json", root=lists)
    assert told(plain, lists) == [("wav/a.wav", ("/m/0",), "", ""), ("c.wav", (), "", "")]
    assert plain.classes == ("/m/0",)
    named = list_audio(home / "mine.json", root=lists, labels=lists / "other.csv")
    assert named.items[0].labels == named.classes == ("Zero",)


def test_two_classes_of_one_name_stay_two(lists):
    (lists / "class_labels_indices.csv").write_text(QUOTED.replace("Bell", "Speech"))
    listing = list_audio(lists)
    assert listing.classes == ("Male speech, man", "Speech (/m/1)", "Speech (/m/2)")
    assert listing.targets() == [(2,), (1, 0)]


def test_several_lists_of_a_split_are_not_mixed(lists):
    (lists / "train_2.json").write_bytes((lists / "train_data.json").read_bytes())
    with pytest.raises(ListingError, match="several lists of split 'train': give one"):
        list_audio(lists)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "lists no audio"),
        ('{"files": []}', "lists no audio"),
        ('[{"wav": "a"}, {"path": "b"}]', "entry 1: expected"),
        ('[{"wav": "a", "labels": 3}]', "entry 0: expected"),
    ],
)
def test_a_json_list_that_is_none_is_told_in_a_line(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ListingError, match=said) as caught:
        list_audio(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


SEGMENTS = """# Segments csv created Sun Mar  5 10:54:31 2017
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 0.100, 0.200, "/m/1,/m/0"
--ZhevVpy1s, 50.000, 60.000, "/m/2"
-0RWZT-miFs, 420.000, 430.000, "/m/1"
abcdefghijk, 1.000, 2.000, "/m/1"
"""


def test_segments_of_audioset_find_their_files(tmp_path):
    fill(tmp_path, "x/--ZhevVpy1s_50000_60000.flac", "Y-0RWZT-miFs.wav", "unnamed.wav")
    fill(tmp_path, "x/--PJHxphWEs.wav", frames=16000)  # the whole recording: two seconds, of which a tenth is meant
    (tmp_path / "balanced_train_segments.csv").write_text(SEGMENTS)
    (tmp_path / "eval_segments.csv").write_text('# YTID\nZZZZZZZZZZZ, 1, 2, "/m/1"\n')
    (tmp_path / "class_labels_indices.csv").write_text(QUOTED)
    listing = list_audio(tmp_path)
    assert listing.layout == "AudioSet, CSV files of segments"
    assert told(listing, tmp_path) == [
        ("x/--PJHxphWEs.wav", ("Speech", "Male speech, man"), "train", "--PJHxphWEs"),
        ("x/--ZhevVpy1s_50000_60000.flac", ("Bell",), "train", "--ZhevVpy1s"),
        ("Y-0RWZT-miFs.wav", ("Speech",), "train", "-0RWZT-miFs"),
    ]
    assert [item.start for item in listing.items] == [0.1, 0.0, 0.0]
    assert [item.seconds for item in listing.items] == [0.1, None, None]
    assert missing(listing, tmp_path) == ["abcdefghijk", "ZZZZZZZZZZZ"]
    assert listing.classes == ("Male speech, man", "Speech", "Bell")
    one = list_audio(tmp_path / "balanced_train_segments.csv")
    assert one.items == listing.items
    elsewhere = tmp_path / "lists"
    elsewhere.mkdir()
    (elsewhere / "mine.csv").write_text(SEGMENTS)
    told_root = list_audio(elsewhere / "mine.csv", root=tmp_path, labels=tmp_path / "class_labels_indices.csv")
    assert [item.path for item in told_root.items] == [item.path for item in listing.items]


@pytest.mark.parametrize("line", ["abc, 1, 2", 'abc, 1, x, "/m/1"', 'abc, 2, 1, "/m/1"'])
def test_a_line_of_segments_that_is_none_is_told(tmp_path, line):
    fill(tmp_path, "abc.wav")
    (tmp_path / "eval_segments.csv").write_text(f"# YTID\n{line}\n")
    with pytest.raises(ListingError, match=r"eval_segments\.csv, line 2: "):
        list_audio(tmp_path)


def test_folders_of_classes_and_of_splits(tmp_path):
    fill(tmp_path, "train/dog/1.wav", "train/cat/take/2.wav", "test/dog/3.flac")
    (tmp_path / "train/cat/bad.wav").write_text("no audio")
    (tmp_path / "dataset.json").write_text("{}")
    listing = list_audio(tmp_path)
    assert sorted(told(listing, tmp_path)) == [
        ("test/dog/3.flac", ("dog",), "test", ""),
        ("train/cat/take/2.wav", ("cat",), "train", ""),
        ("train/dog/1.wav", ("dog",), "train", ""),
    ]
    assert missing(listing, tmp_path) == ["train/cat/bad.wav"]


def test_a_plain_folder_has_no_labels_and_one_file_is_enough(tmp_path):
    fill(tmp_path, "1.wav")
    listing = list_audio(tmp_path)
    assert told(listing, tmp_path) == [("1.wav", (), "", "")]
    assert listing.classes == ()
    fill(tmp_path, "2.wav", frames=0)
    (bad,) = list_audio(tmp_path).bad
    assert bad.reason.endswith("2.wav lasts 0.000 s: nothing is there from 0.0 s on")


def test_a_table_names_parts_folds_and_labels(tmp_path):
    fill(tmp_path, "a.wav", "b.wav")
    (tmp_path / "list.csv").write_text(
        "wav,label,fold,speaker,start,end\na.wav,tom,2,anna,0.02,0.05\n\nb.wav,snare,1,bert,,\nb.wav,10,x,,0.1,0.2\n"
    )
    listing = list_audio(tmp_path / "list.csv")
    assert told(listing, tmp_path) == [("a.wav", ("tom",), "fold2", "anna"), ("b.wav", ("snare",), "fold1", "bert")]
    assert listing.items[0].start == 0.02
    assert listing.items[0].seconds == pytest.approx(0.03)
    assert listing.items[1].seconds is None
    assert listing.classes == ("10", "snare", "tom")
    assert "lasts 0.100 s: nothing is there from 0.1 s on" in listing.bad[0].reason


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["a; b ;a", "c, d"], [("a", "b"), ("c, d",)]),
        (["a|b", ""], [("a", "b"), ()]),
        (["a,b", "c"], [("a", "b"), ("c",)]),
    ],
)
def test_a_file_of_a_table_may_have_many_labels(tmp_path, cells, labels):
    fill(tmp_path / "audio", "a.wav")
    rows = [f'/a.wav,"{cell}",validation' for cell in cells]
    (tmp_path / "list.csv").write_text("\n".join(["path,labels,split", *rows]))
    listing = list_audio(tmp_path / "list.csv", root=tmp_path / "audio")
    assert [item.labels for item in listing.items] == labels
    assert {item.split for item in listing.items} == {"val"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label\nx\n", "no column 'path'"),
        ("path,start,end\na.wav,3,2\n", "line 2: the end comes after the start"),
        ("path,start,end\na.wav,,x\n", "line 2: could not convert"),
        ("path,start\na.wav,-1\n", "line 2: start and seconds are 0 or more"),
    ],
)
def test_a_table_that_makes_no_sense_is_told_in_a_line(tmp_path, text, said):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ListingError, match=said):
        list_audio(tmp_path / "list.csv")


def test_one_recording_is_a_listing_of_one(tmp_path):
    fill(tmp_path, "kick.wav")
    assert told(list_audio(tmp_path / "kick.wav"), tmp_path) == [("kick.wav", (), "", "")]
    (tmp_path / "bad.wav").write_bytes(b"nothing of the kind")
    assert missing(list_audio(tmp_path / "bad.wav"), tmp_path) == ["bad.wav"]


def test_what_is_no_data_set_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    for path, said in ((tmp_path, "holds no audio"), (tmp_path / "a.txt", "no list"), (tmp_path / "b", "missing")):
        with pytest.raises(ListingError, match=said):
            list_audio(path)


def test_headers_are_read_once(tmp_path, monkeypatch):
    fill(tmp_path, "x/1.wav", "y/2.wav")
    first = list_audio(tmp_path, index=tmp_path / "headers.jsonl")
    monkeypatch.setattr(audio_corpus, "audio_info", None)
    assert list_audio(tmp_path, index=tmp_path / "headers.jsonl") == first


def test_several_labels_of_a_table_are_several_in_either_column(tmp_path):
    fill(tmp_path, "a.wav", "b.wav")
    (tmp_path / "one.csv").write_text("path,label\na.wav,dog;rain\nb.wav,rain\n")
    (tmp_path / "many.csv").write_text("path,labels\na.wav,dog;rain\nb.wav,rain\n")
    for table in ("one.csv", "many.csv"):
        listing = list_audio(tmp_path / table)
        assert [item.labels for item in listing.items] == [("dog", "rain"), ("rain",)]
        assert listing.classes == ("dog", "rain")
