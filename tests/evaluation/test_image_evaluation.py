"""What is said of an image codec is what its files hold."""

import io
import json

import pytest
import torch
from PIL import Image

from codeword.codecs.image.codec import BitsPerPixel, ImageCodec
from codeword.codecs.rates import Levels, Scale
from codeword.data.image_files import image_bytes, read_image
from codeword.evaluation.image import NamedPicture, evaluate, measures, through
from codeword.evaluation.image_pictures import open_pictures
from codeword.evaluation.image_report import write_report
from codeword.functional.image_similarity import ms_ssim, psnr, ssim
from contracts.image_models import image_codec, smooth


@pytest.fixture(scope="module")
def codec():
    return image_codec()


@pytest.fixture(scope="module")
def pictures():
    return [NamedPicture(f"{number}.png", smooth(180, 176 + number, seed=number)) for number in range(3)]


@pytest.fixture(scope="module")
def found(codec, pictures):
    rates = (Scale(4.0), Levels(4), BitsPerPixel(0.3))
    return evaluate(codec, pictures, rates=rates, peers=("jpeg", "webp"), command="codeword evaluate", skipped=("x",))


def test_points_are_those_of_files(codec, pictures, found):
    (point,) = [point for point in found.points if point.setting == "levels=4"]
    assert point.system == "constant depth"
    for picture, row in zip(pictures, point.per_image, strict=True):
        file = io.BytesIO()
        codec.compress(picture.pixels, file, Levels(4))
        back = through(codec, codec.encode(picture.pixels), Levels(4)).pixels
        a, b = back.double() / 255, picture.pixels.double() / 255
        assert row["bits_per_pixel"] == 8 * len(file.getvalue()) / picture.pixels[0].numel()
        assert row["psnr"] == pytest.approx(float(psnr(a, b)))
        assert row["ssim"] == pytest.approx(float(ssim(a, b)))
        assert row["ms_ssim"] == pytest.approx(float(ms_ssim(a, b)))
    assert point.metrics["psnr"].mean == pytest.approx(sum(row["psnr"] for row in point.per_image) / 3)


def test_peers_are_whole_files_of_pillow(pictures, found):
    (point,) = [point for point in found.points if (point.system, point.setting) == ("jpeg", "quality=30")]
    for picture, row in zip(pictures, point.per_image, strict=True):
        file = io.BytesIO()
        Image.fromarray(picture.pixels.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=30, optimize=True)
        assert row["bits_per_pixel"] == 8 * len(file.getvalue()) / picture.pixels[0].numel()
        assert row["psnr"] == pytest.approx(measures(read_image(io.BytesIO(file.getvalue())), picture.pixels)["psnr"])


def test_usual_rates_of_both_kinds_of_models(codec, pictures):
    settings = [point.setting for point in evaluate(codec, pictures[:1]).points]
    assert settings[:2] == ["scale=1", "scale=1.2"] and settings[-3:] == ["levels=1", "levels=2", "levels=4"]
    assert len(evaluate(ImageCodec(codec.model), pictures[:1]).points) == len(settings)


def test_small_images_have_the_measures_that_they_are_large_enough_for():
    assert set(measures(smooth(8, 30), smooth(8, 30, seed=1))) == {"psnr"}
    assert set(measures(smooth(11, 30), smooth(11, 30, seed=1))) == {"psnr", "ssim"}
    assert measures(smooth(20, 20), smooth(20, 20)) == {"ssim": pytest.approx(1.0)}


def test_what_cannot_be_measured_is_refused(codec, pictures):
    with pytest.raises(ValueError, match="no codec 'avif' to compare with: choose from jpeg, webp"):
        evaluate(codec, pictures, peers=("avif",))
    with pytest.raises(ValueError, match="choose 1 to 4, got 9"):
        evaluate(codec, pictures, rates=(Levels(9),))
    with pytest.raises(ValueError, match="no images to measure"):
        evaluate(codec, [])


def test_tables_and_files(found, tmp_path):
    rows = found.figures().rows()
    assert rows[0] == ["system", "setting", "bits per pixel", "PSNR (dB)", "SSIM", "MS-SSIM"]
    assert {row[0] for row in rows[1:]} == {"variable depth", "constant depth", "jpeg", "webp"}
    assert len(rows) == 1 + len(found.points)
    found.write(tmp_path / "a.json")
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["model"] == found.model and len(told["points"]) == len(found.points)
    assert told["points"][0]["metrics"]["psnr"]["mean"] == found.points[0].metrics["psnr"].mean


def test_the_page_shows_images_errors_and_codes(codec, pictures, found, tmp_path):
    write_report(found, codec, pictures[:2], tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert page.count("data:image/png;base64,") == 2 * (1 + 3 * 2 + 2)
    for words in ("original, 176 x 180 pixels", "codes of the first level", "levels spent", "4 times", "0.png"):
        assert words in page
    other = ImageCodec(image_codec().model)
    with torch.no_grad():
        other.model.decoder.first.bias += 1
    with pytest.raises(ValueError, match="the evaluation is of model"):
        write_report(found, ImageCodec(other.model), pictures, tmp_path / "b.html")
    assert not (tmp_path / "b.html").exists()


def test_pictures_are_those_for_test(tmp_path):
    for split, count in (("train", 3), ("test", 2)):
        (tmp_path / split).mkdir()
        for number in range(count):
            (tmp_path / split / f"{split}{number}.png").write_bytes(image_bytes(smooth(40, 60)))
    (tmp_path / "test" / "broken.png").write_bytes(b"x")
    held = open_pictures(tmp_path, 1, items=None, longest=30)
    assert [picture.name for picture in held] == ["test0.png", "test1.png"]
    assert [tuple(picture.pixels.shape) for picture in held] == [(1, 20, 30)] * 2
    assert len(held.skipped) == 1 and "broken.png is damaged" in held.skipped[0]
    assert len(list(open_pictures(tmp_path / "train", 3, items=2, longest=None))) == 2


def test_pictures_are_seen_as_compress_sees_them(tmp_path):
    hidden = torch.cat((smooth(40, 40), torch.zeros(1, 40, 40, dtype=torch.uint8)))
    Image.fromarray(hidden.permute(1, 2, 0).numpy(), "RGBA").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(image_bytes(smooth(40, 40)[:1]))
    white, grey = open_pictures(tmp_path, None, items=None, longest=None)
    assert (white.pixels == 255).all() and white.pixels.shape[0] == 3
    assert grey.pixels.shape[0] == 1


def test_data_for_training_alone_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").write_bytes(image_bytes(smooth(40, 60)))
    with pytest.raises(ValueError, match="are for train: give a folder of others"):
        open_pictures(tmp_path, None, items=None, longest=None)
