"""What ``codeword compress`` and ``codeword decompress`` do with images."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from codeword.cli.common import check_output, offering_salvage
from codeword.formats.atomic import atomic_write

if TYPE_CHECKING:
    from codeword.codecs.image.codec import ImageCodec, ImageRate


def compress_image(codec: "ImageCodec", rate: "ImageRate", source: Path, out: Path, *, overwrite: bool) -> None:
    """One image to a file of codes; ``-`` are standard input and output."""
    from codeword.data.picture_files import read_picture

    piped, written = str(source) == "-", str(out) == "-"
    if not written:
        check_output(out, overwrite=overwrite, inputs=() if piped else (source,))
    if piped:
        picture = read_picture(io.BytesIO(sys.stdin.buffer.read()), "standard input")
    elif source.is_fifo():
        picture = read_picture(io.BytesIO(source.read_bytes()), str(source))
    else:
        picture = read_picture(source)
    if written:
        done = codec.compress(picture.pixels, sys.stdout.buffer, rate)
        sys.stdout.buffer.flush()
    else:
        with atomic_write(out) as file:
            done = codec.compress(picture.pixels, file, rate)
    height, width = picture.pixels.shape[1:]
    print(
        f"{out}: {width} x {height} pixels in {done.num_bytes} bytes, {done.bits_per_pixel:.3f} bits per pixel, "
        f"{done.levels:.2f} of {codec.model.levels} levels",
        file=sys.stderr if written else sys.stdout,
    )
    for note in (*picture.notes, *filter(None, [done.note])):
        print(f"codeword: {source}: {note}", file=sys.stderr)


def decompress_image(codec: "ImageCodec", source: Path, out: Path, *, salvage: bool, overwrite: bool) -> None:
    """One file of codes to an image, in the format of its name, or PNG to standard output."""
    from codeword.data.image_files import image_bytes
    from codeword.data.picture_files import WRITTEN
    from codeword.formats.image import ImageFileReader

    piped, written = str(source) == "-", str(out) == "-"
    if not written and out.suffix.lower() not in WRITTEN:
        raise ValueError(f"{out} has no name of an image: give it one of {', '.join(WRITTEN)}")
    if not written:
        check_output(out, overwrite=overwrite, inputs=() if piped else (source,))
    with ImageFileReader(sys.stdin.buffer if piped else source, tables=codec.tables) as reader:
        header = reader.header
        if salvage:
            image, report = codec.salvage(reader)
            if report.missing == ((0, header.rows),):
                raise ValueError(f"nothing of {source} can be read: {'; '.join(map(str, report.problems))}")
            for problem in report.problems:
                print(f"codeword: {source}: {problem}", file=sys.stderr)
            for first, last in report.missing:
                rows = f"{header.step * first} to {min(header.step * last, header.height) - 1}"
                print(f"codeword: {source}: pixel rows {rows} are lost", file=sys.stderr)
        else:
            with offering_salvage():
                image = codec.decompress(reader)
    data = image_bytes(image, "PNG" if written else WRITTEN[out.suffix.lower()])
    if written:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        with atomic_write(out) as file:
            file.write(data)
    colours = "grey" if header.channels == 1 else "colour"
    print(f"{out}: {header.width} x {header.height} pixels, {colours}", file=sys.stderr if written else sys.stdout)
