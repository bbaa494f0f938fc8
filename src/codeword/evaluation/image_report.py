"""The evaluation of an image model as one HTML page: curves, and images beside what came back of them."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from codeword.codecs.image.codec import BitsPerPixel, ImageCodec
from codeword.data.image_files import image_bytes
from codeword.evaluation.image import ImageEvaluation, NamedPicture, measures, through
from codeword.evaluation.page import Page

_SHOWN = 4  # images
_RATES = (0.15, 0.4, 1.0)  # bits per pixel at which they are shown
_WIDEST = 640  # pixels of an image on the page
_ERROR = 4  # times which errors are shown


def write_report(
    evaluation: ImageEvaluation, codec: ImageCodec, pictures: Sequence[NamedPicture], target: Path
) -> None:
    """Write the page.

    Args:
        evaluation: What was measured.
        codec: The model that it was measured on.
        pictures: A few images, coded again to be looked at.
        target: The file.

    Raises:
        ValueError: If the evaluation is of another model.
    """
    if evaluation.model != codec.fingerprint:
        raise ValueError(f"the evaluation is of model {evaluation.model[:16]}, this is {codec.fingerprint[:16]}")
    page = Page(
        "An image codec, seen and measured",
        f"{len(evaluation.images)} image{'s' * (len(evaluation.images) != 1)}. Rates are those of whole files, every "
        "byte counted; what is measured and shown was written to a file and read back.",
        assets=("pictures.css",),
    )
    model = codec.model
    page.facts(
        [
            ("Model", codec.fingerprint[:16]),
            ("Pixels of a latent", f"{model.step} x {model.step}"),
            ("Levels", f"{model.levels} of {max(model.quantizer.sizes)} codewords"),
            ("Depth", "constant" if model.importance is None else f"1 to {model.levels}, by importance"),
            ("Parameters", f"{sum(value.numel() for value in model.parameters()) / 1e6:.2f} million"),
            ("Codes in files", "packed" if codec.tables is None else "range-coded"),
        ]
    )
    page.heading("Look")
    page.paragraph(
        f"At several rates: what came back, and {_ERROR} times the error on grey. Then the codes of the first level, "
        "where equal colours are equal codes, and how many levels every place spends, from dark to light."
    )
    for picture in pictures[:_SHOWN]:
        page.fragment(_gallery(codec, picture))
    figures = evaluation.figures()
    page.heading("Quality against rate")
    page.paragraph(
        "Means over images; bands are 95 % confidence intervals of the mean, after Student's t. Rates stand on a "
        "logarithmic axis. Pointing at a mark shows its numbers."
    )
    page.fragment(figures.charts())
    if rows := figures.bd_rows():
        page.heading("Bits for the same quality")
        page.paragraph(
            "BD-rate: how many bits the model needs beyond each other codec, averaged over the qualities that both "
            "reach; negative is fewer. No number where curves do not overlap or do not rise."
        )
        page.table(rows)
    page.heading("All numbers")
    page.table(figures.rows())
    page.heading("How this was measured")
    machine = dict(evaluation.machine)
    versions = machine.pop("versions", {})
    told = {
        "Command": evaluation.command,
        "Machine": ", ".join(f"{name} {value}" for name, value in machine.items()),
        "Versions": ", ".join(f"{name} {value}" for name, value in versions.items()),
        "Left out": "; ".join(evaluation.skipped),
    }
    page.facts([(name, value) for name, value in told.items() if value], wide=True)
    page.write(target)


def _gallery(codec: ImageCodec, picture: NamedPicture) -> str:
    """An image and what comes back at several rates."""
    pixels = picture.pixels
    height, width = pixels.shape[1:]
    encoded = codec.encode(pixels)
    cells = [_cell(pixels, f"original, {width} x {height} pixels")]
    for rate in _RATES:
        coded = through(codec, encoded, BitsPerPixel(rate))
        found = measures(coded.pixels, pixels)
        told = ", ".join(f"{name.upper().replace('_', '-')} {value:.3f}" for name, value in found.items())
        cells += [
            _cell(coded.pixels, f"{8 * coded.num_bytes / (width * height):.3f} bits per pixel, {told}"),
            _cell(_error(coded.pixels, pixels), f"error, {_ERROR} times"),
        ]
    first = torch.from_numpy(encoded.codes[..., 0])
    cells.append(_cell(_code_map(first, codec.model.quantizer.sizes[0]), "codes of the first level"))
    if encoded.importance is not None:
        scale = codec.model.levels
        depth = torch.from_numpy(encoded.importance * scale).floor() + 1
        shade = (255 * (depth / codec.model.levels).clamp(0, 1)).byte()
        cells.append(_cell(shade.unsqueeze(0), f"levels spent at scale {scale}"))
    return f'<h3>{html.escape(picture.name)}</h3><div class="pictures">{"".join(cells)}</div>'


def _cell(pixels: UInt8[Tensor, "channels height width"], caption: str) -> str:
    """An image of at most so many pixels; small maps are enlarged without smoothing by the page."""
    factor = -(-pixels.shape[2] // _WIDEST)
    if factor > 1:
        pixels = F.avg_pool2d(pixels.float().unsqueeze(0), (min(factor, pixels.shape[1]), factor))[0].round().byte()
    data, text = base64.b64encode(image_bytes(pixels)).decode(), html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def _error(
    found: UInt8[Tensor, "channels height width"], wanted: UInt8[Tensor, "channels height width"]
) -> UInt8[Tensor, "channels height width"]:
    return (128 + _ERROR * (found.int() - wanted.int())).clamp(0, 255).byte()


def _code_map(codes: Tensor, size: int) -> UInt8[Tensor, "3 rows columns"]:
    """A colour for every code, far apart for neighbouring numbers."""
    turns = (torch.arange(size) * 0.6180339887) % 1
    phases = torch.tensor([0.0, 1 / 3, 2 / 3])
    colours = 0.5 + 0.45 * torch.cos(2 * torch.pi * (turns[:, None] + phases))
    return (255 * colours[codes.long()]).permute(2, 0, 1).byte()
