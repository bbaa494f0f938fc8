"""Compress and decompress images as a stranger would type them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from codeword.cli import main
from codeword.codecs.image.codec import ImageCodec
from codeword.data.image_files import image_bytes
from codeword.formats.image import ImageFileReader, ImageFileWriter
from contracts.image_models import image_codec, smooth


@pytest.fixture(scope="module")
def net(one_thread, tmp_path_factory):
    """The folder of an image model."""
    folder = tmp_path_factory.mktemp("net") / "model"
    image_codec().save_pretrained(folder)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder to work in, with a photo."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(image_bytes(smooth(50, 70)))
    return tmp_path


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_there_and_back(run, net, home):
    ran = run(f"compress a.png a.cw --model {net} --levels 4")
    assert (ran.code, ran.err) == (0, "")
    size = (home / "a.cw").stat().st_size
    assert f"a.cw: 70 x 50 pixels in {size} bytes, {8 * size / 3500:.3f} bits per pixel, 4.00 of 4 levels" in ran.out
    for name in ("b.png", "b.jpg", "b.webp", "b.bmp", "b.tif"):
        ran = run(f"decompress a.cw {name} --model {net}")
        assert (ran.code, ran.err) == (0, "")
        assert f"{name}: 70 x 50 pixels, colour" in ran.out
    assert np.array_equal(pixels("b.png"), pixels("b.bmp")) and np.array_equal(pixels("b.png"), pixels("b.webp"))
    before = pixels("a.png")
    assert np.square(pixels("b.png") - before).mean() < np.square(before - before.mean()).mean()
    ran = run(f"inspect a.cw --model {net}")
    assert "image: 70 x 50 pixels, colour" in ran.out
    assert "intact: yes" in ran.out
    assert "image model" in run(f"inspect {net}").out


def test_a_folder_goes_on_where_it_stopped(run, net, home):
    for name in ("photos/b.jpg", "photos/deep/c.webp"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(smooth(20, 30).permute(1, 2, 0).numpy()).save(home / name)
    (home / "photos" / "broken.png").write_bytes(b"nothing")
    ran = run(f"compress photos codes --model {net} --scale 4")
    assert ran.code == 2
    assert "broken.png is damaged or no image" in ran.err
    assert "1 of 3 files failed" in ran.err
    assert sorted(str(file.relative_to(home)) for file in home.glob("codes/**/*.cw")) == [
        "codes/b.jpg.cw",
        "codes/deep/c.webp.cw",
    ]
    (home / "photos" / "broken.png").unlink()
    assert "2 of 2 files are in codes already" in run(f"compress photos codes --model {net} --scale 4").err
    assert run(f"decompress codes back --model {net}").code == 0
    assert pixels(home / "back" / "deep" / "c.webp.png").shape == (20, 30, 3)


def test_pipes(net, home, monkeypatch, capsysbinary):
    monkeypatch.setattr("sys.stdin", type("In", (), {"buffer": io.BytesIO((home / "a.png").read_bytes())}))
    main(["compress", "-", "-", "--model", str(net), "--levels", "2"])
    out = capsysbinary.readouterr().out
    main(["compress", "a.png", "a.cw", "--model", str(net), "--levels", "2"])
    assert out == (home / "a.cw").read_bytes()


@pytest.mark.parametrize(
    ("mode", "said", "shape"),
    [
        ("L", "", (50, 70)),
        ("1", "", (50, 70)),
        ("P", "", (50, 70, 3)),
        ("RGBA", "transparency was laid on white", (50, 70, 3)),
        ("LA", "transparency was laid on white", (50, 70)),
        ("CMYK", "inks were turned into red, green and blue", (50, 70, 3)),
        ("I;16", "grey of more than 8 bits was brought to 8", (50, 70)),
    ],
)
def test_every_mode_of_an_image(run, net, home, mode, said, shape):
    picture = Image.fromarray(smooth(50, 70).permute(1, 2, 0).numpy())
    name = "x.tif" if mode == "CMYK" else "x.png"
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) << 8)
    else:
        picture = picture.convert(mode)
    if mode.endswith("A"):
        picture.putalpha(200)
    picture.save(home / name)
    ran = run(f"compress {name} x.cw --model {net} --levels 4")
    assert ran.code == 0
    assert (said in ran.err) if said else ran.err == ""
    assert run(f"decompress x.cw y.png --model {net}").code == 0
    assert pixels("y.png").shape == shape


def test_hidden_colours_stay_hidden(run, net, home):
    hidden = np.zeros((40, 40, 4), dtype=np.uint8)
    hidden[..., 0] = 255  # red, but transparent
    Image.fromarray(hidden).save(home / "x.png")
    assert run(f"compress x.png x.cw --model {net} --levels 4").code == 0
    run(f"decompress x.cw y.png --model {net}")
    Image.fromarray(np.full((40, 40, 3), 255, dtype=np.uint8)).save(home / "white.png")
    run(f"compress white.png white.cw --model {net} --levels 4")
    assert (home / "white.cw").read_bytes() == (home / "x.cw").read_bytes()


def test_turned_photos_are_upright(run, net, home):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(smooth(50, 70).permute(1, 2, 0).numpy()).save(home / "t.png", exif=exif)
    assert "t.cw: 50 x 70 pixels" in run(f"compress t.png t.cw --model {net} --levels 1").out


def test_damage_is_named_and_the_rest_is_salvaged(run, net, home):
    run(f"compress a.png whole.cw --model {net} --levels 4")
    data = bytearray((home / "whole.cw").read_bytes())
    data[len(data) // 2] ^= 1
    (home / "a.cw").write_bytes(data)
    ran = run(f"decompress a.cw b.png --model {net}")
    assert ran.code == 2
    assert "--salvage reads what is intact" in ran.err
    assert not (home / "b.png").exists()
    ran = run(f"decompress a.cw b.png --model {net} --salvage")
    assert ran.code == 2
    assert "nothing of a.cw can be read" in ran.err
    assert not (home / "b.png").exists()
    codec = ImageCodec.open(net)
    with ImageFileReader(home / "whole.cw", tables=codec.tables) as reader:
        header, codes = reader.header, reader.read_all()
    with (home / "a.cw").open("wb") as file, ImageFileWriter(file, header, tables=codec.tables, chunk_rows=2) as writer:
        writer.write(codes)
    data = bytearray((home / "a.cw").read_bytes())
    data[len(data) // 2] ^= 1
    (home / "a.cw").write_bytes(data)
    ran = run(f"decompress a.cw b.png --model {net} --salvage")
    assert ran.code == 0
    assert "pixel rows" in ran.err and "are lost" in ran.err
    lost = (pixels("b.png") == 128).reshape(50, -1).all(1)
    assert 8 <= lost.sum() <= 32


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "compress a.png a.cw --model photo",
            "there is no model photo: give the folder that codeword train image made, or",
        ),
        ("compress a.png a.cw --model {net} --kbps 3", "--kbps is not for images: leave it out"),
        ("compress a.png a.cw --model {net} --mono", "--mono is not for images: leave it out"),
        ("compress a.png a.cw --model {net} --bpp 1 --levels 2", "--bpp and --levels contradict each other"),
        ("compress a.png a.cw --model {net} --levels 9", "choose 1 to 4, got 9"),
        ("compress a.png a.cw --model {net} --bpp 0", "positive"),
        ("compress a.png b.png --model {net}", "b.png would be an image by its name, codes are written: name it b.cw"),
        ("compress gone.png a.cw --model {net}", "gone.png does not exist"),
        ("compress film.gif a.cw --model {net}", "film.gif is a film of 2 images: save the one that you mean"),
        ("compress cut.png a.cw --model {net}", "cut.png is damaged or no image"),
        ("compress a.png a.cw --model gone", "there is no model gone"),
        ("compress a.wav a.cw --bpp 1", "--bpp is not for audio: leave it out"),
        ("decompress good.cw a.wav --model {net}", "a.wav has no name of an image: give it one of .png"),
        ("decompress good.cw b.png --model {net} --start 1", "--start is not for images: leave it out"),
        ("decompress good.cw a.png --model {net}", "a.png exists already"),
        ("decompress good.cw b.png", "the file was written with model"),
    ],
)
def test_mistakes_are_one_line(run, net, home, line, said):
    run(f"compress a.png good.cw --model {net} --levels 1")
    frames = [Image.fromarray(np.full((8, 8), shade, dtype=np.uint8)) for shade in (0, 255)]
    frames[0].save(home / "film.gif", save_all=True, append_images=frames[1:])
    (home / "cut.png").write_bytes((home / "a.png").read_bytes()[:200])
    before = sorted(home.iterdir())
    ran = run(line.replace("{net}", str(net)))
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert said in ran.err
    assert sorted(home.iterdir()) == before


def test_training_and_going_on(run, home):
    folder = home / "pictures"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(image_bytes(smooth(40 + number, 60, seed=number)))
    (folder / "0broken.png").write_bytes(b"nothing")
    assert "nothing was written" in run("train image pictures --out net --recipe smoke --dry-run").out
    assert not (home / "net").exists()
    ran = run("train image pictures --out net --recipe smoke --steps 6")
    assert ran.code == 0
    assert "a plain folder: 6 images to learn from, 1 to validate on" in ran.out
    assert "0broken.png is damaged or no image" in ran.out
    assert run("compress a.png a.cw --model net --bpp 0.3").code == 0
    assert run("train image pictures --out more --recipe smoke --steps 2 --start-from net").code == 0
    ran = run("train image pictures --out other --recipe vq-vae --steps 2 --start-from net")
    assert ran.code == 2
    assert "net has variable depth and 3 channels, the recipe constant depth and 3 channels" in ran.err
    assert torch.is_grad_enabled()


def test_evaluation_beside_others(run, net, home):
    (home / "photos").mkdir()
    for number in range(2):
        (home / "photos" / f"{number}.png").write_bytes(image_bytes(smooth(180, 180, seed=number)))
    ran = run(f"evaluate image {net} photos --bpp 0.2 0.4 --levels 4 --peers jpeg --out a.json --report a.html")
    assert (ran.code, ran.err) == (0, "")
    assert "2 images" in ran.out and "quality=30" in ran.out and "constant depth" in ran.out
    assert (home / "a.json").is_file() and "codeword evaluate image" in (home / "a.html").read_text()
    before = sorted(home.iterdir())
    for line, said in [
        (f"evaluate image {net} photos --peers gif", "no codec 'gif'"),
        (f"evaluate image {net} gone", "gone does not exist"),
        (f"evaluate image {net} photos --out a.json", "a.json exists already"),
        (f"evaluate image {net} photos --bpp 0", "positive"),
    ]:
        ran = run(line)
        assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1
    assert sorted(home.iterdir()) == before
