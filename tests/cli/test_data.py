"""``codeword data check``."""

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


def test_bad_files_make_a_bad_exit_code(run, pictures):
    (pictures / "a" / "bad.png").write_bytes(b"no image")
    ran = run("data check pictures --read 0")
    assert ran.code == 2
    assert "pictures/a/bad.png: is damaged or no image" in ran.out
    assert ran.err == "codeword: 1 files of pictures cannot be used, see above\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("data check gone", "gone does not exist: give a folder, a table"),
        ("data check pictures --kind video", "pictures holds no video: looked for"),
        ("data check pictures --picture sheet.jpg", "a picture is a .png file, got sheet.jpg"),
        ("data check pictures --read -1", "--read must be at least 0, got -1"),
        ("data chek pictures", "codeword data takes check, got 'chek', perhaps check"),
        ("data check pictures --kind movie", "invalid choice 'movie'"),
    ],
)
def test_what_cannot_be_checked_is_one_line(refused, pictures, line, message):
    assert message in refused(line)
