"""docs/formats.md is normative: its example, its table and its limits are those of the code."""

import math
import re
from pathlib import Path

import pytest

from codeword.formats import container, vector_payload, vectors
from codeword.functional.radix import grouping

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def dump(data):
    for offset in range(0, len(data), 16):
        row = data[offset : offset + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{offset:04x}  {row.hex(' '):<47}  {text}"


def test_the_example_runs_and_makes_the_bytes_shown():
    (program,) = blocks("python")
    names = {}
    exec(compile(program, "formats.md", "exec"), names)
    assert "\n".join(dump(names["file"].getvalue())) + "\n" == blocks("text")[-1]


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
    ],
)
def test_the_limits_are_those_of_the_code(text, value):
    assert text in " ".join(PAGE.split())
    numbers = [int(number.replace(" ", "")) for number in re.findall(r"(?<![\^\d])\d[\d ]*\d", text)]
    assert value in numbers


def test_the_fields_are_those_of_the_code():
    named = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    assert named == sorted(vector_payload.VectorHeader.__dataclass_fields__)
