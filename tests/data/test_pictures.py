import pytest
import torch

from codeword.data.image_arrays import ImageError
from codeword.data.image_files import image_bytes
from codeword.data.image_listings import list_images
from codeword.data.pictures import Pictures, centre_crops


def write(folder, *sides):
    for number, (height, width) in enumerate(sides):
        pixels = torch.arange(height * width).view(1, height, width) % 200 + number
        (folder / f"{number}.png").write_bytes(image_bytes(pixels.byte()))


def test_large_pictures_are_reduced_and_small_ones_continued(tmp_path):
    write(tmp_path, (90, 60), (40, 200), (5, 30))
    pictures = Pictures(list_images(tmp_path), 3, least=20, longest=30)
    assert [tuple(picture.shape) for picture in pictures] == [(3, 30, 20), (3, 20, 100), (3, 20, 30)]
    whole = Pictures(list_images(tmp_path), 1, least=1)
    blocks = whole[0].float().view(1, 30, 3, 20, 3).mean((2, 4)).round().byte()
    assert torch.equal(pictures[0][:1], blocks)
    small = pictures[2][0]
    assert torch.equal(small[:5], whole[2][0]) and (small[5:] == small[4]).all()


def test_only_so_much_is_kept(tmp_path, monkeypatch):
    write(tmp_path, (10, 10), (10, 10), (10, 10))
    decoded = []
    from codeword.data import pictures as module

    read = module.read_image
    monkeypatch.setattr(module, "read_image", lambda item, **kw: decoded.append(item.path.name) or read(item, **kw))
    pictures = Pictures(list_images(tmp_path), 1, least=1, kept=250)
    for _ in range(2):
        assert len(list(pictures)) == 3
    assert decoded == ["0.png", "1.png", "2.png", "2.png"]


def test_broken_images_are_replaced_and_named(tmp_path):
    write(tmp_path, (8, 8), (8, 8), (8, 8))
    (tmp_path / "1.png").write_bytes(b"nothing")
    pictures = Pictures(list_images(tmp_path), 1, least=1)
    assert torch.equal(pictures[1], pictures[2])
    assert [bad.path.name for bad in pictures.bad] == ["1.png"]
    assert "is damaged or no image" in pictures.bad[0].reason
    for name in ("0.png", "2.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "0.png").write_bytes(b"x")
    (tmp_path / "2.png").write_bytes(b"x")
    with pytest.raises(ImageError, match="none of 3 images can be read"):
        Pictures(list_images(tmp_path), 1, least=1)[0]


def test_middles_are_spread_over_all(tmp_path):
    write(tmp_path, *[(9, 11)] * 10)
    pictures = Pictures(list_images(tmp_path), 1, least=1)
    found = centre_crops(pictures, 3, 4)
    assert found.shape == (4, 1, 3, 3)
    assert torch.equal(found[0], pictures[0][:, 3:6, 4:7]) and torch.equal(found[-1], pictures[9][:, 3:6, 4:7])
    assert len(centre_crops(pictures, 3, 99)) == 10
