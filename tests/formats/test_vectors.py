"""Files of vector codes."""

import gzip
import io
import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.entropy.tables import CodeTables
from codeword.formats.container import ContainerWriter, read_chunks, read_header
from codeword.formats.errors import FormatError
from codeword.formats.inspection import inspect
from codeword.formats.vector_payload import VectorHeader
from codeword.formats.vectors import VectorCodesReader, VectorCodesWriter

MODEL = "c0de" * 16


def write(codes, header, *, tables=None, chunk_rows=16, blocks=()):
    file = io.BytesIO()
    with VectorCodesWriter(file, header, tables=tables, chunk_rows=chunk_rows) as writer:
        for block in np.split(codes, list(blocks)):
            writer.write(block)
    return file.getvalue()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_codes_come_back_whole_and_in_parts(data):
    sizes = tuple(data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=4), label="sizes"))
    count = data.draw(st.integers(0, 80), label="count")
    variable_depth = data.draw(st.booleans(), label="variable_depth")
    payload = data.draw(st.sampled_from(["packed", "ranged"]), label="payload")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    codes = rng.integers(0, sizes, (count, len(sizes)))
    if variable_depth:
        codes = np.where(np.arange(len(sizes)) < rng.integers(0, len(sizes) + 1, count)[:, None], codes, -1)
    header = VectorHeader(
        dim=4,
        sizes=sizes,
        model=MODEL,
        num_vectors=data.draw(st.sampled_from([None, count]), label="num_vectors"),
        payload=payload,
        variable_depth=variable_depth,
    )
    tables = CodeTables.from_codes(codes, sizes, variable_depth=variable_depth)
    blocks = sorted(data.draw(st.lists(st.integers(0, count), max_size=3), label="blocks"))
    file = write(codes, header, tables=tables, chunk_rows=data.draw(st.integers(1, 90)), blocks=blocks)
    reader = VectorCodesReader(io.BytesIO(file), tables=tables)
    assert reader.header.sizes == sizes
    assert np.array_equal(reader.read_all(), codes)
    start = data.draw(st.integers(0, count), label="start")
    stop = data.draw(st.integers(start, count), label="stop")
    assert np.array_equal(reader.read(start, stop), codes[start:stop])
    salvaged = reader.salvage()
    assert np.array_equal(salvaged.codes, codes)
    assert salvaged.report.missing == ()
    assert salvaged.report.problems == ()


def test_how_rows_are_written_does_not_change_the_bytes(sample):
    whole = sample.data()
    parts = write(sample.codes, sample.header, tables=sample.tables, chunk_rows=16, blocks=[0, 1, 15, 40, 41, 69])
    assert parts == whole


def test_rows_given_to_the_writer_may_change_afterwards():
    codes = np.arange(8).reshape(4, 2) % 4
    file = io.BytesIO()
    with VectorCodesWriter(file, VectorHeader(dim=1, sizes=(4, 4), model=MODEL)) as writer:
        block = codes.copy()
        writer.write(block)
        block[:] = 0
    assert np.array_equal(VectorCodesReader(io.BytesIO(file.getvalue())).read_all(), codes)


def test_chunks_default_to_65536_rows_and_to_the_limit_of_codes():
    one = VectorHeader(dim=1, sizes=(4,), model=MODEL)
    blocks = list(VectorCodesReader(io.BytesIO(write(np.zeros((65537, 1), dtype=np.uint8), one, chunk_rows=65536))))
    assert [len(block) for block in blocks] == [65536, 1]
    many = VectorHeader(dim=1, sizes=(2,) * 4096, model=MODEL)
    blocks = list(VectorCodesReader(io.BytesIO(write(np.zeros((1025, 4096), dtype=np.uint8), many, chunk_rows=65536))))
    assert [len(block) for block in blocks] == [1024, 1]


def payload_bytes(data):
    file = io.BytesIO(data)
    return sum(len(chunk.payload) for chunk in read_chunks(file, read_header(file).num_bytes))


def test_the_bits_are_those_promised():
    codes = np.arange(2400).reshape(800, 3) % 5
    packed = VectorHeader(dim=1, sizes=(5, 5, 256), model=MODEL)
    file = write(codes, packed, chunk_rows=800)
    assert payload_bytes(file) == (2 * (266 * 7 + 5) + 800 * 8 + 7) // 8  # 800 = 266 groups of 3 and one of 2
    tables = CodeTables.from_histograms([np.array([1])] * 3)
    ranged = VectorHeader(dim=1, sizes=(1, 1, 1), model=MODEL, payload="ranged")
    assert payload_bytes(write(np.zeros((800, 3), dtype=int), ranged, tables=tables)) == 0


def test_interleaved_readers_of_one_file_do_not_disturb_one_another(sample):
    reader = VectorCodesReader(io.BytesIO(sample.data()), tables=sample.tables)
    seen = []
    for block in reader:
        assert np.array_equal(reader.read(3, 60), sample.codes[3:60])
        seen.append(block)
    assert np.array_equal(np.concatenate(seen), sample.codes)


def test_codes_may_start_anywhere_in_a_file(sample):
    file = io.BytesIO(b"something else" + sample.data())
    file.seek(14)
    reader = VectorCodesReader(file, tables=sample.tables)
    assert np.array_equal(reader.read_all(), sample.codes)
    assert np.array_equal(reader.read(20, 30), sample.codes[20:30])


def test_a_path_is_opened_and_closed(sample, tmp_path):
    path = tmp_path / "codes.cw"
    path.write_bytes(sample.data())
    with VectorCodesReader(path, tables=sample.tables) as reader:
        assert np.array_equal(reader.read_all(), sample.codes)
    with pytest.raises(ValueError, match="closed"):
        reader.read_all()


def test_a_pipe_is_read_once_and_in_order(sample):
    source, sink = os.pipe()

    def send():
        with os.fdopen(sink, "wb") as file:
            file.write(sample.data())

    thread = threading.Thread(target=send)
    thread.start()
    with os.fdopen(source, "rb") as file:
        reader = VectorCodesReader(file, tables=sample.tables)
        with pytest.raises(ValueError, match="only be read in order"):
            reader.read(0, 1)
        assert np.array_equal(reader.read_all(), sample.codes)
        with pytest.raises(ValueError, match="only once"):
            reader.read_all()
    thread.join()


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 3), (0, 71), (71, 71)])
def test_rows_that_are_not_there_are_refused(sample, start, stop):
    with pytest.raises(ValueError, match="the file has 70 vectors"):
        VectorCodesReader(io.BytesIO(sample.data()), tables=sample.tables).read(start, stop)


@pytest.mark.parametrize(
    ("codes", "variable_depth", "message"),
    [
        ([[0, 5]], False, r"codes\[0, 1\] = 5 is outside"),
        ([[0, 0], [-2, 0]], True, r"codes\[1, 0\] = -2 is outside"),
        ([[0, -1]], False, "variable_depth=True"),
        ([[-1, 0]], True, "absent, but the level after it is present"),
        ([[0]], False, "codes have 1 levels, the file has 2"),
    ],
)
def test_codes_that_the_file_cannot_hold_are_named(codes, variable_depth, message):
    header = VectorHeader(dim=1, sizes=(5, 5), model=MODEL, variable_depth=variable_depth)
    with pytest.raises(ValueError, match=message):
        VectorCodesWriter(io.BytesIO(), header).write(np.array(codes))


def test_a_promise_of_vectors_is_kept():
    header = VectorHeader(dim=1, sizes=(4,), model=MODEL, num_vectors=3)
    with pytest.raises(ValueError, match="promised 3 vectors, 2 were written"):
        write(np.zeros((2, 1), dtype=int), header)
    file = io.BytesIO()
    with ContainerWriter(file, "vectors", header.to_fields()) as container:
        container.write(b"\0", 2)
    reader = VectorCodesReader(io.BytesIO(file.getvalue()))
    for read in (reader.read_all, lambda: reader.read(0, 2)):
        with pytest.raises(FormatError, match="header promises 3 vectors, the file has 2"):
            read()


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 0},
        {"sizes": ()},
        {"sizes": (0,)},
        {"sizes": (2**63 + 1,)},
        {"sizes": (2,) * 4097},
        {"model": "A" * 64},
        {"model": "a" * 63},
        {"num_vectors": -1},
        {"tables": "0" * 64},
        {"payload": "ranged", "tables": "short"},
    ],
)
def test_impossible_headers_are_refused(change):
    with pytest.raises(ValueError, match="a file of vector codes needs"):
        VectorHeader(**{"dim": 1, "sizes": (4,), "model": MODEL, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"dim": "6"},
        {"dim": True},
        {"sizes": 4},
        {"sizes": [[4]]},
        {"sizes": [None]},
        {"num_vectors": "many"},
        {"payload": ["packed"]},
        {"payload": "zip"},
        {"variable_depth": 1},
        {"tables": 5},
        {"extra": None},
    ],
)
def test_a_file_with_an_impossible_header_is_refused(change):
    file = io.BytesIO()
    fields = VectorHeader(dim=1, sizes=(4,), model=MODEL).to_fields() | change
    with ContainerWriter(file, "vectors", fields):
        pass
    with pytest.raises(FormatError, match=r"^header: a file of vector codes"):
        VectorCodesReader(io.BytesIO(file.getvalue()))


def test_another_kind_is_refused():
    file = io.BytesIO()
    with ContainerWriter(file, "audio", {}):
        pass
    with pytest.raises(FormatError, match="header: the file holds 'audio', expected 'vectors'"):
        VectorCodesReader(io.BytesIO(file.getvalue()))


def test_ranged_files_need_their_own_tables():
    codes = np.arange(20).reshape(10, 2) % 4
    header = VectorHeader(dim=1, sizes=(4, 4), model=MODEL, payload="ranged")
    tables = CodeTables.from_codes(codes, (4, 4))
    with pytest.raises(ValueError, match="pass tables="):
        VectorCodesWriter(io.BytesIO(), header)
    data = write(codes, header, tables=tables)
    assert VectorCodesReader(io.BytesIO(data)).header.tables == tables.fingerprint()
    with pytest.raises(ValueError, match="pass tables="):
        VectorCodesReader(io.BytesIO(data)).read_all()
    others = CodeTables.from_histograms([np.array([1, 2, 3, 4])] * 2)
    with pytest.raises(ValueError, match="were written with tables"):
        VectorCodesReader(io.BytesIO(data), tables=others).read_all()
    with pytest.raises(ValueError, match=r"tables are for sizes \(4,\)"):
        VectorCodesReader(io.BytesIO(data), tables=CodeTables.from_codes(codes[:, :1], (4,))).read_all()
    varying = VectorHeader(dim=1, sizes=(4, 4), model=MODEL, payload="ranged", variable_depth=True)
    with pytest.raises(ValueError, match="table of 3 depths"):
        VectorCodesWriter(io.BytesIO(), varying, tables=tables)


def test_inspect_accounts_for_every_byte(sample, tmp_path):
    path = tmp_path / "codes.cw"
    path.write_bytes(sample.data())
    found = inspect(path)
    assert (found.kind, found.version, found.num_chunks, found.items) == ("vectors", 1, 5, 70)
    assert found.header["sizes"] == [8, 5, 3]
    assert found.bits_per_item == 8 * found.payload_bytes / 70
    chunk_overhead, footer = 5 * 28, 12 + 5 * 16 + 16 + 20
    assert found.file_bytes == found.header_bytes + chunk_overhead + found.payload_bytes + footer == path.stat().st_size
    assert found.intact
    assert found.problems == found.missing == ()


def test_inspect_of_an_empty_file_of_codes(tmp_path):
    path = tmp_path / "codes.cw"
    path.write_bytes(write(np.zeros((0, 2), dtype=int), VectorHeader(dim=3, sizes=(4, 4), model=MODEL)))
    found = inspect(path)
    assert (found.num_chunks, found.items, found.bits_per_item, found.intact) == (0, 0, 0.0, True)


def test_inspect_tells_what_is_wrong(sample, tmp_path):
    data = bytearray(sample.data())
    second = data.index(b"CHNK", data.index(b"CHNK") + 1)
    data[second + 24] ^= 0xFF  # the first byte of its payload
    path = tmp_path / "codes.cw"
    path.write_bytes(data)
    found = inspect(path)
    assert not found.intact
    assert (found.num_chunks, found.items, found.missing) == (4, 54, ((16, 32),))
    assert found.problems[0] == "chunk 1: damaged: the checksum of its payload does not match"


def test_closing_twice_is_closing_once_and_nothing_is_written_after_it(sample):
    file = io.BytesIO()
    with VectorCodesWriter(file, sample.header, tables=sample.tables, chunk_rows=sample.chunk_rows) as writer:
        writer.write(sample.codes)
        writer.close()
    assert file.getvalue() == sample.data()
    with pytest.raises(ValueError, match="has its footer already"):
        writer.write(sample.codes)
    container = ContainerWriter(io.BytesIO(), "vectors", {})
    container.close()
    with pytest.raises(ValueError, match="has its footer already"):
        container.write(b"", 1)


def read_parts(reader, codes, seed):
    """How many of many parts come out wrong, or not at all."""
    rng, wrong = np.random.default_rng(seed), 0
    for start in rng.integers(0, len(codes) - 900, 150).tolist():
        try:
            wrong += not np.array_equal(reader.read(start, start + 900), codes[start : start + 900])
        except FormatError:
            wrong += 1
    return wrong


@pytest.fixture
def shared_reader(tmp_path):
    codes = np.random.default_rng(0).integers(0, 256, (20_000, 8))
    header = VectorHeader(dim=1, sizes=(256,) * 8, model=MODEL)
    path = tmp_path / "codes.cw"
    path.write_bytes(write(codes, header, chunk_rows=500))
    with VectorCodesReader(path) as reader:
        yield reader, codes


def test_threads_share_a_reader(shared_reader):
    reader, codes = shared_reader
    wrong = []
    threads = [threading.Thread(target=lambda s: wrong.append(read_parts(reader, codes, s)), args=(s,)) for s in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [0, 0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_processes_share_a_reader(shared_reader):
    """Workers that load data have one file position between them."""
    reader, codes = shared_reader
    reader.read(0, 1)
    children = []
    for seed in (1, 2):
        if not (child := os.fork()):
            os._exit(min(read_parts(reader, codes, seed), 100))
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]


def test_a_file_in_another_file_is_read_by_that_file(sample, tmp_path):
    """A compressed file has a descriptor too, but of other bytes."""
    path = tmp_path / "codes.cw.gz"
    with gzip.open(path, "wb") as file:
        file.write(sample.data())
    with gzip.open(path, "rb") as file:
        assert np.array_equal(VectorCodesReader(file, tables=sample.tables).read_all(), sample.codes)


def test_text_mode_is_told(tmp_path):
    (tmp_path / "codes.cw").write_text("text")
    with (tmp_path / "codes.cw").open() as file, pytest.raises(ValueError, match="opened in binary mode"):
        VectorCodesReader(file)
