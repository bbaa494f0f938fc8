"""``codeword data check``."""

import numpy as np
import pytest
from PIL import Image

from contracts.media import save_picture


@pytest.fixture
def pictures(place):
    for number in range(6):
        save_picture(place / "pictures" / "ab"[number % 2] / f"{number}.png", number)
    return place / "pictures"


def test_a_data_set_is_described_and_shown(run, pictures):
    ran = run("data check pictures --picture sheet.png")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "pictures: image, a folder per class"
    assert ran.out.splitlines()[-1] == "  picture: sheet.png"
    with Image.open(pictures.parent / "sheet.png") as image:
        assert image.width > 500
    assert "exists already" in run("data check pictures --picture sheet.png").err
    assert run("data check pictures --picture sheet.png --overwrite --read 1").code == 0


def test_a_table_in_a_plain_folder_is_named(run, pictures):
    plain = pictures / "plain"
    plain.mkdir()
    next(pictures.rglob("*.png")).rename(plain / "0.png")
    assert "not looked at" not in run(f"data check {plain}").out
    (plain / "labels.csv").write_text("path,label\n0.png,a\n")
    assert (
        "not looked at: labels.csv; a table of files is given in place of its folder" in run(f"data check {plain}").out
    )


def test_bad_files_make_a_bad_exit_code(run, pictures):
    (pictures / "a" / "bad.png").write_bytes(b"no image")
    ran = run("data check pictures --read 0")
    assert ran.code == 2
    assert "pictures/a/bad.png is damaged or no image" in ran.out
    assert ran.err == "codeword: 1 files of pictures cannot be used, see above\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("data check gone", "gone does not exist: give a folder, a table"),
        ("data check pictures --kind video", "pictures holds no video: looked for"),
        ("data check pictures --picture sheet.jpg", "a picture is a .png file, got sheet.jpg"),
        ("data check pictures --read -1", "--read must be at least 0, got -1"),
        ("data chek pictures", "codeword data takes check or statistics, got 'chek', perhaps check"),
        ("data check pictures --kind movie", "invalid choice 'movie'"),
    ],
)
def test_what_cannot_be_checked_is_one_line(refused, pictures, line, message):
    assert message in refused(line)


def test_statistics_are_those_of_the_training_items(run, pictures):
    save_picture(pictures.parent / "split" / "train" / "a.png", 1, height=32, width=32)
    save_picture(pictures.parent / "split" / "test" / "b.png", 2)
    ran = run("data statistics small-image split")
    assert (ran.code, ran.err) == (0, "")
    with Image.open(pictures.parent / "split" / "train" / "a.png") as image:
        pixels = np.asarray(image) / 255
    names = dict(line.split(": ") for line in ran.out.splitlines())
    for name, wanted in (("mean", pixels.mean((0, 1))), ("deviation", pixels.std((0, 1)))):
        assert [float(part) for part in names[name].split(", ")] == pytest.approx(wanted, rel=1e-3)
    assert "--items must be at least 1, got 0" in run("data statistics small-image split --items 0").err
