import pytest

from codeword.data.folders import ListingError
from codeword.data.video_listings import list_videos
from codeword.evaluation.data_check import recognise

HEADER = "label,youtube_id,time_start,time_end,split\n"


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not looked into")


def told(listing):
    return [(item.path.name, item.labels, item.split, item.group) for item in listing.items]


def test_folders(tmp_path):
    make(tmp_path, "train/run/a.mp4", "train/jump/b.AVI", "test/run/c.webm", "test/run/c.jpg")
    listing = list_videos(tmp_path)
    assert sorted(told(listing)) == [
        ("a.mp4", ("run",), "train", ""),
        ("b.AVI", ("jump",), "train", ""),
        ("c.webm", ("run",), "test", ""),
    ]
    assert (listing.kind, listing.classes) == ("video", ("jump", "run"))
    make(tmp_path / "plain", "b.mkv", "a.mkv", "empty.csv")
    (tmp_path / "plain" / "empty.csv").write_bytes(b"\xff")
    assert [item.path.name for item in list_videos(tmp_path / "plain").items] == ["a.mkv", "b.mkv"]


def test_a_table_with_parts(tmp_path):
    make(tmp_path, "film.mp4")
    table = tmp_path / "list.csv"
    table.write_text(
        "path,label,split,start,seconds\n"
        "film.mp4,run,train,1.5,2\n"
        "film.mp4,jump,test,10,\n"
        "film.mp4,jump,test,soon,\n"
        "film.mp4,jump,test,1,-2\n"
        "film.mp4,jump,test,nan,\n"
    )
    listing = list_videos(table)
    assert [(item.start, item.seconds, item.split) for item in listing.items] == [
        (1.5, 2.0, "train"),
        (10.0, None, "test"),
    ]
    assert [bad.reason for bad in listing.bad] == [
        "start must be a number of seconds, got 'soon' (list.csv, line 4)",
        "seconds must be a number of seconds, got '-2' (list.csv, line 5)",
        "start must be a number of seconds, got 'nan' (list.csv, line 6)",
    ]


@pytest.mark.parametrize("header", [True, False])
def test_kinetics(tmp_path, header):
    make(tmp_path, "train_288px/abc-_1_x_000010_000020.mp4", "train_288px/two_000000_000010.mp4")
    make(tmp_path, "val/run fast/abc-_1_x_000010_000020.mkv")
    (tmp_path / "all.csv").write_text(
        (HEADER if header else "")
        + '"run, fast",abc-_1_x,10,20,train\n'
        + "jump,two,0,10,train\n"
        + "run,abc-_1_x,10,20,validate\n"
        + "run,abc-_1_x,10,20,val\n"
        + "jump,gone,5,15,val\n"
        + "jump,two,zero,10,train\n"
    )
    for path in (tmp_path, tmp_path / "all.csv"):
        listing = list_videos(path)
        assert listing.layout == "Kinetics, 1 tables"
        assert told(listing) == [
            ("abc-_1_x_000010_000020.mp4", ("run, fast",), "train", "abc-_1_x"),
            ("two_000000_000010.mp4", ("jump",), "train", "two"),
            ("abc-_1_x_000010_000020.mkv", ("run",), "val", "abc-_1_x"),
        ]
        assert [bad.reason for bad in listing.bad] == [
            f"no video abc-_1_x_000010_000020 below validate* (all.csv, line {3 + header})",
            f"no video gone_000005_000015 below val* (all.csv, line {5 + header})",
            f"the line makes no sense (all.csv, line {6 + header})",
        ]
        assert len(listing) + len(listing.bad) == 6


def test_kinetics_may_name_its_split_by_the_table(tmp_path):
    make(tmp_path, "test/x_000001_000011.mp4")
    (tmp_path / "test.csv").write_text("youtube_id,time_start,time_end,split\nx,1,11,test\n")
    assert told(list_videos(tmp_path)) == [("x_000001_000011.mp4", (), "test", "x")]
    (tmp_path / "test.csv").write_text("youtube_id,time_start,time_end\nx,1,11\n")
    assert told(list_videos(tmp_path)) == [("x_000001_000011.mp4", (), "test", "x")]


@pytest.mark.parametrize("between", [" ", ","])
def test_lists_of_paths_and_labels(tmp_path, between):
    make(tmp_path, "clips/a b.mp4", "clips/c.mkv")
    lines = [f"clips/a b.mp4{between}3", f"clips/c.mkv{between}0", f"clips/gone.mp4{between}3"]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    (tmp_path / "val.csv").write_text(lines[1])
    whole = list_videos(tmp_path)
    assert told(whole) == [
        ("a b.mp4", ("3",), "train", ""),
        ("c.mkv", ("0",), "train", ""),
        ("c.mkv", ("0",), "val", ""),
    ]
    assert whole.classes == ("0", "3")
    assert [bad.reason for bad in whole.bad] == ["it does not exist (train.csv, line 3)"]
    assert recognise(tmp_path / "val.csv") == "video"
    assert told(list_videos(tmp_path / "val.csv")) == [("c.mkv", ("0",), "val", "")]
    (tmp_path / "val.csv").write_text(lines[2])
    with pytest.raises(ListingError, match=r"none of the 1 videos of .*val\.csv exists: the first is .*gone\.mp4"):
        list_videos(tmp_path / "val.csv")


def test_what_is_no_data_set_is_one_line(tmp_path):
    with pytest.raises(ListingError, match="gone does not exist: give a folder of videos"):
        list_videos(tmp_path / "gone")
    with pytest.raises(ListingError, match="holds no video: looked for"):
        list_videos(tmp_path)
    (tmp_path / "list.csv").write_text(HEADER + "run,x,1,11,train\n")
    with pytest.raises(ListingError, match=r"has none of the 1 videos of list\.csv"):
        list_videos(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(ListingError, match="is no video that is known by its name"):
        list_videos(tmp_path / "a.txt")
    make(tmp_path, "a.mp4")
    assert len(list_videos(tmp_path / "a.mp4")) == 1
