"""The folder of an image model: networks, entropy tables, and the fingerprint of what decodes."""

from pathlib import Path

from codeword.codecs.folders import DECODING, digest, located_in, read_codec, read_frame_tables, write_model
from codeword.codecs.image.model import ImageModel
from codeword.entropy.frames import FrameTables

PHOTOS = "photos"  # the model that comes with the package
SHIPPED = Path(__file__).parent / "shipped"
KIND = "image"


def fingerprint(model: ImageModel) -> str:
    """SHA-256, in hexadecimal, of what turns codes into an image: decoder and quantizer."""

    def decodes(name: str) -> bool:
        path = name.split(".")
        return path[0] == "decoder" or (path[0] == "quantizer" and path[-1] in DECODING)

    return digest(model, model.arguments(), decodes)


def write_image(folder: Path, model: ImageModel, tables: FrameTables | None, *, half: bool = False) -> None:
    """Write a model and its tables, as ``write_model`` does."""
    write_model(folder, model, KIND, tables, half=half)


def located(model: Path) -> Path:
    """The folder of a model: the given one, or else that of a model of this name that comes with the package."""
    return located_in(SHIPPED, model)


def read_image_model(folder: Path) -> tuple[ImageModel, FrameTables | None]:
    """Read a model and, where there are some, its tables.

    Args:
        folder: Where, or the name of a model that comes with the package.

    Raises:
        ValueError: In one line that names the folder, if it holds no model or a damaged one.
    """
    return read_codec(
        folder, KIND, ImageModel, lambda model: model.quantizer.sizes, read_frame_tables, shipped=SHIPPED, known=PHOTOS
    )
