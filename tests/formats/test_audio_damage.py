"""Damaged, truncated and hostile audio files: an error that names the part, or exactly the frames; never more."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.entropy.counting import FrameCounter
from codeword.entropy.frames import FrameTables
from codeword.entropy.levels import LevelTables
from codeword.formats.audio import AudioFileReader
from codeword.formats.audio_payload import AudioHeader
from codeword.formats.container import ContainerWriter
from codeword.formats.errors import FormatError
from formats.audio_samples import MODEL, VARIANTS, sample_of

SMALL_BYTES = 4 * 2**20  # memory that any refusal may take
SLOW_SECONDS = 5.0  # that no single file may take
SAMPLES = {name: sample_of(name) for name in VARIANTS}
FILES = {name: sample.data() for name, sample in SAMPLES.items()}


def check(name, data):
    """Every way to read ``data``: the frames of the sample or a FormatError."""
    sample = SAMPLES[name]
    for read in (
        lambda reader: np.array_equal(reader.read_all(), sample.codes),
        lambda reader: np.array_equal(reader.read(7, 33, 2), sample.codes[:, 7:33, :2]),
        lambda reader: frames_are_right_or_lost(reader.salvage(), sample.codes),
    ):
        try:
            assert read(sample.reader(data))
        except FormatError as error:
            assert error.where
            assert "\n" not in str(error)


def frames_are_right_or_lost(salvaged, codes):
    found, report = salvaged
    lost = np.ones(codes.shape[1], dtype=bool)
    lost[: found.shape[1]] = False
    for start, stop in report.missing:
        assert (found[:, start:stop] == -1).all()
        lost[start:stop] = True
    intact = ~lost[: found.shape[1]]
    assert found.shape[1] <= codes.shape[1]
    assert np.array_equal(found[:, intact], codes[:, : found.shape[1]][:, intact])
    assert report.num_items == intact.sum()
    assert report.problems or not lost.any()
    return True


@pytest.mark.parametrize("name", FILES)
def test_one_damaged_byte_anywhere(name):
    original = FILES[name]
    for position in range(len(original)):
        data = bytearray(original)
        data[position] ^= 1 << position % 8
        with pytest.raises(FormatError):
            SAMPLES[name].reader(bytes(data)).read_all()
        if position % 13 == 0:
            check(name, bytes(data))


@pytest.mark.parametrize("name", FILES)
def test_truncation_at_every_byte(name):
    original = FILES[name]
    for position in range(len(original)):
        with pytest.raises(FormatError):
            SAMPLES[name].reader(original[:position]).read_all()
        if position % 11 == 0:
            check(name, original[:position])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damage_in_several_places(name, data):
    damaged = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        stop = min(start + data.draw(st.integers(0, 80)), len(damaged))
        damaged[start:stop] = data.draw(st.binary(max_size=80))
    check(name, bytes(damaged))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damaged", range(5))
def test_one_damaged_chunk_costs_its_own_frames_only(name, damaged):
    sample, data = SAMPLES[name], bytearray(FILES[name])
    starts = [place for place in range(len(data)) if data.startswith(b"CHNK", place)]
    data[starts[damaged] + 24] ^= 0x10
    found, report = sample.reader(bytes(data)).salvage()
    lost = range(16 * damaged, min(16 * damaged + 16, 70))
    assert report.missing == ((lost.start, lost.stop),)
    assert (found[:, lost] == -1).all()
    assert np.array_equal(np.delete(found, lost, axis=1), np.delete(sample.codes, lost, axis=1))


def resealed(data, rng):
    """A file with one payload or the description changed, and right checksums all the same."""
    data = bytearray(data)
    starts = [place for place in range(len(data)) if data.startswith(b"CHNK", place)]
    start = int(rng.choice(starts))
    size = int.from_bytes(data[start + 4 : start + 8], "little")
    if size and rng.random() < 0.7:
        for _ in range(rng.integers(1, 4)):
            data[start + 24 + int(rng.integers(size))] = int(rng.integers(256))
    else:
        data[start + 8 : start + 12] = int(rng.choice([1, 15, 17, 1000, 2**20])).to_bytes(4, "little")
    head = bytes(data[start : start + 20])
    data[start + 20 : start + 24] = struct.pack("<I", zlib.crc32(head))
    payload = bytes(data[start + 24 : start + 24 + size])
    data[start + 24 + size : start + 28 + size] = struct.pack("<I", zlib.crc32(head + payload))
    return bytes(data)


def read_or_refuse(sample, data):
    try:
        reader = AudioFileReader(io.BytesIO(data), tables=sample.tables)
        reader.num_samples  # noqa: B018
        reader.salvage()
        reader.read_all()
    except FormatError:
        return


@pytest.mark.parametrize("mutations", [250, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated_files_cost_neither_time_nor_memory(mutations):
    rng = np.random.default_rng(0)
    names = sorted(FILES)
    slowest = 0.0
    tracemalloc.start()
    for turn in range(mutations):
        name = names[turn % len(names)]
        data = bytearray(FILES[name])
        for _ in range(rng.integers(1, 4)):
            place = int(rng.integers(len(data)))
            kind = turn // len(names) % 4
            if kind == 0:
                data[place] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                del data[place : place + int(rng.integers(1, 30))]
            elif kind == 2:
                data[place:place] = rng.bytes(int(rng.integers(1, 30)))
            else:
                data[place : place + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"CHNK", b"FOOT"])
        begun = time.perf_counter()
        read_or_refuse(SAMPLES[name], bytes(data))
        slowest = max(slowest, time.perf_counter() - begun)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert slowest < SLOW_SECONDS
    assert peak < SMALL_BYTES


def test_mutations_under_right_checksums():
    """What a checksum does not stop must be stopped by the decoder, or give codes within their sizes."""
    rng = np.random.default_rng(1)
    names = sorted(FILES)
    for turn in range(200):
        name = names[turn % len(names)]
        sample = SAMPLES[name]
        data = resealed(FILES[name], rng)
        read_or_refuse(sample, data)
        codes = sample.reader(data).salvage(max_fill=2**21).codes
        assert codes.min() >= -1
        assert (codes < np.array(sample.header.sizes)).all()
        assert not ((codes[..., :-1] < 0) & (codes[..., 1:] >= 0)).any()


def chunk(payload, count, first=0):
    head = struct.pack("<4sIIQ", b"CHNK", len(payload), count, first)
    return head + struct.pack("<I", zlib.crc32(head)) + payload + struct.pack("<I", zlib.crc32(head + payload))


def header_of(header):
    file = io.BytesIO()
    ContainerWriter(file, "audio", header.to_fields())
    return file.getvalue()


BASE = {"model": MODEL, "sample_rate": 16000, "hop": 320}
PLAIN = AudioHeader(**BASE, sizes=(256, 3), num_samples=1600, depth=2)
FREE = AudioHeader(**BASE, sizes=(1,) * 64, num_samples=1600, depth=64, channels=255)
VARYING = AudioHeader(**BASE, sizes=(256, 3), num_samples=1600)
UNKNOWN = AudioHeader(**BASE, sizes=(1,), depth=1)


@pytest.mark.parametrize(
    ("header", "payload", "count", "message"),
    [
        (FREE, b"", 65, "at most 64 frames"),
        (PLAIN, b"", 2**20, "at most 524288 frames"),
        (PLAIN, b"", 2**19, "bits need"),
        (PLAIN, b"\0" * 20, 5, "bits need"),
        (PLAIN, b"\xff" * 6, 5, "not a number|padding|outside"),
        (VARYING, b"", 2**19, "bits need"),
        (VARYING, b"\x03", 1, "not a number of 1 codes out of 3"),
        (UNKNOWN, b"", 1, "unused samples is not one"),
        (UNKNOWN, b"\x80\x00", 1, "unused samples is not one"),
        (UNKNOWN, b"\x80\x80\x80\x80\x80\x01", 1, "unused samples is not one"),
        (UNKNOWN, b"\xc0\x02", 1, "320 unused samples in a frame of 320"),
    ],
)
def test_content_that_no_writer_makes_is_refused_cheaply(header, payload, count, message):
    data = header_of(header) + chunk(payload, count)
    tracemalloc.start()
    with pytest.raises(FormatError, match=message) as caught:
        AudioFileReader(io.BytesIO(data)).read_all()
    report = AudioFileReader(io.BytesIO(data)).salvage(max_fill=2**21).report
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.where.startswith("chunk of items 0")
    assert report.num_items == 0
    assert peak < SMALL_BYTES


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "number of the set of tables is missing"),
        (b"\x09", "8 sets of tables, not a set 9"),
        (b"\x01" + b"\0" * 3, "4-byte words"),
        (b"\x01" + b"\xff" * 12, "not a range-coded message|left over"),
        (b"\x01" + b"\0" * 400, "left over"),
    ],
)
def test_range_coded_words_that_no_encoder_makes_are_refused(payload, message):
    sample = SAMPLES["ranged-depth-stereo"]
    header = sample.reader().header
    with pytest.raises(FormatError, match=message):
        AudioFileReader(io.BytesIO(header_of(header) + chunk(payload, 5)), tables=sample.tables).read_all()


def test_frames_after_the_end_of_the_signal_are_refused():
    data = header_of(UNKNOWN) + chunk(b"\x05", 1) + chunk(b"\x00", 1, 1)
    with pytest.raises(FormatError, match="frames follow one that is said to be the end"):
        AudioFileReader(io.BytesIO(data)).read_all()


def test_a_wrong_number_of_frames_is_told():
    file = io.BytesIO()
    with ContainerWriter(file, "audio", PLAIN.to_fields()) as container:
        container.write(bytes([1, 2, 0, 0]), 3)
    reader = AudioFileReader(io.BytesIO(file.getvalue()))
    for read in (reader.read_all, lambda: reader.read(0, 1)):
        with pytest.raises(FormatError, match=r"bits need|header promises 5 frames, the file has 3"):
            read()


def test_frames_said_to_be_lost_are_filled_only_within_reason():
    data = header_of(UNKNOWN) + chunk(b"\0", 1) + chunk(b"\0", 1, 10**9)
    with pytest.raises(FormatError, match=r"2 frames are intact and 999999999 are said to be lost.*max_fill"):
        AudioFileReader(io.BytesIO(data)).salvage()


def test_codes_that_cost_no_bytes_fill_no_memory():
    free = AudioHeader(**BASE, sizes=(1,) * 8, depth=8)
    data = header_of(free) + b"".join(chunk(b"\0", 2**17, first * 2**17) for first in range(20))
    for read in (lambda reader: reader.read_all(), lambda reader: reader.salvage()):
        with pytest.raises(FormatError, match=r"17825792 codes in 17 bytes of payload, more than max_codes=16777216"):
            read(AudioFileReader(io.BytesIO(data)))
    with pytest.raises(FormatError, match="more than max_codes=5000000"):
        AudioFileReader(io.BytesIO(data)).read_all(max_codes=5_000_000)


def test_nearly_certain_codes_in_no_bytes_take_bounded_time_and_memory():
    """Tables may make a code cost next to nothing: then a few bytes stand for as many frames as a chunk may hold."""
    certain = np.array([[2**16 - 1, 1]])
    tables = FrameTables((LevelTables(certain, np.zeros(2, dtype=np.int64)),), FrameCounter((2,)).tables().depth)
    header = AudioHeader(**BASE, sizes=(2,), tables=tables.fingerprint()[:16])
    data = header_of(header) + chunk(b"\x01" + bytes(8), 2**20)
    begun = time.perf_counter()
    with pytest.raises(FormatError):
        AudioFileReader(io.BytesIO(data), tables=tables).read_all()
    assert time.perf_counter() - begun < SLOW_SECONDS
