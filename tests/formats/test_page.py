"""docs/formats.md is normative: its example, its table and its limits are those of the code."""

import io
import math
import re
from pathlib import Path

import numpy as np
import pytest

from codeword.entropy import depths
from codeword.formats import (
    audio,
    audio_payload,
    container,
    fields,
    image,
    image_payload,
    speech,
    tokens,
    vector_payload,
    vectors,
)
from codeword.formats.audio_payload import AudioHeader
from codeword.formats.image_payload import ImageHeader
from codeword.functional import bands
from codeword.functional.radix import grouping

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def dump(data):
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{offset:04x}  {row.hex(' '):<47}  {text}"


def test_the_examples_run_and_make_the_bytes_shown():
    dumps = [block for block in blocks("text") if block.startswith("0000")]
    assert len(dumps) == 3
    for program, shown in zip(blocks("python"), dumps, strict=True):
        names = {}
        exec(compile(program, "formats.md", "exec"), names)
        assert "\n".join(dump(names["file"].getvalue())) + "\n" == shown


def test_the_table_of_groups_is_right():
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, flags=re.MULTILINE)
    assert len(rows) == 9
    for size, codes, bits, ratio, logarithm in rows:
        assert grouping(int(size)) == (int(codes), int(bits))
        assert (ratio, logarithm) == (f"{int(bits) / int(codes):.4f}", f"{math.log2(int(size)):.4f}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("length of the description, at most 65536", container.MAX_HEADER_BYTES),
        ("length of the payload, at most 2^26 (67 108 864)", container.MAX_PAYLOAD_BYTES),
        ("number of items, 1 to 2^20 (1 048 576)", container.MAX_CHUNK_ITEMS),
        ("number of chunks, at most 2^22 (4 194 304)", container.MAX_CHUNKS),
        ("never more than 2^22 (4 194 304) codes", vector_payload.MAX_CHUNK_CODES),
        ("list of 1 to 4096 codebook sizes", vector_payload.MAX_LEVELS),
        ("A chunk holds 65536 vectors", vectors.CHUNK_ROWS),
        ("A chunk holds 40 seconds", audio.CHUNK_SECONDS),
        ("as many samples as have 16384 patches together", tokens.CHUNK_PATCHES),
        ("never more than 2^20 (1 048 576) codes", audio_payload.MAX_CHUNK_CODES),
        ("there are 1 to 255 channels", audio_payload.MAX_CHANNELS),
        ("and 1 to 64 levels", fields.MAX_LEVELS),
        ("as many as hold 65536 latents", image.CHUNK_PLACES),
        ("there are 1 to 64 levels of sizes", fields.MAX_LEVELS),
        ("at least, unless told otherwise, and never more than 2^20 (1 048 576) codes", image_payload.MAX_CHUNK_CODES),
        ("There are 1 to 255 sets", depths.MAX_SETS),
        ("chunk holds 40 seconds unless told otherwise, and never more than 2^22", speech.CHUNK_SECONDS),
        ("never more than 2^22 (4 194 304) numbers", speech.MAX_CHUNK_NUMBERS),
        ("(min(max(*e* - *x*, -512), 768) + 512) div 32", bands.CELL),
        ("768) + 512) div 32", bands.MOST),
    ],
)
def test_the_limits_are_those_of_the_code(text, value):
    assert text in " ".join(PAGE.split())
    numbers = [int(number.replace(" ", "")) for number in re.findall(r"(?<![\^\d])\d[\d ]*\d", text)]
    assert value in numbers


def test_the_fields_are_those_of_the_code():
    named = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    described = AudioHeader(
        model="0" * 16, sample_rate=1, hop=1, sizes=(2,), channels=2, channel_mode="mid_side", tables="0" * 16
    )
    pictured = ImageHeader(model="0" * 16, width=1, height=1, channels=1, step=1, sizes=(2,), tables="0" * 16)
    spoken = speech.SpeechHeader(model="0" * 16, sample_rate=1, lines=2, sizes=(2,))
    kinds = (
        vector_payload.VectorHeader.__dataclass_fields__,
        described.to_fields(),
        pictured.to_fields(),
        spoken.to_fields(),
        tokens.TokenHeader.__dataclass_fields__,
    )
    assert named == [name for kind in kinds for name in sorted(kind)]


def test_the_cost_of_a_minute_is_the_one_stated():
    codes = np.zeros((1, 3000, 12), dtype=int)
    header = AudioHeader(model="0" * 16, sample_rate=16000, hop=320, sizes=(1024,) * 12, num_samples=960_000, depth=12)
    file = io.BytesIO()
    with audio.AudioFileWriter(file, header) as writer:
        writer.write(codes)
    assert f"takes {len(file.getvalue()):,} bytes".replace(",", " ") in " ".join(PAGE.split())
