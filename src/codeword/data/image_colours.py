"""Colours as they are seen: those that a profile describes become those of sRGB."""

import io
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from PIL import Image, ImageCms

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_STEPS = np.linspace(0, 255, 6).round().astype(np.uint8)
_MODES = ("RGB", "RGBA", "YCbCr", "P", "PA", "L", "LA", "CMYK")
_ALIKE = 2  # of 255: profiles of sRGB differ by that much


class Seen(NamedTuple):
    """An image in sRGB, and a word on what its profile was; empty if nothing had to change."""

    image: "Picture"
    note: str


def in_srgb(image: "Picture") -> Seen:
    """The image with its colours in sRGB; it may be changed in place.

    By relative colorimetry with black point compensation, as in browsers. Grey stays grey, and what is transparent
    stays so. What has no profile is in sRGB already, but for inks, which stay inks.
    """
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in _MODES:
        return Seen(image, "")
    opened = _in_bands(image)
    stored = opened.getchannel("L") if opened.mode == "LA" else opened
    mode = "RGBA" if stored.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = _transform(source, stored.mode, mode)
        name = _readable(ImageCms.getProfileDescription(source))
    except (ImageCms.PyCMSError, OSError, TypeError):
        return Seen(image, "the profile of its colours does not fit them and was left out")
    if stored.mode != "CMYK" and _changes_nothing(transform, stored.mode):
        return Seen(image, "")
    note = f"its colours{f' ({name})' if name else ''} became those of sRGB"
    if stored.mode != mode:
        made = cast("Picture", ImageCms.applyTransform(stored, transform))
        if stored.mode == "L":
            made = made.convert("L")
            if opened.mode == "LA":
                made.putalpha(opened.getchannel("A"))
        return Seen(made, note)
    stored.load()
    if stored.readonly:  # a file in memory, that must not be written to
        stored = stored.copy()
    ImageCms.applyTransform(stored, transform, inPlace=True)
    return Seen(stored, note)


def _in_bands(image: "Picture") -> "Picture":
    """Grey, colour or inks, and transparency as a band: a value that stands for it would change."""
    clear = image.has_transparency_data
    if image.mode == "L":
        return image.convert("LA") if clear else image
    if image.mode in ("P", "PA", "YCbCr") or (image.mode == "RGB" and clear):
        return image.convert("RGBA" if clear else "RGB")
    return image


def _readable(name: str) -> str:
    """A name from a file in one line of a terminal."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())[:60]


def _transform(source: Any, stored: str, mode: str) -> Any:
    return ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        stored,
        mode,
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _changes_nothing(transform: Any, mode: str) -> bool:
    """Whether colours from all over the cube, or greys, stay what they are."""
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
        wanted = np.repeat(probe[..., None], 3, 2)
    else:
        wanted = np.stack(np.meshgrid(_STEPS, _STEPS, _STEPS), -1).reshape(1, -1, 3)
        probe = wanted if mode == "RGB" else np.pad(wanted, ((0, 0), (0, 0), (0, 1)), constant_values=255)
    made = cast("Picture", ImageCms.applyTransform(Image.fromarray(probe), transform))
    found = np.asarray(made)[..., :3]
    return int(np.abs(found.astype(int) - wanted).max()) <= _ALIKE
