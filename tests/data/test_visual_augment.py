import math

import numpy as np
import pytest
import torch
from PIL import Image

from codeword.data.visual_augment import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    CentreCrop,
    HorizontalFlip,
    MultiScaleCrop,
    RandomResizedCrop,
    fitted,
    image_augmentations,
    normalized_channels,
    video_augmentations,
)
from codeword.quantizers.config import build, describe
from contracts.media import picture

LEVEL = 1 / 255
ALL = (
    RandomResizedCrop(size=9),
    MultiScaleCrop(size=9),
    CentreCrop(size=9),
    HorizontalFlip(chance=1.0),
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def image(height=40, width=56, seed=0):
    return torch.from_numpy(picture(seed, height, width)).permute(2, 0, 1)


def coordinates(height, width):
    """An image that says where each of its pixels was: row, column, and 1."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows / height, columns / width, torch.ones(height, width)])


@pytest.mark.parametrize("change", ALL, ids=lambda change: type(change).__name__)
def test_a_change_is_a_pure_function_that_has_a_name(change):
    x = image()
    before = x.clone()
    first, second = change(x, generator(7)), change(x, generator(7))
    assert torch.equal(first, second)
    assert torch.equal(x, before)
    assert first.dtype == torch.float32
    assert torch.allclose(first, change(x.float() / 255, generator(7)), atol=1e-6)
    assert build(describe(change)) == change


@pytest.mark.parametrize("change", ALL, ids=lambda change: type(change).__name__)
def test_all_frames_of_a_clip_change_alike(change):
    clip = torch.stack([image(seed=seed) for seed in range(4)], dim=1)
    changed = change(clip, generator(3))
    for number in range(4):
        assert torch.allclose(changed[:, number], change(clip[:, number], generator(3)), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 56), (224, 160), (17, 90)])
def test_pixels_are_those_of_pillow(height, width):
    """Pillow rounds to integers after each direction."""
    crop = CentreCrop(size=24, share=1.0)
    x = image(height, width)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    part = Image.fromarray(x.permute(1, 2, 0).numpy()).crop((left, top, left + side, top + side))
    wanted = np.asarray(part.resize((24, 24), Image.Resampling.BICUBIC)).transpose(2, 0, 1) / 255
    assert np.abs(crop(x, generator()).numpy() - wanted).max() < 2 * LEVEL


def boxes(crop, height, width, draws=400):
    """Top, left, height and width of what crops took, in pixels, found in what they made of coordinates."""
    x = coordinates(height, width)
    for seed in range(draws):
        made = crop(x, generator(seed))
        size = made.shape[-1]
        down, right = made[0, :, size // 2] * height, made[1, size // 2] * width
        # Bicubic keeps straight lines, away from the edges.
        tall = float(down[-size // 4] - down[size // 4]) / (size - 2 * (size // 4)) * size
        wide = float(right[-size // 4] - right[size // 4]) / (size - 2 * (size // 4)) * size
        yield float(down.mean()) + 0.5 - tall / 2, float(right.mean()) + 0.5 - wide / 2, tall, wide


def test_random_crops_have_the_areas_shapes_and_places_that_are_asked_for():
    crop = RandomResizedCrop(size=16, scale=(0.2, 0.6), ratio=(0.5, 2.0))
    found = np.array(list(boxes(crop, 120, 160)))
    area, ratio = found[:, 2] * found[:, 3] / (120 * 160), found[:, 3] / found[:, 2]
    assert 0.19 < area.min() < 0.23
    assert 0.55 < area.max() < 0.61
    assert 0.49 < ratio.min() < 0.55
    assert 1.8 < ratio.max() < 2.05
    assert abs(np.log(ratio).mean()) < 4 * math.log(2) / 3**0.5 / 400**0.5 + 0.05  # even in its logarithm
    for first, length, whole in ((found[:, 0], found[:, 2], 120), (found[:, 1], found[:, 3], 160)):
        assert first.min() > -1
        assert (first + length).max() < whole + 1
        share = first / (whole - length)
        assert abs(share.mean() - 0.5) < 4 / 12**0.5 / 400**0.5 + 0.02


def test_where_no_draw_fits_the_middle_is_taken():
    x = torch.rand(3, 4, 100)
    crop = RandomResizedCrop(size=6, scale=(1.0, 1.0))
    wide = round(4 * 4 / 3)
    middle = x[:, :, (100 - wide) // 2 : (100 - wide) // 2 + wide]
    wanted = torch.nn.functional.interpolate(middle[None], (6, 6), mode="bicubic", antialias=True)[0].clamp(0, 1)
    assert torch.allclose(crop(x, generator()), wanted)


def test_an_image_of_one_pixel_can_be_cropped():
    for change in (RandomResizedCrop(size=4), MultiScaleCrop(size=4), CentreCrop(size=4)):
        assert torch.allclose(change(torch.full((3, 1, 1), 0.25), generator()), torch.full((3, 4, 4), 0.25))


def test_multi_scale_crops_are_those_of_the_published_code():
    """Sizes, pairs and places as listed by GroupMultiScaleCrop of TSN, for frames of 80 x 104."""
    crop = MultiScaleCrop(size=20, scales=(1.0, 0.875, 0.75, 0.66))
    sides = [80, 70, 60, 52]
    allowed = set()
    for first, tall in enumerate(sides):
        for second, wide in enumerate(sides):
            if abs(first - second) <= 1:
                down, right = (80 - tall) // 4, (104 - wide) // 4
                offsets = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0)]
                offsets += [(1, 1), (3, 1), (1, 3), (3, 3)]
                allowed |= {(b * down, a * right, tall, wide) for a, b in offsets}
    seen = {tuple(round(value) for value in box) for box in boxes(crop, 80, 104, 600)}
    near = {min(allowed, key=lambda one: sum(abs(a - b) for a, b in zip(one, box, strict=True))) for box in seen}
    assert all(min(max(abs(a - b) for a, b in zip(one, box, strict=True)) for one in allowed) <= 1 for box in seen)
    assert len(near) > 0.95 * len(allowed)


def test_a_side_near_the_target_is_the_target():
    crop = MultiScaleCrop(size=40, scales=(0.98,))
    x = torch.rand(3, 42, 60)
    made = crop(x, generator())
    assert any(torch.equal(made, x[:, top : top + 40, left : left + 40]) for top in range(3) for left in range(21))


def test_flips_come_as_often_as_they_should():
    x = image()
    flipped = sum(
        bool(torch.equal(HorizontalFlip(chance=0.3)(x, generator(seed)), x.flip(-1) / 255)) for seed in range(500)
    )
    assert abs(flipped - 150) < 4 * (500 * 0.3 * 0.7) ** 0.5
    assert torch.equal(HorizontalFlip(chance=0.0)(x, generator()), x / 255)


def test_normalised_channels():
    made = normalized_channels(image(), IMAGENET_MEAN, IMAGENET_DEVIATION)
    wanted = (picture(0, 40, 56) / 255 - IMAGENET_MEAN) / IMAGENET_DEVIATION
    assert np.abs(made.permute(1, 2, 0).numpy() - wanted).max() < 1e-5
    clip = normalized_channels(torch.ones(2, 3, 4, 5), (0.5,), (0.25,))
    assert torch.allclose(clip, torch.full((2, 3, 4, 5), 2.0))


@pytest.mark.parametrize(("height", "width"), [(24, 24), (24, 12), (10, 30)])
def test_what_is_fitted_is_the_largest_middle_part_of_a_shape(height, width):
    """A part of that shape that touches two opposite edges, in the middle of the others; it is not distorted."""
    x = coordinates(60, 48)
    made = fitted(x, height, width)
    assert made.shape == (3, height, width)
    step = min(60 / height, 48 / width)  # pixels from one to the next, in both directions
    rows, columns = made[0, :, width // 2] * 60, made[1, height // 2] * 48
    middle = slice(height // 3, 2 * height // 3), slice(width // 3, 2 * width // 3)
    assert (rows.diff()[middle[0]] - step).abs().max() < 0.02 * step
    assert (columns.diff()[middle[1]] - step).abs().max() < 0.02 * step
    assert abs(float(rows.mean()) - 29.5) < 0.6
    assert abs(float(columns.mean()) - 23.5) < 0.6


def test_what_the_paper_trains_on():
    names = [[type(change).__name__ for change in some(32)] for some in (image_augmentations, video_augmentations)]
    assert names == [
        ["RandomResizedCrop", "HorizontalFlip"],
        ["MultiScaleCrop"],
    ]
    assert image_augmentations()[0] == RandomResizedCrop(size=224, scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomResizedCrop(size=0), "size is at least 1 pixel, got 0"),
        (lambda: RandomResizedCrop(size=8, scale=(0.5, 0.2)), "both rising"),
        (lambda: RandomResizedCrop(size=8, scale=(0.0, 1.0)), r"scale is within \(0, 1\]"),
        (lambda: MultiScaleCrop(size=8, scales=()), "scales are shares"),
        (lambda: CentreCrop(size=8, share=1.5), "share is above 0 and at most 1, got 1.5"),
        (lambda: HorizontalFlip(chance=2.0), "chance is from 0 to 1, got 2.0"),
    ],
)
def test_impossible_settings_are_one_line(make, message):
    with pytest.raises(ValueError, match=message):
        make()
