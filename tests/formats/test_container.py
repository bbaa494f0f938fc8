"""The container: what it writes, what it refuses."""

import io
import json
import os
import struct
import threading
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.formats import container
from codeword.formats.container import Chunk, ContainerWriter, read_chunks, read_header
from codeword.formats.errors import FormatError
from codeword.formats.seekable import ChunkIndex

FIELDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def write(chunks, fields=None, kind="test"):
    file = io.BytesIO()
    with ContainerWriter(file, kind, fields or {}) as writer:
        for payload, count in chunks:
            writer.write(payload, count)
    return file.getvalue()


def read(data):
    file = io.BytesIO(data)
    header = read_header(file)
    return header, list(read_chunks(file, header.num_bytes))


def header_bytes(text, kind=b"test", version=1, magic=container.MAGIC):
    """A header with a right checksum, whatever its content."""
    header = struct.pack("<8sII8s", magic, version, len(text), kind) + text
    return header + struct.pack("<I", zlib.crc32(header))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 2**20)), max_size=6),
    st.dictionaries(st.text(max_size=4), FIELDS, max_size=4),
)
def test_what_is_written_is_read(chunks, fields):
    header, found = read(write(chunks, fields))
    assert header.fields == fields
    assert (header.kind, header.version) == ("test", 1)
    firsts = [sum(count for _, count in chunks[:i]) for i in range(len(chunks))]
    assert found == [Chunk(first, count, payload) for first, (payload, count) in zip(firsts, chunks, strict=True)]


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=9), st.integers(1, 50)), max_size=6), st.data())
def test_a_range_touches_only_its_chunks(chunks, data):
    file = io.BytesIO(write(chunks))
    _, everything = read(file.getvalue())
    total = sum(count for _, count in chunks)
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    index = ChunkIndex(file, 0, read_header(file))
    assert (index.num_chunks, index.num_items) == (len(chunks), total)
    touched = [chunk for chunk in everything if max(start, chunk.first) < min(stop, chunk.first + chunk.count)]
    assert list(index.chunks(start, stop)) == touched


def test_every_byte_is_where_the_format_says():
    data = write([(b"abc", 2), (b"", 7)], {"b": 1, "a": None})
    text = b'{"a":null,"b":1}'
    header = header_bytes(text)
    first = struct.pack("<4sIIQ", b"CHNK", 3, 2, 0)
    second = struct.pack("<4sIIQ", b"CHNK", 0, 7, 2)
    chunks = b"".join(
        head + struct.pack("<I", zlib.crc32(head)) + payload + struct.pack("<I", zlib.crc32(head + payload))
        for head, payload in [(first, b"abc"), (second, b"")]
    )
    footer = struct.pack("<4sQ", b"FOOT", 2)
    footer += struct.pack("<QII", len(header), 3, 2) + struct.pack("<QII", len(header) + 31, 0, 7)
    footer += struct.pack("<QQ", 9, 3)
    footer += struct.pack("<IQ8s", zlib.crc32(footer), len(footer) + 20, b"\x89.cwend\n")
    assert data == header + chunks + footer


def test_an_interrupted_block_leaves_no_footer():
    file = io.BytesIO()
    with pytest.raises(KeyboardInterrupt), ContainerWriter(file, "test", {}) as writer:
        writer.write(bytes(100), 1)
        raise KeyboardInterrupt
    with pytest.raises(FormatError, match="chunk 1: the file ends too early"):
        read(file.getvalue())
    with pytest.raises(FormatError, match=r"footer: .*end mark is missing"):
        ChunkIndex(file, 0, read_header(io.BytesIO(file.getvalue())))


def test_a_pipe_is_enough_for_both_ends():
    source, sink = os.pipe()
    chunks = [(bytes([i]) * 100_000, i + 1) for i in range(5)]

    def send():
        with os.fdopen(sink, "wb", buffering=0) as file, ContainerWriter(file, "test", {"x": [1, 2]}) as writer:
            for payload, count in chunks:
                writer.write(payload, count)

    thread = threading.Thread(target=send)
    thread.start()
    with os.fdopen(source, "rb", buffering=0) as file:
        header = read_header(file)
        found = list(read_chunks(file, header.num_bytes))
    thread.join()
    assert [(chunk.payload, chunk.count) for chunk in found] == chunks


def test_chunks_arrive_before_the_file_is_complete():
    file = io.BytesIO()
    writer = ContainerWriter(file, "test", {})
    writer.write(b"abc", 3)
    half = io.BytesIO(file.getvalue())
    assert next(read_chunks(half, read_header(half).num_bytes)) == Chunk(0, 3, b"abc")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", r"starts with 93 4e 55 4d 50 59 01 00 .*a NumPy array"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "RIFF"),
        (b"hello", "68 65 6c 6c 6f .*unknown"),
        (container.MAGIC.replace(b"\r\n", b"\n") + bytes(30), "text mode"),
        (container.MAGIC[:5], "ends too early"),
        (header_bytes(b"{}", version=2), "version 2 is unknown, this program reads version 1"),
        (header_bytes(b"{}", kind=b"Test"), "not the name of a kind"),
        (header_bytes(b"{}", kind=b"a\0b"), "not the name of a kind"),
        (header_bytes(b"[]"), "not a JSON object"),
        (header_bytes(b'{"a": 1}'), "canonical"),
        (header_bytes(b'{"b":1,"a":1}'), "canonical"),
        (header_bytes(b'{"a":1,"a":1}'), "canonical"),
        (header_bytes(b'{"a":1.5}'), "1.5 is not an integer"),
        (header_bytes(b'{"a":NaN}'), "NaN is not an integer"),
        (header_bytes(b'{"a":'), "cannot be read"),
        (header_bytes(b'{"a":"\xff"}'), "cannot be read"),
        (header_bytes(b"[" * 60000), "cannot be read"),
        (header_bytes(b'{"a":' + b"9" * 6000 + b"}"), "cannot be read"),
        (struct.pack("<8sII8s", container.MAGIC, 1, 2**31, b"test"), "at most 65536 are allowed"),
        (header_bytes(b"{}")[:-1] + b"\0", "header: damaged"),
    ],
)
def test_a_wrong_header_is_always_an_error(data, message):
    with pytest.raises(FormatError, match=message) as caught:
        read_header(io.BytesIO(data))
    assert caught.value.where == "header"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("Vectors", {}, "lower-case"),
        ("ninechars", {}, "up to 8"),
        ("", {}, "up to 8"),
        ("test", {"a": 0.5}, "not an integer"),
        ("test", {"a": float("nan")}, "not JSON compliant"),
        ("test", {"a": "x" * 70000}, "at most 65536"),
    ],
)
def test_a_header_that_no_reader_takes_is_not_written(kind, fields, message):
    file = io.BytesIO()
    with pytest.raises(ValueError, match=message):
        ContainerWriter(file, kind, fields)
    assert file.getvalue() == b""


@pytest.mark.parametrize(("payload", "count"), [(b"", 0), (b"", -1), (b"", 2**20 + 1), (bytes(2**26 + 1), 1)])
def test_chunks_beyond_the_limits_are_not_written(payload, count):
    with pytest.raises(ValueError, match="a chunk holds 1 to 1048576 items in at most 67108864 bytes"):
        ContainerWriter(io.BytesIO(), "test", {}).write(payload, count)


def test_the_number_of_chunks_is_limited(monkeypatch):
    data = write([(b"", 1)] * 3)
    monkeypatch.setattr(container, "MAX_CHUNKS", 2)
    with pytest.raises(ValueError, match="at most 2 chunks"):
        write([(b"", 1)] * 3)
    with pytest.raises(FormatError, match="chunk 2: more than 2 chunks"):
        read(data)


def chunk_bytes(payload_bytes, count, first, payload=b""):
    head = struct.pack("<4sIIQ", b"CHNK", payload_bytes, count, first)
    return head + struct.pack("<I", zlib.crc32(head)) + payload + struct.pack("<I", zlib.crc32(head + payload))


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (chunk_bytes(2**26 + 1, 1, 0), "exceed the format's limits"),
        (chunk_bytes(0, 2**20 + 1, 0), "exceed the format's limits"),
        (chunk_bytes(0, 0, 0), "exceed the format's limits"),
        (chunk_bytes(0, 1, 2**63), "exceed the format's limits"),
        (chunk_bytes(0, 1, 5), "starts with item 5, expected 0"),
        (chunk_bytes(2**26, 1, 0), "the file ends too early: 67108864 bytes expected, 4 found"),
        (b"CHNX" + chunk_bytes(0, 1, 0)[4:], "no chunk starts here"),
    ],
)
def test_a_chunk_that_lies_is_named(chunk, message):
    with pytest.raises(FormatError, match=f"^chunk 0: .*{message}"):
        read(header_bytes(b"{}") + chunk)


def test_a_footer_of_another_file_is_refused():
    ours, theirs = write([(b"abc", 2)]), write([(b"abc", 3)])
    mixed = ours[:-64] + theirs[-64:]  # the footer of one chunk: 12 + 16 + 16 + 20 bytes
    with pytest.raises(FormatError, match=r"footer: .*does not agree"):
        read(mixed)
    index = ChunkIndex(io.BytesIO(mixed), 0, read_header(io.BytesIO(mixed)))
    with pytest.raises(FormatError, match="chunk 0: disagrees"):
        list(index.chunks(0, 3))


@pytest.mark.parametrize("position", [0, 4, 12, 20, 24, 28, 36])
def test_a_footer_that_contradicts_itself_is_refused(position):
    data = bytearray(write([(b"abc", 2)]))
    footer = data[-64:]
    footer[position] ^= 1
    footer[44:48] = struct.pack("<I", zlib.crc32(footer[:44]))  # the checksum is right, the content is not
    data[-64:] = footer
    with pytest.raises(FormatError, match="footer"):
        ChunkIndex(io.BytesIO(data), 0, read_header(io.BytesIO(data)))
    with pytest.raises(FormatError, match=r"footer|chunk"):
        read(bytes(data))


def test_bytes_after_the_end_are_an_error():
    data = write([(b"abc", 2)]) + b"x"
    with pytest.raises(FormatError, match="bytes follow"):
        read(data)
    with pytest.raises(FormatError, match="footer"):
        ChunkIndex(io.BytesIO(data), 0, read_header(io.BytesIO(data)))


def test_the_header_is_canonical_json():
    data = write([], {"z": [1, None, True], "a": {"c": "é", "b": -3}})
    length = struct.unpack_from("<I", data, 12)[0]
    assert data[24 : 24 + length] == b'{"a":{"b":-3,"c":"\\u00e9"},"z":[1,null,true]}'
    assert json.loads(data[24 : 24 + length]) == read(data)[0].fields
