"""Damaged, truncated and hostile files: an error that names the part, or exactly the data; never anything else."""

import io
import struct
import tracemalloc
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.entropy.tables import CodeTables
from codeword.formats import salvage as salvage_module
from codeword.formats import source as source_module
from codeword.formats.container import ContainerWriter, read_header
from codeword.formats.errors import FormatError
from codeword.formats.inspection import inspect
from codeword.formats.salvage import Salvage
from codeword.formats.vector_payload import VectorHeader
from codeword.formats.vectors import VectorCodesReader, VectorCodesWriter
from formats.damage import check_damaged

MODEL = "0" * 64
SMALL_BYTES = 4 * 2**20  # memory that any refusal may take
CODES = (np.arange(150) * 7919 // 3 % 251).reshape(50, 3) % np.array([16, 5, 3])
DEPTHS = np.arange(50) * 5 % 4
TABLES = CodeTables.from_codes(CODES, (16, 5, 3), variable_depth=True)


def make_file(codes, *, payload="packed", num_vectors=None):
    variable = bool((codes < 0).any())
    header = VectorHeader(
        dim=2, sizes=(16, 5, 3), model=MODEL, payload=payload, variable_depth=variable, num_vectors=num_vectors
    )
    file = io.BytesIO()
    with VectorCodesWriter(file, header, tables=TABLES, chunk_rows=10) as writer:
        writer.write(codes)
    return file.getvalue()


VARIANTS = {
    "packed": make_file(CODES),
    "ranged": make_file(np.where(np.arange(3) < DEPTHS[:, None], CODES, -1), payload="ranged", num_vectors=50),
}


def codes_of(variant):
    return VectorCodesReader(io.BytesIO(VARIANTS[variant]), tables=TABLES).read_all()


def check(data, codes):
    check_damaged(lambda: VectorCodesReader(io.BytesIO(data), tables=TABLES), codes, 7, 33)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("damage", "stride"), [("flip", 1), ("zero", 4), ("delete", 3), ("insert", 3), ("truncate", 4)]
)
def test_damage_to_any_byte(variant, damage, stride):
    original, codes = VARIANTS[variant], codes_of(variant)
    for position in range(0, len(original), stride):
        data = bytearray(original)
        if damage == "flip":
            data[position] ^= 1 << position % 8
        elif damage == "zero":
            data[position] = 0
        elif damage == "delete":
            del data[position]
        elif damage == "insert":
            data.insert(position, position * 37 % 256)
        else:
            del data[position:]
        check(bytes(data), codes)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(VARIANTS)), st.data())
def test_damage_in_several_places(variant, data):
    damaged = bytearray(VARIANTS[variant])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        stop = min(start + data.draw(st.integers(0, 80)), len(damaged))
        damaged[start:stop] = data.draw(st.binary(max_size=80))
    check(bytes(damaged), codes_of(variant))


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes(tail, with_header):
    header = VARIANTS["packed"][: VARIANTS["packed"].index(b"CHNK")]
    check((header if with_header else b"") + tail, CODES[:0])


def positions(data, tag=b"CHNK"):
    return [i for i in range(len(data)) if data.startswith(tag, i)]


def salvage(data, tables=TABLES):
    return VectorCodesReader(io.BytesIO(data), tables=tables).salvage()


@pytest.mark.parametrize("offset", [0, 5, 9, 13, 22, 25])  # tag, length, count, first, checksum, payload
def test_one_damaged_chunk_costs_its_own_rows_only(offset):
    data = bytearray(VARIANTS["packed"])
    data[positions(data)[2] + offset] ^= 0x10
    found, report = salvage(bytes(data))
    assert report.missing == ((20, 30),)
    assert report.total == 50
    assert np.array_equal(np.delete(found, range(20, 30), axis=0), np.delete(CODES, range(20, 30), axis=0))
    assert len(report.problems) == 1


def test_a_lost_byte_costs_its_chunk_only():
    data = bytearray(VARIANTS["packed"])
    del data[positions(data)[1] + 26]
    assert salvage(bytes(data)).report.missing == ((10, 20),)


def test_lost_and_doubled_chunks_are_noticed():
    data = VARIANTS["packed"]
    second, third = positions(data)[1:3]
    report = salvage(data[:second] + data[third:]).report
    assert (report.missing, report.problems) == (((10, 20),), ("items 10 to 19 are missing",))
    found, report = salvage(data[:third] + data[second:])
    assert np.array_equal(found, CODES)
    assert report.missing == ()
    assert any("second time" in problem for problem in report.problems)


def test_the_lost_end_is_known_from_the_header_or_not_at_all():
    cut = VARIANTS["packed"][: positions(VARIANTS["packed"])[3] + 5]
    found, report = salvage(cut)
    assert np.array_equal(found, CODES[:30])
    assert (report.total, report.missing) == (None, ())
    assert "cut off" in report.problems[-1]
    known = make_file(CODES, num_vectors=50)
    found, report = salvage(known[: positions(known)[3] + 5])
    assert (report.total, report.missing) == (50, ((30, 50),))
    assert (found[30:] == -1).all()


def test_salvage_reads_pipes_and_tells_rows_as_they_come():
    class Pipe:
        def __init__(self, data):
            self.file = io.BytesIO(data)

        def read(self, size):
            return self.file.read(min(size, 7))

    data = bytearray(VARIANTS["packed"])
    data[positions(data)[0] + 30] ^= 1
    chunks = VectorCodesReader(Pipe(bytes(data))).salvage_chunks()
    assert [(piece.first, piece.count) for piece in chunks] == [(10, 10), (20, 10), (30, 10), (40, 10)]
    assert chunks.report().missing == ((0, 10),)


def chunk(payload, count, first):
    head = struct.pack("<4sIIQ", b"CHNK", len(payload), count, first)
    return head + struct.pack("<I", zlib.crc32(head)) + payload + struct.pack("<I", zlib.crc32(head + payload))


def header_of(header):
    file = io.BytesIO()
    ContainerWriter(file, "vectors", header.to_fields())
    return file.getvalue()


FREE = VectorHeader(dim=1, sizes=(1,) * 10, model=MODEL)
WIDE = VectorHeader(dim=1, sizes=(1,) * 4096, model=MODEL)
PLAIN = VectorHeader(dim=1, sizes=(256, 3), model=MODEL)
VARYING = VectorHeader(dim=1, sizes=(256, 3), model=MODEL, variable_depth=True)


@pytest.mark.parametrize(
    ("header", "chunks"),
    [
        (WIDE, chunk(b"", 2**20, 0)),
        (PLAIN, chunk(b"", 2**20, 0)),
        (PLAIN, chunk(b"\0" * 20, 5, 0)),
        (PLAIN, chunk(b"\xff" * 7, 5, 0)),
        (VARYING, chunk(b"", 2**20, 0)),
        (VARYING, chunk(b"\x03\x00", 1, 0)),
        (VARYING, chunk(b"\x02\x00\xff", 1, 0)),
    ],
    ids=["free levels", "too short", "too long", "code too large", "no depths", "depth too large", "padding"],
)
def test_content_that_no_writer_makes_is_refused_cheaply(header, chunks):
    data = header_of(header) + chunks
    tracemalloc.start()
    with pytest.raises(FormatError, match="chunk of items 0"):
        VectorCodesReader(io.BytesIO(data)).read_all()
    report = VectorCodesReader(io.BytesIO(data)).salvage().report
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.num_items == 0
    assert "chunk of items" in report.problems[0]
    assert peak < SMALL_BYTES


def test_range_coded_words_that_no_encoder_makes_are_refused():
    tables = CodeTables.from_histograms([np.array([1, 1])] * 2)
    header = VectorHeader(dim=1, sizes=(2, 2), model=MODEL, payload="ranged", tables=tables.fingerprint())
    for payload in (b"\xff" * 12, b"\0" * 3, b"\0" * 400):
        with pytest.raises(FormatError, match="chunk of items 0 to 99"):
            VectorCodesReader(io.BytesIO(header_of(header) + chunk(payload, 100, 0)), tables=tables).read_all()


def lying_footer(num_chunks):
    return struct.pack("<4sQ", b"FOOT", num_chunks) + bytes(64)


@pytest.mark.parametrize(
    "tail",
    [
        struct.pack("<4sIIQI", b"CHNK", 2**26, 1, 0, zlib.crc32(struct.pack("<4sIIQ", b"CHNK", 2**26, 1, 0))),
        lying_footer(2**22),
        lying_footer(2**60),
        chunk(b"\0" * 4, 2, 2**41),
        bytes(44) + struct.pack("<IQ8s", 0, 2**50, b"\x89.cwend\n"),
    ],
    ids=["payload", "table", "huge table", "first item", "footer"],
)
def test_lengths_that_lie_cost_nothing(tail):
    data = header_of(PLAIN) + tail
    tracemalloc.start()
    for read in (lambda reader: reader.read_all(), lambda reader: reader.read(0, 1), lambda reader: reader.salvage()):
        try:
            assert len(read(VectorCodesReader(io.BytesIO(data)))[0]) == 0
        except FormatError as error:
            assert error.where
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < SMALL_BYTES


def test_rows_said_to_be_lost_are_filled_only_within_reason():
    data = header_of(PLAIN) + chunk(b"\0" * 2, 1, 0) + chunk(b"\0" * 2, 1, 10**9)
    with pytest.raises(FormatError, match=r"2 vectors are intact and 999999999 are said to be lost.*max_fill"):
        salvage(data)
    chunks = VectorCodesReader(io.BytesIO(data)).salvage_chunks()
    assert [piece.first for piece in chunks] == [0, 10**9]
    assert chunks.report().missing == ((1, 10**9),)
    near = header_of(PLAIN) + chunk(b"\0" * 2, 1, 0) + chunk(b"\0" * 2, 1, 9)
    assert len(salvage(near).codes) == 10
    with pytest.raises(FormatError, match="max_fill=7"):
        VectorCodesReader(io.BytesIO(near)).salvage(max_fill=7)


def test_nested_heads_are_not_summed_up_again_and_again(monkeypatch):
    """Each of many heads claims all bytes after it: the work must stay proportional to the file."""
    summed = 0

    def counting(data, start=0):
        nonlocal summed
        summed += len(data)
        return zlib.crc32(data, start)

    monkeypatch.setattr(salvage_module, "zlib", SimpleNamespace(crc32=counting))
    monkeypatch.setattr(salvage_module, "MAX_PAYLOAD_BYTES", 0)
    size, data = 20_000, bytearray(header_of(PLAIN))
    start = len(data)
    while len(data) + 28 < size:
        head = struct.pack("<4sIIQ", b"CHNK", size - len(data) - 28, 1, 0)
        data += head + struct.pack("<I", zlib.crc32(head))
    data += bytes(size - len(data))
    summed = 0
    file = io.BytesIO(data)
    chunks = Salvage(file, read_header(file).num_bytes, decode=len)
    assert list(chunks) == []
    assert 0 < summed < 10 * (size - start)


def test_damage_reports_are_bounded():
    data = header_of(PLAIN) + b"CHNK...." * 1000
    report = salvage(data).report
    assert 1 < len(report.problems) <= 100


def test_a_footer_that_contradicts_the_rows_is_a_problem(tmp_path):
    ours, theirs = make_file(CODES), make_file(CODES[:20])
    mixed = ours[: ours.index(b"FOOT")] + theirs[theirs.index(b"FOOT") :]
    found, report = salvage(mixed)
    assert np.array_equal(found, CODES)
    assert "footer speaks of 20 items" in report.problems[0]
    path = tmp_path / "codes.cw"
    path.write_bytes(mixed)
    assert not inspect(path).intact
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(FormatError, match="PNG"):
        inspect(path)


def test_codes_that_cost_no_bytes_fill_no_memory():
    """Levels of one codeword: a thousand bytes of file could ask for gigabytes."""
    data = header_of(FREE) + b"".join(chunk(b"", 2**18, first * 2**18) for first in range(8))
    for read in (lambda reader: reader.read_all(), lambda reader: reader.salvage()):
        with pytest.raises(FormatError, match=r"18350080 codes in 0 bytes of payload, more than max_codes=16777216"):
            read(VectorCodesReader(io.BytesIO(data)))
        with pytest.raises(FormatError, match="more than max_codes=5000000"):
            VectorCodesReader(io.BytesIO(data)).read_all(max_codes=5_000_000)
    assert sum(len(rows) for _, rows in zip(range(8), VectorCodesReader(io.BytesIO(data)), strict=False)) == 2**21
    assert len(VectorCodesReader(io.BytesIO(data)).salvage(max_codes=2**25).codes) == 2**21


def test_codes_that_cost_their_bytes_are_all_read(monkeypatch):
    monkeypatch.setattr(source_module, "FREE_CODES", 10)
    assert np.array_equal(VectorCodesReader(io.BytesIO(VARIANTS["packed"])).read_all(), CODES)
    assert np.array_equal(salvage(VARIANTS["packed"]).codes, CODES)
