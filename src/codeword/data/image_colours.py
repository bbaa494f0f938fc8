"""Colours as they are seen: those that a profile describes become those of sRGB."""

import io
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from PIL import Image, ImageCms

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_STEPS = np.linspace(0, 255, 6).round().astype(np.uint8)
_ALIKE = 2  # of 255: profiles of sRGB differ by that much


class Seen(NamedTuple):
    """An image in sRGB, and a word on what its profile was; empty if nothing had to change."""

    image: "Picture"
    note: str


def in_srgb(image: "Picture") -> Seen:
    """The image with its colours in sRGB; it may be changed in place.

    By relative colorimetry with black point compensation, as in browsers. Grey stays grey. What has no profile is in
    sRGB already, but for inks, which stay inks.
    """
    profile = image.info.get("icc_profile")
    keyed = image.mode == "RGB" and "transparency" in image.info  # a colour that must not change before it is looked up
    if not profile or image.mode not in ("RGB", "RGBA", "P", "PA", "L", "CMYK"):
        return Seen(image, "")
    stored = image.convert("RGBA") if keyed or image.mode in ("P", "PA") else image
    mode = "RGBA" if stored.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = _transform(source, stored.mode, mode)
        name = ImageCms.getProfileDescription(source).strip()
    except (ImageCms.PyCMSError, OSError):
        return Seen(image, "the profile of its colours does not fit them and was left out")
    if stored.mode != "CMYK" and _changes_nothing(transform, stored.mode):
        return Seen(image, "")
    note = f"its colours ({name}) became those of sRGB"
    if stored.mode != mode:
        made = cast("Picture", ImageCms.applyTransform(stored, transform))
        return Seen(made.convert("L") if stored.mode == "L" else made, note)
    stored.load()
    if stored.readonly:  # a file in memory, that must not be written to
        stored = stored.copy()
    ImageCms.applyTransform(stored, transform, inPlace=True)
    return Seen(stored, note)


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
