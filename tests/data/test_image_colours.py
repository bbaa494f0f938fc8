import io

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from codeword.data.image_files import read_image
from codeword.data.picture_files import read_picture
from contracts.media import picture
from contracts.profiles import colour_profile, grey_in_srgb, grey_profile, in_srgb, ink_profile

STANDARD = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TOLD = "its colours (a test) became those of sRGB"
STEP = 1.5  # of 255: rounding, here and in a profile's tables


def stored(image, profile, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, icc_profile=profile, **options)
    return io.BytesIO(file.getvalue())


def rows(pixels):
    return pixels.permute(1, 2, 0).numpy().astype(float)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_colours_become_those_of_srgb(kind):
    values = picture()
    file = stored(Image.fromarray(values), colour_profile(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    seen = read_picture(file)
    assert seen.notes == (TOLD,)
    assert np.abs(rows(seen.pixels) - in_srgb(values)).max() < STEP
    assert np.abs(in_srgb(values) - values).max() > 20
    assert np.array_equal(rows(read_image(file)), values)  # as they are stored


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])  # Pillow maps the latter, and what is mapped must not be written to
def test_transparency_stays_where_it_is(kind):
    values = np.dstack([picture(), np.full(picture().shape[:2], 255, np.uint8)])
    values[:4, :, 3] = 0
    seen = read_picture(stored(Image.fromarray(values), colour_profile(), kind))
    assert seen.notes == (TOLD, "transparency was laid on white")
    assert (rows(seen.pixels)[:4] == 255).all()
    assert np.abs(rows(seen.pixels)[4:] - in_srgb(values[4:, :, :3])).max() < STEP


def test_a_colour_that_is_transparent_is_so_before_it_changes():
    values = picture()
    values[:2] = (10, 200, 30)
    seen = read_picture(stored(Image.fromarray(values), colour_profile(), transparency=(10, 200, 30)))
    assert (rows(seen.pixels)[:2] == 255).all()
    assert (rows(seen.pixels)[2:] < 255).any()


def test_palettes_have_profiles_too():
    image = Image.fromarray(picture()).convert("P")
    seen = read_picture(stored(image, colour_profile()))
    assert np.abs(rows(seen.pixels) - in_srgb(np.asarray(image.convert("RGB")))).max() < STEP


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_what_is_srgb_keeps_every_bit(mode):
    image = Image.fromarray(picture()).convert(mode)
    seen = read_picture(stored(image, STANDARD))
    assert not [note for note in seen.notes if "colours" in note]
    assert np.array_equal(rows(seen.pixels), np.asarray(image.convert("RGB")))


def test_grey_stays_grey():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    seen = read_picture(stored(Image.fromarray(ramp), grey_profile()))
    assert seen.pixels.shape == (1, 16, 16)
    assert seen.notes == (TOLD,)
    assert np.abs(rows(seen.pixels)[..., 0] - grey_in_srgb(ramp)).max() < 2 * STEP  # greys pass through lightness


def test_inks_follow_their_profile():
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[:4, :, 0] = 255  # all cyan: a grey in this profile, and no red without one
    image = Image.fromarray(inks, "CMYK")
    seen = read_picture(stored(image, ink_profile(), "TIFF"))
    assert seen.notes == (TOLD,)
    found = rows(seen.pixels)
    assert np.ptp(found[0, 0]) <= 2
    assert 150 < found[0, 0, 0] < 175  # two thirds of the lightness
    assert found[7, 7].min() >= 254
    bare = read_picture(stored(image, None, "TIFF"))
    assert bare.notes == ("inks were turned into red, green and blue without a profile",)
    assert bare.pixels[:, 0, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("profile", [b"nothing", colour_profile()[:200], grey_profile(), ink_profile()])
def test_profiles_that_do_not_fit_are_left_out_and_told(profile):
    seen = read_picture(stored(Image.fromarray(picture()), profile))
    assert seen.notes == ("the profile of its colours does not fit them and was left out",)
    assert np.array_equal(rows(seen.pixels), picture())


def test_turned_images_have_profiles():
    exif = Image.Exif()
    exif[0x0112] = 6
    inks = Image.new("CMYK", (12, 5))
    assert read_picture(stored(inks, ink_profile(), "TIFF", exif=exif)).pixels.shape == (3, 12, 5)


@pytest.mark.parametrize("mode", ["LA", "I;16", "L"])
def test_grey_that_is_deep_or_transparent_has_profiles_too(mode):
    values = np.array([[0, 40, 100, 200]], np.uint8)
    image, options = Image.fromarray(values), {}
    if mode == "LA":
        image.putalpha(Image.fromarray(np.array([[0, 255, 255, 255]], np.uint8)))
    else:
        image = Image.fromarray(values.astype(np.uint16) << 8) if mode == "I;16" else image
        options = {"transparency": 0}
    seen = read_picture(stored(image, grey_profile(), **options))
    assert seen.notes[:2] == (TOLD, "transparency was laid on white")
    found = rows(seen.pixels)[0, :, 0]
    assert found[0] == 255
    assert np.abs(found[1:] - grey_in_srgb(values[0, 1:])).max() < 2 * STEP


def test_colours_stored_by_lightness_have_profiles_too():
    file = stored(Image.fromarray(picture()).convert("YCbCr"), colour_profile(), "TIFF")
    assert read_picture(file).notes == (TOLD,)
    file.seek(0)
    assert np.abs(rows(read_picture(file).pixels) - in_srgb(rows(read_image(file)))).max() < STEP


@pytest.mark.parametrize(("mode", "told"), [("P", (TOLD,)), ("RGBA", (TOLD,))])
def test_what_hides_nothing_is_not_told_to(mode, told):
    image = Image.fromarray(picture()).convert(mode)
    assert read_picture(stored(image, colour_profile())).notes == told
    assert read_picture(stored(image, None)).notes == ()


def test_names_of_profiles_are_one_plain_line():
    named = colour_profile().replace(b"a test\0", b"a\n\x1b[2\0\0")
    assert read_picture(stored(Image.fromarray(picture()), named)).notes == ("its colours (a [2) became those of sRGB",)
    nameless = colour_profile().replace(b"a test\0", bytes(7))
    assert read_picture(stored(Image.fromarray(picture()), nameless)).notes == ("its colours became those of sRGB",)


def test_a_profile_that_is_text_is_left_out(tmp_path):
    image = Image.fromarray(picture())
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[34675] = 2
    tags[34675] = "no profile"
    image.save(tmp_path / "a.tif", tiffinfo=tags)
    seen = read_picture(tmp_path / "a.tif")
    assert seen.notes == ("the profile of its colours does not fit them and was left out",)
    assert np.array_equal(rows(seen.pixels), picture())
