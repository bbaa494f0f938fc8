import gzip
import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from codeword.data.image_arrays import ImageError, cifar_batch, idx_array, read_pickle
from codeword.data.image_files import image_bytes, read_image
from codeword.data.listing import Item
from codeword.data.picture_files import read_picture
from contracts.media import picture, save_picture, write_idx

SHEET = Path(__file__).parents[1] / "fixtures" / "photo_crops_pd_32x64.png"


def test_a_photo_is_what_another_reader_reads():
    image = read_image(SHEET)
    with Image.open(SHEET) as other:
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(other))
    assert image.dtype == torch.uint8
    assert image.is_contiguous()


@pytest.mark.parametrize(
    ("mode", "name", "channels"),
    [
        ("L", "a.png", 1),
        ("1", "a.png", 1),
        ("LA", "a.png", 1),
        ("RGB", "a.bmp", 3),
        ("RGBA", "a.png", 3),
        ("P", "a.gif", 3),
        ("CMYK", "a.tif", 3),
        ("RGB", "a.webp", 3),
    ],
)
def test_every_mode_becomes_grey_or_colour(tmp_path, mode, name, channels):
    image = Image.fromarray(picture()).convert(mode)
    image.save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    back = read_image(tmp_path / name)
    wanted = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    assert back.shape == (channels, 12, 16)
    assert np.array_equal(back.permute(1, 2, 0).numpy().squeeze(), wanted)
    assert read_image(tmp_path / name, channels=3).shape == (3, 12, 16)
    assert read_image(tmp_path / name, channels=1).shape == (1, 12, 16)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    deep = np.array([[0, 255, 256], [32768, 65535, 65280]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[0, 0, 1], [128, 255, 255]]]


def test_a_palette_with_transparency_needs_no_warning(tmp_path):
    image = Image.fromarray(picture()).convert("P")
    image.save(tmp_path / "a.png", transparency=bytes(range(256)))
    assert read_image(tmp_path / "a.png").shape == (3, 12, 16)


def test_an_image_on_its_side_is_set_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(picture()).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png").permute(1, 2, 0).numpy(), np.rot90(picture(), -1))


def _cut(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("a.png", _cut, "damaged or no image: image file is truncated"),
        ("a.jpg", _cut, "damaged or no image: Truncated File Read"),
        ("a.png", lambda _: b"hello, world", "damaged or no image: it is empty, or its format is not known"),
        ("a.png", lambda _: b"", "damaged or no image"),
        ("a.png", lambda data: data[:40] + bytes(40) + data[80:], "damaged or no image"),
    ],
)
def test_damaged_images_are_one_line(tmp_path, name, spoil, message):
    path = save_picture(tmp_path / name, height=64, width=64)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ImageError, match=message) as caught:
        read_image(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_images_and_folders_are_one_line(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png does not exist"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="damaged or no image"):
        read_image(tmp_path)
    with pytest.raises(ValueError, match="1 channel or 3, got 2"):
        read_image(SHEET, channels=2)


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    save_picture(tmp_path / "a.png", height=64, width=64)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 64 // 2 - 1)  # Pillow refuses twice as many
    with pytest.raises(ImageError, match=r"more than [0-9]+ pixels: cut it into pieces"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_png_bytes_come_back(channels):
    pixels = torch.from_numpy(picture(channels=channels)).reshape(12, 16, -1).permute(2, 0, 1)
    with Image.open(io.BytesIO(image_bytes(pixels))) as image:
        assert np.array_equal(np.asarray(image), picture(channels=channels))


DIGITS = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)


@pytest.mark.parametrize("name", ["x-images-idx3-ubyte", "x-images-idx3-ubyte.gz", "x-images.idx3-ubyte"])
def test_one_of_many_images(tmp_path, name):
    path = write_idx(tmp_path / name, DIGITS)
    for place in (4, 0):
        assert np.array_equal(read_image(Item(path=path, place=place)).numpy(), DIGITS[place][None])
    assert read_image(Item(path=path, place=1), channels=3).shape == (3, 3, 4)
    with pytest.raises(ImageError, match="holds 5 images: there is no number 5"):
        read_image(Item(path=path, place=5))


def test_an_idx_file_that_is_replaced_is_read_again(tmp_path):
    path = write_idx(tmp_path / "x-images-idx3-ubyte", DIGITS)
    assert int(idx_array(path)[0, 0, 1]) == 1
    write_idx(path, np.concatenate([DIGITS, DIGITS]) + 1)
    assert idx_array(path).shape == (10, 3, 4)


def test_pixels_are_mapped_and_not_held(tmp_path):
    for name in ("a-images-idx3-ubyte", "b-images-idx3-ubyte.gz"):
        assert isinstance(idx_array(write_idx(tmp_path / name, DIGITS)), np.memmap)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a-images-idx3-ubyte", b"\0\0\x08", "no IDX file of labels or grey images: it starts with"),
        ("a-images-idx3-ubyte", b"\0\0\x0d\x03" + bytes(12), "no IDX file of labels or grey images"),
        ("a-images-idx3-ubyte", b"\0\0\x08\x03" + bytes(11), "truncated: it ends within its header"),
        ("a-images-idx3-ubyte", b"\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x01x", "17 bytes, and its header tells of 18"),
        ("a-images-idx3-ubyte.gz", gzip.compress(b"\0\0\x08\x01\0\0\0\x02x"), "1 numbers, and its header tells of 2"),
        ("a-images-idx3-ubyte.gz", gzip.compress(bytes(999))[:-9], "damaged or cannot be read|no IDX file"),
        ("a-images-idx3-ubyte.gz", b"no gzip", "damaged or cannot be read: Not a gzipped file"),
    ],
)
def test_damaged_idx_files_are_one_line(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ImageError, match=message) as caught:
        idx_array(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_idx_file_cut_while_compressed_is_one_line(tmp_path):
    path = write_idx(
        tmp_path / "a-images-idx3-ubyte.gz", np.random.default_rng(0).integers(0, 255, (9, 9, 9), np.uint8)
    )
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ImageError, match="damaged or cannot be read"):
        idx_array(path)


CIFAR = np.random.default_rng(0).integers(0, 256, (6, 3072), dtype=np.uint8)
LABELS = [3, 0, 9, 9, 1, 2]


def test_both_versions_of_cifar_say_the_same(tmp_path):
    column = np.array(LABELS, np.uint8)[:, None]
    (tmp_path / "data_batch_1.bin").write_bytes(np.concatenate([column, CIFAR], 1).tobytes())
    (tmp_path / "train.bin").write_bytes(np.concatenate([column // 5, column, CIFAR], 1).tobytes())
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": CIFAR, b"labels": LABELS}, protocol=2))
    (tmp_path / "meta").touch()
    (tmp_path / "train").write_bytes(pickle.dumps({"data": CIFAR, "fine_labels": LABELS}))
    for name in ("data_batch_1.bin", "train.bin", "data_batch_1", "train"):
        batch = cifar_batch(tmp_path / name)
        assert batch.labels == tuple(LABELS)
        assert np.array_equal(batch.pixels.reshape(6, -1), CIFAR)
        image = read_image(Item(path=tmp_path / name, place=2))
        assert np.array_equal(image.numpy().ravel(), CIFAR[2])


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("sprung"),))


def test_a_pickle_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Trap()}))
    with pytest.raises(ImageError, match=r"asks for .*, which could run a program .*: take the binary version"):
        read_image(Item(path=tmp_path / "data_batch_1"))
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({b"labels": LABELS}, "it has no images of 3072 bytes"),
        ({b"data": CIFAR, b"labels": LABELS[1:]}, "no label for each of its 6 images"),
        ({b"data": CIFAR[:, 1:], b"labels": LABELS}, "it has no images of 3072 bytes"),
        ([1], "it holds list, not a dict"),
    ],
)
def test_other_pickles_are_one_line(tmp_path, record, message):
    (tmp_path / "test_batch").write_bytes(pickle.dumps(record))
    with pytest.raises(ImageError, match=message):
        cifar_batch(tmp_path / "test_batch")


def test_damaged_batches_are_one_line(tmp_path):
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": CIFAR})[:-50])
    with pytest.raises(ImageError, match="damaged or cannot be read"):
        read_pickle(tmp_path / "test_batch")
    (tmp_path / "test_batch.bin").write_bytes(bytes(3074))
    with pytest.raises(ImageError, match="3074 bytes are no multiple of 3073"):
        cifar_batch(tmp_path / "test_batch.bin")
    with pytest.raises(ImageError, match="cannot be read: no such file"):
        cifar_batch(tmp_path / "data_batch_7.bin")


def test_a_transparent_value_of_deep_grey_becomes_white(tmp_path):
    deep = np.array([[0, 256 * 100], [256 * 200, 7]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png", transparency=7)
    picture = read_picture(tmp_path / "a.png")
    assert picture.pixels.tolist() == [[[0, 100], [200, 255]]]
    assert picture.notes == ("transparency was laid on white", "grey of more than 8 bits was brought to 8")


def test_the_first_image_of_a_telephone_is_taken(tmp_path):
    first, second = (Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (50, 200))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.notes == ("the first of 2 images was taken",)
    assert (picture.pixels.int() - 50).abs().max() <= 1


def test_values_of_no_known_range_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=r"a\.tif has values in floating point, .*: save it with 8 or 16 bits"):
        read_image(tmp_path / "a.tif")


def test_formats_end_somewhere():
    with pytest.raises(ImageError, match="WEBP ends at 16383 pixels a side, the image has 16384 x 1: take PNG"):
        image_bytes(torch.zeros(1, 1, 16_384, dtype=torch.uint8), "WEBP")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(bits, colour, row, key):
    """One row of a PNG, as its bytes, with a value that is transparent."""
    width = 8 * len(row) // (bits * (3 if colour == 2 else 1))
    head = struct.pack(">IIBBBBB", width, 1, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"tRNS", key) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize(
    ("bits", "colour", "row", "key", "wanted"),
    [
        (1, 0, b"\xf0", b"\0\0", [255] * 8),  # white, and black that is transparent
        (2, 0, b"\x1b", b"\0\1", [0, 255, 170, 255]),
        (4, 0, b"\x3a", b"\0\3", [255, 170]),
        (8, 0, b"\x09\x0a", b"\0\x09", [255, 10]),
        (16, 2, b"\x12\0\x34\0\x56\0\x12\0\x34\0\x57\0", b"\x12\0\x34\0\x56\0", [255, 18]),
    ],
)
def test_a_transparent_value_is_found_at_any_depth(bits, colour, row, key, wanted):
    assert read_picture(png(bits, colour, row, key)).pixels[0, 0].tolist() == wanted


def deep_tiff(bits, photometric, values):
    """An uncompressed TIFF of one row, in 16-bit words or 12 bits that follow each other."""
    if bits == 16:
        data = struct.pack(f"<{len(values)}H", *values)
    else:
        whole = int("".join(f"{value:012b}" for value in values), 2)
        data = whole.to_bytes(len(values) * 12 // 8, "big")
    tags = [(256, len(values)), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 1)]
    tags.append((279, len(data)))
    data += bytes(-len(data) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    return io.BytesIO(
        b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)
    )


@pytest.mark.parametrize(
    ("bits", "photometric", "values", "wanted"),
    [
        (16, 1, (0, 65535, 256, 32768), [0, 255, 1, 128]),
        (16, 0, (0, 65535, 256, 32768), [255, 0, 254, 127]),
        (12, 1, (0, 4095, 16, 2048), [0, 255, 1, 128]),
    ],
)
def test_deep_grey_of_tiff(bits, photometric, values, wanted):
    assert read_picture(deep_tiff(bits, photometric, values)).pixels.tolist() == [[wanted]]


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_transparency_that_is_multiplied(mode, tmp_path):
    plain = Image.fromarray(picture()).convert(mode.upper())
    plain.putalpha(Image.fromarray(np.tile(np.array([0, 255], np.uint8), (12, 8))))
    multiplied = Image.frombytes(mode.upper(), plain.size, plain.convert(mode).tobytes())
    multiplied.save(tmp_path / "a.tif")
    entry = struct.pack("<HHI", 338, 3, 1)  # what the last sample of a pixel is: 2 transparency, 1 multiplied with it
    data = (tmp_path / "a.tif").read_bytes()
    assert entry + b"\2" in data
    (tmp_path / "a.tif").write_bytes(data.replace(entry + b"\2", entry + b"\1"))
    with Image.open(tmp_path / "a.tif") as opened:
        assert opened.mode in (mode, mode.upper())
    seen = read_picture(tmp_path / "a.tif")
    assert seen.notes == ("transparency was laid on white",)
    wanted = np.asarray(plain.convert("L" if mode == "La" else "RGB"))
    assert (seen.pixels[:, :, ::2] == 255).all()
    assert np.array_equal(seen.pixels.permute(1, 2, 0).numpy().squeeze()[:, 1::2], wanted[:, 1::2])


@pytest.mark.parametrize("turn", range(1, 9))
def test_images_turn_whatever_else_their_data_says(turn, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = turn
    image = Image.fromarray(picture())
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        wanted = np.asarray(ImageOps.exif_transpose(opened))
    # XResolution as a text, where two numbers belong
    odd = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + struct.pack("<HHII", 0x0112, 3, 1, turn)
    odd += struct.pack("<HHI4s", 0x011A, 2, 4, b"abc\0") + bytes(4)
    image.save(tmp_path / "b.png", exif=odd)
    for name in ("a.png", "b.png"):
        assert np.array_equal(read_image(tmp_path / name).permute(1, 2, 0).numpy(), wanted)
