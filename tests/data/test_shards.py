import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from codeword.data.folders import ListingError
from codeword.data.image_files import read_image
from codeword.data.image_listings import list_images
from codeword.data.listing import Item, Listing
from codeword.data.shard_listings import list_shards, shard_kind
from codeword.data.shards import write_shards
from codeword.data.tar_members import TarError, members, read_member
from codeword.data.video_files import read_clip
from codeword.data.video_listings import list_videos
from contracts.media import save_picture, write_idx, write_video

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def folder(tmp_path):
    """Pictures of three classes in two splits; one class has none."""
    for number in range(11):
        split = "test" if number % 4 == 3 else "train"
        save_picture(tmp_path / "in" / split / "abc"[number % 3] / f"{number}.png", number, height=4, width=5)
    (tmp_path / "in" / "train" / "d").mkdir()
    return tmp_path / "in"


def content(listing):
    return Counter((read_image(item).numpy().tobytes(), item.labels, item.split) for item in listing.items)


def test_shards_hold_what_the_folder_holds(folder, tmp_path):
    before = list_images(folder)
    written = write_shards(before, tmp_path / "out", per_shard=3)
    names = sorted(path.name for path in (tmp_path / "out").glob("*.tar"))
    assert names == ["test-000000.tar", *(f"train-00000{number}.tar" for number in range(3))]
    listed = list_images(tmp_path / "out")
    assert listed.items == written.items
    assert listed.classes == before.classes == ("a", "b", "c", "d")
    assert listed.layout == written.layout == "4 tar shards"
    assert content(listed) == content(before)
    assert content(list_images(tmp_path / "out" / names[0])) == content(before.only("test"))


def test_shards_are_what_the_webdataset_package_reads(folder, tmp_path):
    """Members of a sample follow each other and share what is before the first dot of their names."""
    listing = write_shards(list_images(folder), tmp_path / "out", per_shard=6)
    keys = []
    for shard in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(shard) as file:
            names = file.getnames()
            for first in range(0, len(names), 3):
                key = names[first].partition(".")[0]
                assert names[first : first + 3] == [f"{key}.png", f"{key}.cls", f"{key}.json"]
                keys.append(key)
                side = json.load(file.extractfile(f"{key}.json"))
                number = int(file.extractfile(f"{key}.cls").read())
                assert side == {"labels": [listing.classes[number]], "split": shard.name.partition("-")[0]}
    assert len(set(keys)) == len(keys) == len(listing)


def test_without_index_shards_are_searched(folder, tmp_path):
    written = write_shards(list_images(folder), tmp_path / "out", per_shard=4)
    for index in (tmp_path / "out").glob("*.index.json"):
        index.unlink()
    assert list_images(tmp_path / "out").items == written.items
    (tmp_path / "out" / "shards.json").unlink()
    assert list_images(tmp_path / "out").classes == ("a", "b", "c")
    assert shard_kind(tmp_path / "out") == "image"


def test_an_index_of_another_shard_is_not_believed(folder, tmp_path):
    written = write_shards(list_images(folder), tmp_path / "out", per_shard=6)
    one, two = sorted((tmp_path / "out").glob("train*.tar"))
    two.with_suffix(".index.json").write_bytes(one.with_suffix(".index.json").read_bytes())
    assert list_images(tmp_path / "out").items == written.items


def test_bytes_are_the_same_each_time(folder, tmp_path):
    for name, seed in {"a": 0, "b": 0, "c": 1, "d": None}.items():
        write_shards(list_images(folder), tmp_path / name, seed=seed)
    a, b, c, d = (tmp_path.joinpath(name, "train-000000.tar").read_bytes() for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3
    kept = list_images(tmp_path / "d").only("train")
    assert [item.labels for item in kept.items] == [item.labels for item in list_images(folder).only("train").items]


def test_files_are_copied_and_shards_can_be_cut_again(folder, tmp_path):
    before = list_images(folder)
    first = write_shards(before, tmp_path / "one", per_shard=2, seed=None)
    again = write_shards(first, tmp_path / "two", per_shard=100, seed=None)
    for old, middle, new in zip(sorted(before.items, key=lambda one: one.split), first.items, again.items, strict=True):
        assert old.path.read_bytes() == read_member(middle.path, middle.place) == read_member(new.path, new.place)
    assert content(again) == content(before)


def test_images_of_one_file_become_pictures(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 6), np.uint8)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", pixels)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(7, dtype=np.uint8))
    written = write_shards(list_images(tmp_path), tmp_path / "out", per_shard=5)
    for item in written.items:
        assert np.array_equal(read_image(item)[0].numpy(), pixels[int(item.labels[0])])


def test_videos_and_recordings(tmp_path):
    write_video(tmp_path / "in" / "run" / "a.mkv", 12)
    listing = list_videos(tmp_path / "in")
    (item,) = write_shards(listing, tmp_path / "video").items
    assert torch.equal(read_clip(item).frames, read_clip(listing.items[0]).frames)
    speech = FIXTURES / "ru_0001.flac"
    part = Item(path=speech, labels=("x", "y"), split="fold1", group="nsh", start=1.5, seconds=2.0)
    written = write_shards(Listing("audio", "by hand", (part,), ("x", "y")), tmp_path / "audio")
    (tmp_path / "audio" / "fold1-000000.index.json").unlink()
    (found,) = list_shards(tmp_path / "audio", "audio").items
    assert found == written.items[0]
    assert (found.labels, found.group, found.start, found.seconds) == (("x", "y"), "nsh", 1.5, 2.0)
    assert read_member(found.path, found.place) == speech.read_bytes()
    with pytest.raises(ListingError, match="holds shards of audio, not of image"):
        list_images(tmp_path / "audio")


def foreign(path, samples):
    with tarfile.open(path, "w") as file:
        for name, data in samples:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def test_shards_of_others(tmp_path):
    data = save_picture(tmp_path / "a.png").read_bytes()
    long = "far/" + "x" * 150  # beyond what a header holds
    foreign(
        tmp_path / "val_01.tar",
        [
            ("./a/0.png", data),
            ("./a/0.cls", b" 7\n"),
            ("./b/0.seg.png", data),
            ("./b/0.json", b'{"label": "dog", "text": "x"}'),
            (f"{long}.png", data),
            (f"{long}.json", b"3"),
            ("lonely.cls", b"1"),
            ("wrong.png", data),
            ("wrong.json", b"{"),
        ],
    )
    listing = list_images(tmp_path / "val_01.tar")
    assert [(item.labels, item.split) for item in listing.items] == [
        (("7",), "val"),
        (("dog",), "val"),
        (("3",), "val"),
    ]
    assert all(torch.equal(read_image(item), read_image(tmp_path / "a.png")) for item in listing.items)
    reasons = [bad.reason for bad in listing.bad]
    assert reasons[0] == "sample lonely has no image: it has cls"
    assert reasons[1].startswith("sample wrong has no readable labels: ")


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_truncated_shard_is_named_and_its_beginning_kept(folder, tmp_path, kept):
    whole = write_shards(list_images(folder).only("train"), tmp_path / "out")
    shard = tmp_path / "out" / "train-000000.tar"
    data = shard.read_bytes()
    end = whole.items[-1].place
    shard.write_bytes(data[: int(kept * end)])
    listing = list_images(tmp_path / "out")
    assert 0 < len(listing) < len(whole)
    assert listing.items == whole.items[: len(listing)]
    (bad,) = [one for one in listing.bad if "truncated" in one.reason or "damaged" in one.reason]
    assert bad.path == shard
    with pytest.raises(TarError, match=r"is truncated|no member begins"):
        read_image(whole.items[-1])


def test_what_is_no_shard_is_one_line(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"hello" * 500)
    with pytest.raises(ListingError, match="is no tar file or is damaged"):
        list_images(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as file:
        file.add(save_picture(tmp_path / "x.png"), arcname="0.png")
    with pytest.raises(ListingError, match=r"b\.tar\.gz is no tar file.*: give an uncompressed \.tar"):
        list_images(tmp_path / "b.tar.gz")
    with pytest.raises(TarError, match="no member begins at byte 3"):
        read_member(tmp_path / "a.tar", 3)
    with pytest.raises(TarError, match="cannot be read: no such file"):
        list(read_member(tmp_path / "gone.tar", 0))
    foreign(tmp_path / "c.tar", [("a.txt", b"x")])
    with pytest.raises(ListingError, match="holds no sample of image: sample a has no image: it has txt"):
        list_images(tmp_path / "c.tar")


def test_what_cannot_be_written_is_one_line(folder, tmp_path):
    listing = list_images(folder)
    with pytest.raises(ValueError, match="at least 1 sample, got 0"):
        write_shards(listing, tmp_path / "out", per_shard=0)
    write_shards(listing, tmp_path / "out")
    with pytest.raises(ValueError, match="holds tar files already: give a new folder"):
        write_shards(listing, tmp_path / "out")
    film = [Item(path=tmp_path / "film.mp4", start=float(start)) for start in range(3)]
    with pytest.raises(ValueError, match=r"3 items are parts of .*film\.mp4: cut it into a file for each"):
        write_shards(Listing("video", "", tuple(film)), tmp_path / "other")
    with pytest.raises(ValueError, match="there is nothing to write"):
        write_shards(Listing("image", "", ()), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_members_are_found_where_tarfile_finds_them(folder, tmp_path):
    write_shards(list_images(folder), tmp_path / "out")
    for shard in (tmp_path / "out").glob("*.tar"):
        with tarfile.open(shard) as file:
            for member in members(shard):
                assert file.extractfile(member.name).read() == read_member(shard, member.place)
