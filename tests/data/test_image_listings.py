import pickle
from collections import Counter

import numpy as np
import pytest

from codeword.data.folders import ListingError, split_of
from codeword.data.image_files import read_image
from codeword.data.image_listings import list_images
from contracts.media import save_picture, write_idx


def make(folder, *names):
    for number, name in enumerate(names):
        save_picture(folder / name, number, height=4, width=5)


def told(listing):
    return [(item.path.name, item.labels, item.split) for item in listing.items]


def test_a_folder_per_class(tmp_path):
    make(tmp_path, "dog/b.png", "dog/a.JPG", "cat/far/below/c.png")
    (tmp_path / "owl").mkdir()
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    make(tmp_path, ".hidden/d.png", "dog/.e.png")
    listing = list_images(tmp_path)
    assert listing.layout == "a folder per class"
    assert told(listing) == [("c.png", ("cat",), ""), ("a.JPG", ("dog",), ""), ("b.png", ("dog",), "")]
    assert listing.classes == ("cat", "dog", "owl")
    assert not listing.bad


def test_splits_above_classes(tmp_path):
    make(tmp_path, "train/dog/a.png", "train/cat/b.png", "Validation/dog/c.png", "test/d.png", "test/e.png")
    listing = list_images(tmp_path)
    assert sorted(told(listing)) == [
        ("a.png", ("dog",), "train"),
        ("b.png", ("cat",), "train"),
        ("c.png", ("dog",), "val"),
        ("d.png", (), "test"),
        ("e.png", (), "test"),
    ]
    assert listing.classes == ("cat", "dog")
    assert listing.only("val").counts() == {"cat": 0, "dog": 1}
    assert listing.layout == "a folder per class, below Validation, test, train"


def test_a_class_may_be_called_like_a_split(tmp_path):
    make(tmp_path, "train/a.png", "aeroplane/b.png")
    assert {item.labels for item in list_images(tmp_path).items} == {("train",), ("aeroplane",)}


def test_a_plain_folder(tmp_path):
    make(tmp_path, "b.png", "a.png")
    listing = list_images(tmp_path)
    assert told(listing) == [("a.png", (), ""), ("b.png", (), "")]
    assert (listing.layout, listing.classes) == ("a plain folder", ())


def test_what_has_no_place_is_named(tmp_path):
    make(tmp_path, "stray.png", "dog/a.png")
    (tmp_path / "dog" / "empty.png").touch()
    listing = list_images(tmp_path)
    assert len(listing) == 1
    assert {bad.path.name: bad.reason for bad in listing.bad} == {
        "stray.png": "it lies beside the folders of classes",
        "empty.png": "it is empty (0 bytes)",
    }
    make(tmp_path / "deep", "train/dog/a.png", "stray.png")
    (bad,) = list_images(tmp_path / "deep").bad
    assert bad.reason == "it lies beside the folders of splits"


def test_links_are_followed_and_circles_end(tmp_path):
    make(tmp_path / "store", "a.png")
    (tmp_path / "set" / "dog").mkdir(parents=True)
    (tmp_path / "set" / "dog" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "dog" / "back").symlink_to(tmp_path / "set")
    listing = list_images(tmp_path / "set")
    assert told(listing) == [("a.png", ("dog",), "")]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "train2017", "training-set", "TRAIN")),
        *((name, "val") for name in ("val", "VAL_288px", "dev", "valid", "validation")),
        *((name, "test") for name in ("test", "testing", "t10k", "test.v2", "eval", "Evaluation-set")),
        *((name, "fold3") for name in ("fold3", "Fold_03", "fold-3", "fold 3.v2")),
        *((name, "") for name in ("valley", "trainer", "evals", "contest", "", "fold", "folder1", "fold3x")),
    ],
)
def test_names_of_splits(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_pairs(tmp_path, ending):
    random = np.random.default_rng(0)
    labels = {"train": random.permutation(12), "t10k": np.arange(3)}
    for split, numbers in labels.items():
        images = random.integers(0, 256, (len(numbers), 5, 6), np.uint8)
        write_idx(tmp_path / f"{split}-images-idx3-ubyte{ending}", images)
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte{ending}", numbers.astype(np.uint8))
    listing = list_images(tmp_path)
    assert listing.layout == "IDX, 2 files of images"
    assert listing.classes == tuple(map(str, range(12)))
    assert Counter(item.split for item in listing.items) == {"train": 12, "test": 3}
    assert [target for (target,) in listing.only("train").targets()] == labels["train"].tolist()
    assert np.array_equal(read_image(listing.only("test").items[2])[0].numpy(), images[2])
    assert len(list_images(tmp_path / f"t10k-images-idx3-ubyte{ending}")) == 3


def test_idx_pairs_that_do_not_fit_are_named(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((4, 2, 2), np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(3, np.uint8))
    with pytest.raises(ListingError, match=r"holds 4 images, and train-labels-idx1-ubyte .* do not belong together"):
        list_images(tmp_path)
    write_idx(tmp_path / "test-images-idx3-ubyte", np.zeros((2, 2, 2), np.uint8))
    listing = list_images(tmp_path)
    assert [item.labels for item in listing.items] == [(), ()]
    assert len(listing.bad) == 1


def test_cifar(tmp_path):
    for name, numbers in {"data_batch_1": [0, 1], "data_batch_2": [1], "test_batch": [2]}.items():
        rows = np.zeros((len(numbers), 3073), np.uint8)
        rows[:, 0] = numbers
        (tmp_path / f"{name}.bin").write_bytes(rows.tobytes())
    assert list_images(tmp_path).classes == ("0", "1", "2")
    (tmp_path / "batches.meta.txt").write_text("plane\ncar\nbird\nship\n\n")
    listing = list_images(tmp_path)
    assert listing.layout == "CIFAR, 3 batches"
    assert listing.classes == ("plane", "car", "bird", "ship")
    assert [item.labels[0] for item in listing.only("train").items] == ["plane", "car", "car"]
    assert listing.only("test").targets() == [(2,)]
    (tmp_path / "batches.meta.txt").write_text("plane\ncar\n")
    assert [bad.path.name for bad in list_images(tmp_path).bad] == ["test_batch.bin"]


def test_cifar_100_in_python(tmp_path):
    for name, numbers in {"train": [1, 0], "test": [1]}.items():
        pixels = np.zeros((len(numbers), 3072), np.uint8)
        (tmp_path / name).write_bytes(pickle.dumps({"data": pixels, "fine_labels": numbers}, protocol=2))
    (tmp_path / "meta").write_bytes(pickle.dumps({"fine_label_names": ["apple", "bee"]}, protocol=2))
    listing = list_images(tmp_path)
    assert listing.classes == ("apple", "bee")
    assert [(item.labels, item.split) for item in listing.items] == [
        (("bee",), "test"),
        (("bee",), "train"),
        (("apple",), "train"),
    ]


def test_a_table(tmp_path):
    make(tmp_path, "in/a.png", "b.png")
    table = tmp_path / "list.csv"
    table.write_text(
        "\ufeffFile,label,split,group,note\n"
        "in/a.png,dog;brown,train,rex,x\n"
        "\n"
        f"{tmp_path / 'b.png'},cat,test\n"
        "gone.png,cat,test,\n"
        ",cat,test,\n",
        encoding="utf-8",
    )
    listing = list_images(table)
    assert told(listing) == [("a.png", ("dog", "brown"), "train"), ("b.png", ("cat",), "test")]
    assert [item.group for item in listing.items] == ["rex", ""]
    assert listing.classes == ("brown", "cat", "dog")
    assert [bad.reason for bad in listing.bad] == [
        "it does not exist (list.csv, line 5)",
        "no path is given (list.csv, line 6)",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is an empty table"),
        ("label,split\ndog,train\n", "has no column 'path': its first line is label, split"),
        ("path\n", "names no files: it has only a header line"),
        ("\0", "has no column 'path'|is no CSV table"),
    ],
)
def test_tables_without_sense_are_one_line(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ListingError, match=message):
        list_images(tmp_path / "list.csv")


def test_what_is_no_data_set_is_one_line(tmp_path):
    with pytest.raises(ListingError, match="holds no image: looked for"):
        list_images(tmp_path)
    with pytest.raises(ListingError, match="gone does not exist: give a folder of images"):
        list_images(tmp_path / "gone")
    (tmp_path / "x.txt").touch()
    with pytest.raises(ListingError, match="is no image that is known by its name"):
        list_images(tmp_path / "x.txt")
    make(tmp_path, "one.png")
    assert len(list_images(tmp_path / "one.png")) == 1
