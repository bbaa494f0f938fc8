from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from codeword.data.folders import ListingError
from codeword.data.image_files import read_image
from codeword.data.image_listings import list_images
from codeword.data.listing import Item, Listing
from codeword.data.shards import write_shards
from codeword.data.video_listings import list_videos
from codeword.evaluation.data_check import check_data, recognise, spread
from codeword.evaluation.data_looks import show
from codeword.evaluation.data_sheet import contact_sheet, save_sheet
from contracts.media import STEP, save_picture, write_video

SPEECH = Path(__file__).parents[1] / "fixtures" / "ru_0001.flac"


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    for number in range(9):
        save_picture(folder / ("train" if number < 6 else "test") / "abc"[number % 3] / f"{number}.png", number)
    save_picture(folder / "train" / "d" / "9.png", 9, channels=1)
    (folder / "train" / "a" / "bad.jpg").write_bytes(b"no image")
    (folder / "train" / "a" / "empty.jpg").touch()
    return folder


def test_what_is_told_of_images(pictures):
    found = check_data(pictures)
    assert found.lines == (
        f"{pictures}: image, a folder per class, below test, train",
        "  items: 11, 4 classes",
        "  test: 3, 3 classes of 1 to 1, median 1",
        "    without 1 class: d",
        "  train: 8, 4 classes of 1 to 3, median 2",
        "    a: 4",
        "    b: 3",
        "    c: 3",
        "    d: 1",
        "  decoded: 11 of 11",
        "    9 of 16 x 12 pixels, colour",
        "    1 of 16 x 12 pixels, grey",
        "  cannot be used: 2",
        f"    {pictures}/train/a/empty.jpg: it is empty (0 bytes)",
        f"    {pictures}/train/a/bad.jpg is damaged or no image: it is empty, or its format is not known",
    )
    assert len(found.listing) == 10
    assert [bad.path.name for bad in found.bad] == ["empty.jpg", "bad.jpg"]


def test_some_items_stand_for_all(pictures):
    done = []
    lines = check_data(pictures, read=2, progress=lambda *now: done.append(now)).lines
    assert "  decoded: 2 of 11, evenly spread" in lines
    assert done == [(1, 2), (2, 2)]
    assert spread(10, 3) == [1, 5, 8]
    assert spread(3, 10) == [0, 1, 2]
    assert spread(0, 4) == []


def test_leaks_are_told(tmp_path):
    save_picture(tmp_path / "a.png")
    save_picture(tmp_path / "b.png")
    table = tmp_path / "list.csv"
    table.write_text("path,split,group\na.png,train,rex\nb.png,test,rex\na.png,test,tom\n")
    lines = check_data(table).lines
    assert "  warning: 1 groups are in several splits, such as rex in test and train" in lines
    assert f"  warning: 1 items are in several splits, such as {tmp_path / 'a.png'} in test and train" in lines
    assert "  items: 3, without classes, 2 groups" in lines


def test_kinds_are_recognised(pictures, tmp_path):
    assert recognise(pictures) == "image"
    write_video(tmp_path / "mixed" / "a.mkv", 1)
    write_video(tmp_path / "mixed" / "b.mkv", 1)
    save_picture(tmp_path / "mixed" / "poster.png")
    assert recognise(tmp_path / "mixed") == "video"
    assert recognise(SPEECH.parent) == "audio"
    (tmp_path / "k.csv").write_text("label,youtube_id,time_start,time_end,split\nrun,x,1,2,train\n")
    assert recognise(tmp_path / "k.csv") == "video"
    (tmp_path / "a.csv").write_text("path\nx.wav\ny.flac\nz.png\n")
    assert recognise(tmp_path / "a.csv") == "audio"
    (tmp_path / "t10k-images-idx3-ubyte").touch()
    assert recognise(tmp_path / "t10k-images-idx3-ubyte") == "image"
    with pytest.raises(ListingError, match="gone does not exist"):
        recognise(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ListingError, match="holds no audio, images or videos"):
        recognise(tmp_path / "empty")


def test_a_table_is_known_by_its_paths_alone(tmp_path):
    write_video(tmp_path / "a.mp4", 4)
    (tmp_path / "table.csv").write_text("group,label,path\nx.jpg,b.png,a.mp4\n")
    assert recognise(tmp_path / "table.csv") == "video"


def test_videos_are_looked_into_to_their_end(tmp_path):
    write_video(tmp_path / "a.mkv", 5)
    data = write_video(tmp_path / "b.mp4", 24, rate=2, movflags="faststart").read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: -len(data) // 8])
    found = check_data(tmp_path)
    assert "    1 of 48 x 32 pixels, 10 frames per second" in found.lines
    assert [bad.path.name for bad in found.bad] == ["b.mp4"]


def test_recordings_and_shards_of_them(tmp_path):
    item = Item(path=SPEECH, labels=("x",))
    write_shards(Listing("audio", "", (item,), ("x",)), tmp_path / "out")
    assert recognise(tmp_path / "out") == "audio"
    found = check_data(tmp_path / "out")
    assert "    1 of 16000 Hz, 1 channel" in found.lines
    assert not found.bad
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", np.zeros((800, 2)), 8000)
    (tmp_path / "in" / "b.wav").write_bytes(b"no audio")
    found = check_data(tmp_path / "in")
    assert "    1 of 8000 Hz, 2 channels" in found.lines
    assert [bad.path.name for bad in found.bad] == ["b.wav"]


def test_pictures_of_videos_and_sounds_show_them_from_begin_to_end(tmp_path):
    video = write_video(tmp_path / "a.mkv", 20)
    shown = show("video", Item(path=video))
    assert shown.shape == (3, 32, 4 * 48)
    assert (shown.reshape(3, 32, 4, 48).float().mean((0, 1, 3)) / STEP).round().tolist() == [0, 5, 10, 15]
    rate = 16000
    tone = np.concatenate([np.zeros(rate), np.sin(np.arange(rate) * 2 * np.pi * 2000 / rate)])
    soundfile.write(tmp_path / "a.wav", tone, rate)
    (levels,) = show("audio", Item(path=tmp_path / "a.wav")).float()
    silent, loud = levels[:, : levels.shape[1] // 3], levels[:, -levels.shape[1] // 3 :]
    assert silent.mean() < 1 < loud.mean()
    assert 0.2 < float(loud.mean(1).argmax()) / len(levels) < 0.7  # 2 kHz in the upper middle of 0 to 8 kHz, in mel
    late = show("audio", Item(path=tmp_path / "a.wav", start=1.0, seconds=0.5)).float()
    assert late.mean((0, 1)).min() > 1


def test_a_sheet_shows_classes_in_rows(pictures, tmp_path):
    sheet = contact_sheet(list_images(pictures))
    shown = {}
    for axis in sheet.axes:
        row = axis.get_subplotspec().rowspan.start
        shown.setdefault(row, []).extend([len(axis.images), *(text.get_text() for text in axis.texts)])
    labels = [axis.get_ylabel() for axis in sheet.axes if axis.get_ylabel()]
    assert labels == ["a\n4", "b\n3", "c\n3", "d\n1"]
    assert [sum(one for one in row if isinstance(one, int)) for row in shown.values()] == [3, 3, 3, 1]
    assert "cannot\nbe read" in shown[0]
    assert np.array_equal(sheet.axes[0].images[0].get_array(), read_image(pictures / "test/a/6.png").permute(1, 2, 0))
    save_sheet(sheet, tmp_path / "sheet.png")
    saved = read_image(tmp_path / "sheet.png")
    assert saved.float().std() > 10
    assert torch.equal(saved, read_image(tmp_path / "sheet.png", channels=3))


def test_a_sheet_without_classes_has_rows_of_splits(tmp_path):
    for split in ("train", "val"):
        write_video(tmp_path / split / "a.mkv", 4)
    sheet = contact_sheet(list_videos(tmp_path))
    assert [axis.get_ylabel() for axis in sheet.axes if axis.get_ylabel()] == ["train\n1", "val\n1"]
