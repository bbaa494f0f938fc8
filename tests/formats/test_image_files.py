"""Files of coded images: what is written comes back, from anywhere; damage is named and never believed."""

import io
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.entropy.counting import GridCounter
from codeword.entropy.frames import FrameTables
from codeword.formats.container import ContainerWriter
from codeword.formats.errors import FormatError
from codeword.formats.image import KIND, ImageFileReader, ImageFileWriter
from codeword.formats.image_payload import MAX_CHUNK_CODES, ImageHeader
from codeword.formats.inspection import inspect
from formats.damage import check_damaged

GOLDEN = Path(__file__).parents[1] / "golden"
SIZES = (8, 5, 3)


def picture(rows=30, columns=11, depth=None):
    """Codes made by integer arithmetic alone."""
    row, column, level = np.ogrid[:rows, :columns, : len(SIZES)]
    codes = (row * 3 // 7 + column // 3 + level * (row + column)) % np.array(SIZES)
    depths = (row // 4 + column // 5) % 3 + 1 if depth is None else depth
    return np.where(level < depths, codes, -1)


def header(rows=30, columns=11, depth=None, **changed):
    made = ImageHeader(
        model="c0de" * 4, width=8 * columns - 3, height=8 * rows - 7, channels=3, step=8, sizes=SIZES, depth=depth
    )
    return replace(made, **changed)


def tables():
    counter = GridCounter(SIZES)
    for rows in (20, 30, 40, 50):
        counter.add(picture(rows))
    return counter.tables()


TABLES = tables()


def written(codes, header, tables=None, chunk_rows=8, parts=1):
    file = io.BytesIO()
    with ImageFileWriter(file, header, tables=tables, chunk_rows=chunk_rows) as writer:
        for part in np.array_split(codes, parts):
            writer.write(part)
    return file.getvalue()


@pytest.mark.parametrize("ranged", [True, False])
@pytest.mark.parametrize("depth", [None, 2])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (30, 11), (1, 40), (40, 1)])
def test_codes_come_back(ranged, depth, rows, columns):
    codes, chosen = picture(rows, columns, depth), TABLES if ranged else None
    data = written(codes, header(rows, columns, depth), chosen, parts=3)
    assert data == written(codes, header(rows, columns, depth), chosen)
    with ImageFileReader(io.BytesIO(data), tables=chosen) as reader:
        assert (reader.header.rows, reader.header.columns) == (rows, columns)
        assert np.array_equal(reader.read_all(), codes)
        assert np.array_equal(np.concatenate(list(reader)), codes)
        assert np.array_equal(reader.read(rows // 3, rows), codes[rows // 3 :])


def test_alike_neighbours_make_small_files():
    smooth = np.zeros((64, 64, 3), dtype=np.int64) + np.arange(64)[:, None, None] // 16
    counter = GridCounter(SIZES, variable_depth=False)
    for turn in range(6):
        counter.add((smooth + turn) % np.array(SIZES))
    codes = (smooth + 2) % np.array(SIZES)
    plain = header(64, 64, 3)
    assert len(written(codes, plain, counter.tables())) < 0.5 * len(written(codes, plain))


def test_a_file_without_its_tables_says_so():
    data = written(picture(), header(), TABLES)
    with pytest.raises(ValueError, match="pass tables="):
        ImageFileReader(io.BytesIO(data)).read_all()
    with pytest.raises(ValueError, match="another model has"):
        other = GridCounter(SIZES)
        other.add(picture())
        ImageFileReader(io.BytesIO(data), tables=other.tables()).read_all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "a width and a height"),
        ({"height": 2**31}, "a width and a height"),
        ({"channels": 2}, "1 or 3 channels"),
        ({"step": 0}, "a step"),
        ({"sizes": ()}, "1 to 64 sizes"),
        ({"sizes": (0,)}, "1 to 64 sizes"),
        ({"width": 2**30}, "at most 1048576 codes in a row"),
        ({"depth": 4}, "a depth from 1"),
        ({"model": "c0de"}, "the fingerprint of a model"),
        ({"tables": "C0DE" * 4}, "tables with a fingerprint"),
    ],
)
def test_headers_that_no_file_may_have(change, message):
    with pytest.raises(ValueError, match=f"an image file needs {message}"):
        header(**change)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"a": [8, 8, 3, 8, 1, 1, 8]},
        {"a": [8, 8, 3, 8, 1, 1, 8], "m": "c0de" * 4, "x": 1},
        {"a": [8, 8, 3, 8, 1], "m": "c0de" * 4},
        {"a": [8, 8, True, 8, 1, 1, 8], "m": "c0de" * 4},
        {"a": [8, 8, 3, 8, 1, 1, 8, 1, 8], "m": "c0de" * 4},  # two runs of one size
        {"a": [8, 8, 3, 8, 1, 1, 8], "m": "c0de" * 4, "t": None},
        {"a": {"width": 8}, "m": "c0de" * 4},
    ],
)
def test_descriptions_that_no_writer_makes(fields):
    file = io.BytesIO()
    ContainerWriter(file, KIND, fields).close()
    with pytest.raises(FormatError, match=r"^header: "):
        ImageFileReader(io.BytesIO(file.getvalue()))


def test_codes_that_do_not_fit_are_named_and_nothing_is_written():
    wrong = picture()
    wrong[4, 5, 0] = 8
    file = io.BytesIO()
    writer = ImageFileWriter(file, header())
    before = file.getvalue()
    with pytest.raises(ValueError, match=r"codes\[4, 5, 0\] = 8 is outside the codebook sizes"):
        writer.write(wrong)
    with pytest.raises(ValueError, match="codes have 10 columns and 3 levels, the file has 11 and 3"):
        writer.write(picture(columns=10))
    assert file.getvalue() == before
    with pytest.raises(ValueError, match="promised 30 rows, 4 were written"):
        writer.write(picture()[:4])
        writer.close()


def test_huge_claims_take_no_memory():
    fields = ImageHeader(
        model="c0de" * 4, width=2**20, height=2**31 - 1, channels=3, step=1, sizes=(1,), depth=1
    ).to_fields()
    file = io.BytesIO()
    with ContainerWriter(file, KIND, fields) as container:
        container.write(b"", 1)
    tracemalloc.start()
    reader = ImageFileReader(io.BytesIO(file.getvalue()))
    with pytest.raises(FormatError):
        reader.read_all(max_codes=1000)
    with pytest.raises(FormatError, match="said to be lost"):
        reader.salvage()
    assert tracemalloc.get_traced_memory()[1] < 64 * MAX_CHUNK_CODES
    tracemalloc.stop()


VARIANTS = {
    "packed": (written(picture(depth=3), header(depth=3)), picture(depth=3), None),
    "ranged": (written(picture(), header(), TABLES), picture(), TABLES),
}


@pytest.mark.parametrize("name", ["packed", "ranged"])
def test_golden_file(name, update_golden):
    """Files of every version ever released stay readable, and today's writer still makes the same bytes."""
    path = GOLDEN / f"image_{name}_v1.cw"
    data, codes, learned = VARIANTS[name]
    if update_golden:
        path.write_bytes(data)
        if learned is not None:
            counts = {key: table.tolist() for key, table in learned.arrays().items()}
            path.with_suffix(".json").write_text(json.dumps(counts) + "\n")
    stored = None
    if path.with_suffix(".json").is_file():
        arrays = json.loads(path.with_suffix(".json").read_text())
        stored = FrameTables.from_arrays({key: np.array(table) for key, table in arrays.items()})
    with ImageFileReader(path, tables=stored) as reader:
        assert np.array_equal(reader.read_all(), codes)
        again = written(codes, replace(reader.header, tables=None), stored)
    assert inspect(path).intact
    assert path.read_bytes() == again


@settings(max_examples=150, deadline=None)
@given(
    variant=st.sampled_from(sorted(VARIANTS)), place=st.floats(0, 0.999), change=st.integers(1, 255), cut=st.booleans()
)
def test_damage_is_an_error_or_harmless(variant, place, change, cut):
    data, codes, tables = VARIANTS[variant]
    at = int(place * len(data))
    damaged = data[:at] if cut else data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
    check_damaged(lambda: ImageFileReader(io.BytesIO(damaged), tables=tables), codes, 7, 25)
