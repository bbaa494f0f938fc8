"""Files of coded audio."""

import io
import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.entropy.counting import FrameCounter
from codeword.entropy.tables import TOTAL
from codeword.formats import audio_payload
from codeword.formats.audio import AudioFileReader, AudioFileWriter
from codeword.formats.audio_payload import AudioHeader
from codeword.formats.container import ContainerWriter, read_chunks, read_header
from codeword.formats.errors import FormatError
from codeword.formats.fields import short_fingerprint
from formats.audio_samples import MODEL, VARIANTS, AudioSample, sample_of, write
from reference.audio_payload import decode_chunk

OVERHEAD = 0.005  # of the theoretical bits, that headers and checksums may take


@pytest.fixture(params=VARIANTS)
def sample(request):
    return sample_of(request.param)


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_codes_come_back_whole_and_in_parts(data):
    sizes = tuple(data.draw(st.lists(st.integers(1, 300), min_size=1, max_size=4), label="sizes"))
    frames = data.draw(st.integers(0, 60), label="frames")
    channels = data.draw(st.integers(1, 3), label="channels")
    hop = data.draw(st.integers(1, 700), label="hop")
    num_samples = data.draw(st.integers(max((frames - 1) * hop + 1, 0), frames * hop), label="samples")
    depth = data.draw(st.sampled_from([None, *range(1, len(sizes) + 1)]), label="depth")
    known, ranged = data.draw(st.booleans(), label="known"), data.draw(st.booleans(), label="ranged")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), label="seed"))
    codes = rng.integers(0, sizes, (channels, frames, len(sizes)))
    depths = rng.integers(0, len(sizes) + 1, (channels, frames, 1)) if depth is None else depth
    codes = np.where(np.arange(len(sizes)) < depths, codes, -1)
    counter = FrameCounter(sizes)
    counter.add(codes)
    tables = counter.tables() if ranged else None
    header = AudioHeader(
        model=MODEL,
        sample_rate=8000,
        hop=hop,
        sizes=sizes,
        num_samples=num_samples if known else None,
        channels=channels,
        depth=depth,
    )
    blocks = sorted(data.draw(st.lists(st.integers(0, frames), max_size=3), label="blocks"))
    chunk_frames = data.draw(st.integers(1, 70), label="chunk_frames")
    file = write(codes, header, tables=tables, chunk_frames=chunk_frames, blocks=blocks, num_samples=num_samples)
    reader = AudioFileReader(io.BytesIO(file), tables=tables)
    assert reader.num_samples == num_samples
    levels = data.draw(st.integers(1, len(sizes)), label="levels")
    assert np.array_equal(reader.read_all(), codes)
    assert np.array_equal(reader.read_all(levels), codes[:, :, :levels])
    start = data.draw(st.integers(0, frames), label="start")
    stop = data.draw(st.integers(start, frames), label="stop")
    assert np.array_equal(reader.read(start, stop), codes[:, start:stop])
    assert np.array_equal(reader.read(start, stop, levels), codes[:, start:stop, :levels])
    salvaged = reader.salvage()
    assert np.array_equal(salvaged.codes, codes)
    assert salvaged.report.missing == salvaged.report.problems == ()


def test_plain_integers_read_every_payload(sample):
    header, tables = sample.header, sample.tables
    file = io.BytesIO(sample.data())
    counts = None if tables is None else {name: array.tolist() for name, array in tables.arrays().items()}
    pieces, unused = [], 0
    for chunk in read_chunks(file, read_header(file).num_bytes):
        codes, unused = decode_chunk(
            chunk.payload,
            chunk.count,
            header.channels,
            header.sizes,
            depth=header.depth,
            length_known=header.num_samples is not None,
            tables=counts,
        )
        pieces.append(np.array(codes))
    assert np.array_equal(np.concatenate(pieces, axis=1), sample.codes)
    assert unused == (0 if header.num_samples is not None else 7)


def test_range_coding_is_used_and_saves():
    plain, ranged = AudioSample(frames=3000), AudioSample(frames=3000, ranged=True)
    assert len(ranged.data(3000)) < 0.9 * len(plain.data(3000))


def test_a_chunk_that_range_coding_would_lengthen_is_packed():
    flat = AudioSample(frames=200, depth=3, ranged=True)
    skewed = FrameCounter((8, 5, 3))
    skewed.add(np.zeros((1, 5000, 3), dtype=int))
    header = flat.header
    data = write(flat.codes, header, tables=skewed.tables())
    packed = write(flat.codes, header)
    chunks = -(-200 // 16)
    fingerprint = len(',"t":"') + 16 + 1
    assert len(data) == len(packed) + chunks + fingerprint
    assert np.array_equal(AudioFileReader(io.BytesIO(data), tables=skewed.tables()).read_all(), flat.codes)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("frames", [3000, 3001, 3050, 3999, 4000, 4001, 6001, 30_000])
def test_a_file_of_a_minute_or_more_is_its_codes_and_little_else(frames, known):
    codes = np.arange(frames * 12).reshape(1, frames, 12) * 7919 % 1024
    header = AudioHeader(
        model=MODEL,
        sample_rate=16000,
        hop=320,
        sizes=(1024,) * 12,
        num_samples=frames * 320 if known else None,
        depth=12,
    )
    bits = 8 * len(write(codes, header, chunk_frames=None))
    assert 120 * frames < bits <= 120 * frames * (1 + OVERHEAD)


@pytest.mark.parametrize("seconds", [60, 61, 79, 81, 300])
def test_also_at_44_khz(seconds):
    frames = -(-seconds * 44100 // 512)
    codes = np.zeros((1, frames, 8), dtype=int)
    header = AudioHeader(
        model=MODEL, sample_rate=44100, hop=512, sizes=(1024,) * 8, num_samples=seconds * 44100, depth=8
    )
    bits = 8 * len(write(codes, header, chunk_frames=None))
    assert 80 * frames < bits <= 80 * frames * (1 + OVERHEAD)


def test_depths_cost_their_logarithm_in_a_packed_file():
    sample = AudioSample(frames=5000, sizes=(1024,) * 12)
    present = np.count_nonzero(sample.codes >= 0)
    bits = 10 * present + 5000 * np.log2(13)
    assert 8 * len(sample.data(5000)) < bits * 1.001 + 8 * 200


def test_how_frames_are_written_does_not_change_the_bytes(sample):
    parts = write(
        sample.codes,
        sample.header,
        tables=sample.tables,
        blocks=[0, 1, 15, 40, 41, 69],
        num_samples=sample.num_samples,
    )
    assert parts == sample.data()


def test_codes_given_to_the_writer_may_change_afterwards():
    sample, file = AudioSample(), io.BytesIO()
    with AudioFileWriter(file, sample.header) as writer:
        block = sample.codes.copy()
        writer.write(block)
        block[:] = -1
    assert np.array_equal(sample.reader(file.getvalue()).read_all(), sample.codes)


@pytest.mark.parametrize("num_samples", [None, 70 * 320, 69 * 320 + 1])
def test_the_length_is_told_at_the_end_where_it_was_unknown(num_samples):
    sample = AudioSample(known=False)
    data = write(sample.codes, sample.header, num_samples=num_samples)
    expected = 70 * 320 if num_samples is None else num_samples
    assert sample.reader(data).num_samples == expected
    reader = AudioFileReader(_Pipe(data))
    assert reader.num_samples is None
    assert np.array_equal(reader.read_all(), sample.codes)
    assert reader.num_samples == expected


def test_a_large_hop_leaves_room_for_its_unused_samples():
    header = AudioHeader(model=MODEL, sample_rate=48000, hop=2**31 - 1, sizes=(4,))
    data = write(np.array([[[3], [-1]]]), header, num_samples=2**31)
    reader = AudioFileReader(io.BytesIO(data))
    assert reader.num_samples == 2**31
    assert reader.read_all().tolist() == [[[3], [-1]]]


@pytest.mark.parametrize(
    ("known", "num_samples", "message"),
    [
        (False, 69 * 320, "do not end in the last of 70 frames of 320"),
        (False, 70 * 320 + 1, "do not end in the last of 70 frames"),
        (True, 70 * 320, "the header promised 22393 samples, 70 frames"),
    ],
)
def test_a_length_that_contradicts_the_frames_is_refused(known, num_samples, message):
    sample = AudioSample(known=known)
    with pytest.raises(ValueError, match=message):
        write(sample.codes, sample.header, num_samples=num_samples)
    with pytest.raises(ValueError, match="69 frames were written"):
        write(sample.codes[:, 1:], AudioSample().header)


def test_flushed_frames_are_heard_at_once():
    sample = AudioSample(known=False)
    written = io.BytesIO()
    with AudioFileWriter(written, sample.header) as writer:
        writer.write(sample.codes[:, :9])
        writer.flush()
        arrived = written.getvalue()
        writer.write(sample.codes[:, 9:])
        writer.close(sample.num_samples)
    blocks = iter(AudioFileReader(_Pipe(arrived)))
    assert np.array_equal(next(blocks), sample.codes[:, :8])
    with pytest.raises(FormatError, match="ends too early"):
        next(blocks)
    assert sample.reader(written.getvalue()).num_samples == sample.num_samples
    assert np.array_equal(sample.reader(written.getvalue()).read_all(), sample.codes)


class _Pipe:
    def __init__(self, data):
        self.file = io.BytesIO(data)

    def read(self, size):
        return self.file.read(min(size, 7))


def test_a_pipe_is_read_once_and_in_order(sample):
    source, sink = os.pipe()

    def send():
        with os.fdopen(sink, "wb") as file, AudioFileWriter(file, sample.header, tables=sample.tables) as writer:
            writer.write(sample.codes)

    thread = threading.Thread(target=send)
    thread.start()
    with os.fdopen(source, "rb") as file:
        reader = AudioFileReader(file, tables=sample.tables)
        with pytest.raises(ValueError, match="only be read in order"):
            reader.read(0, 1)
        assert np.array_equal(reader.read_all(), sample.codes)
        with pytest.raises(ValueError, match="only once"):
            reader.read_all()
    thread.join()


def test_a_stretch_touches_only_its_chunks(sample):
    data = bytearray(sample.data())
    data[data.index(b"CHNK") + 26] ^= 1
    reader = sample.reader(bytes(data))
    blocks = list(reader.stretch(20, 60))
    assert [block.shape[1] for block in blocks] == [12, 16, 12]
    assert np.array_equal(np.concatenate(blocks, axis=1), sample.codes[:, 20:60])
    with pytest.raises(FormatError, match=r"^chunk 0"):
        reader.read(15, 20)


def test_blocks_drop_levels(sample):
    for levels in (1, 2, 3):
        blocks = list(sample.reader().blocks(levels))
        assert np.array_equal(np.concatenate(blocks, axis=1), sample.codes[:, :, :levels])
    for levels in (0, 4):
        with pytest.raises(ValueError, match=f"the file has 3 levels, asked for the first {levels}"):
            sample.reader().blocks(levels)


def test_levels_that_are_dropped_are_not_decoded(monkeypatch):
    """The words of the higher levels need not even be right, if the checksum is."""
    sample = AudioSample(frames=2000, depth=3, ranged=True, sizes=(64, 64, 64))
    reader = sample.reader(sample.data(2000))
    original = audio_payload.FrameCoder.decode

    def shortened(coder, data, *rest):
        return original(coder, data[: len(data) // 8 * 4], *rest)

    monkeypatch.setattr(audio_payload.FrameCoder, "decode", shortened)
    assert np.array_equal(reader.read_all(1), sample.codes[:, :, :1])
    with pytest.raises((FormatError, AssertionError)):
        assert np.array_equal(reader.read_all(), sample.codes)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 3), (0, 71), (71, 71)])
def test_frames_that_are_not_there_are_refused(sample, start, stop):
    with pytest.raises(ValueError, match="the file has 70 frames"):
        sample.reader().read(start, stop)


@pytest.mark.parametrize(
    ("codes", "depth", "message"),
    [
        ([[[0, 5]]], None, r"codes\[0, 0, 1\] = 5 is outside"),
        ([[[0, 0], [-2, 0]]], None, r"codes\[0, 1, 0\] = -2 is outside"),
        ([[[-1, 0]]], None, "absent, but the level after it is present"),
        ([[[0, -1]]], 2, "contradicts the constant depth 2"),
        ([[[0, 0]]], 1, "contradicts the constant depth 1"),
        ([[[0]]], None, "codes have 1 channels and 1 levels, the file has 1 and 2"),
        ([[[0, 0]], [[0, 0]]], None, "codes have 2 channels"),
    ],
)
def test_codes_that_the_file_cannot_hold_are_named(codes, depth, message):
    header = AudioHeader(model=MODEL, sample_rate=1, hop=1, sizes=(5, 5), depth=depth)
    with pytest.raises(ValueError, match=message):
        AudioFileWriter(io.BytesIO(), header).write(np.array(codes))


GOOD = {"model": MODEL, "sample_rate": 16000, "hop": 320, "sizes": (4, 4)}


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate": 0},
        {"hop": 0},
        {"hop": 2**31},
        {"sizes": ()},
        {"sizes": (0,)},
        {"sizes": (2**63 + 1,)},
        {"sizes": (2,) * 65},
        {"model": "A" * 16},
        {"model": "a" * 64},
        {"num_samples": -1},
        {"channels": 0},
        {"channels": 256},
        {"channel_mode": "mid_side"},
        {"channel_mode": "mid_side", "channels": 3},
        {"depth": 0},
        {"depth": 3},
        {"tables": "0" * 15},
    ],
)
def test_impossible_headers_are_refused(change):
    with pytest.raises(ValueError, match="an audio file needs"):
        AudioHeader(**GOOD | change)


@pytest.mark.parametrize(
    "change",
    [
        {"a": None},
        {"a": [16000, 320, None, 1, None]},
        {"a": [16000, 320, None, 1, None, 2]},
        {"a": [16000, 320, None, 1, None, 2, 4, 1]},
        {"a": [16000, 320, None, 1, None, 1, 4, 1, 4]},
        {"a": [16000, 320, None, 1, None, 2**40, 4]},
        {"a": [16000, 320, None, 1, None, 0, 4]},
        {"a": [16000, 320, None, 1, None, 2, "4"]},
        {"a": [16000, 320, None, 1, None, 64, 4, 1, 5]},
        {"a": [16000, True, None, 1, None, 2, 4]},
        {"a": ["16000", 320, 1, 1, None, 2, 4]},
        {"a": [16000, [320], 5, 1, None, 2, 4]},
        {"a": [16000, 320, "all", 1, None, 2, 4]},
        {"a": [16000, 320, None, 1, False, 2, 4]},
        {"m": 5},
        {"c": "dual"},
        {"c": "mid_side"},
        {"c": ["mid_side"]},
        {"t": None},
        {"t": "short"},
        {"extra": 1},
    ],
)
def test_a_file_with_an_impossible_header_is_refused(change):
    file = io.BytesIO()
    with ContainerWriter(file, "audio", AudioHeader(**GOOD).to_fields() | change):
        pass
    with pytest.raises(FormatError, match=r"^header: (an audio file|codebook sizes)"):
        AudioFileReader(io.BytesIO(file.getvalue()))


def test_headers_come_back():
    for change in ({}, {"sizes": (4, 4, 8, 4)}, {"channels": 2, "channel_mode": "mid_side"}, {"tables": "ab" * 8}):
        header = AudioHeader(**GOOD | {"num_samples": 1000, "depth": 1} | change)
        assert AudioHeader.from_fields(header.to_fields()) == header
        assert header.num_frames == 4


def test_another_kind_is_refused():
    file = io.BytesIO()
    with ContainerWriter(file, "vectors", {}):
        pass
    with pytest.raises(FormatError, match="header: the file holds 'vectors', expected 'audio'"):
        AudioFileReader(io.BytesIO(file.getvalue()))


def test_range_coded_files_need_their_own_tables():
    sample = AudioSample(ranged=True)
    data = sample.data()
    assert AudioFileReader(io.BytesIO(data)).header.tables == short_fingerprint(sample.tables.fingerprint())
    for read in (lambda reader: reader.read_all(), lambda reader: reader.read(0, 1), lambda reader: reader.salvage()):
        with pytest.raises(ValueError, match="pass tables="):
            read(AudioFileReader(io.BytesIO(data)))
    other = FrameCounter((8, 5, 3))
    with pytest.raises(ValueError, match="was written with tables"):
        AudioFileReader(io.BytesIO(data), tables=other.tables()).read_all()
    with pytest.raises(ValueError, match=r"tables are for sizes \(8, 5\)"):
        AudioFileWriter(io.BytesIO(), sample.header, tables=FrameCounter((8, 5)).tables())
    constant = FrameCounter((8, 5, 3), variable_depth=False).tables()
    with pytest.raises(ValueError, match="tables are for constant depth"):
        AudioFileWriter(io.BytesIO(), sample.header, tables=constant)


def test_chunks_hold_40_seconds_and_no_more_than_the_limit_of_codes():
    header = AudioHeader(model=MODEL, sample_rate=44100, hop=512, sizes=(2,))
    blocks = list(AudioFileReader(io.BytesIO(write(np.zeros((1, 3446, 1), dtype=int), header, chunk_frames=None))))
    assert [block.shape[1] for block in blocks] == [3446]
    header = AudioHeader(model=MODEL, sample_rate=44100, hop=512, sizes=(2,) * 64, channels=255)
    blocks = list(AudioFileReader(io.BytesIO(write(np.zeros((255, 65, 64), dtype=int), header, chunk_frames=2**20))))
    assert [block.shape[1] for block in blocks] == [64, 1]
    with pytest.raises(ValueError, match="at least one frame"):
        AudioFileWriter(io.BytesIO(), header, chunk_frames=0)


def test_no_samples_at_all():
    for known in (0, None):
        header = AudioHeader(model=MODEL, sample_rate=16000, hop=320, sizes=(4,), num_samples=known)
        data = write(np.zeros((1, 0, 1), dtype=int), header, num_samples=0)
        reader = AudioFileReader(io.BytesIO(data))
        assert reader.read_all().shape == (1, 0, 1)
        assert reader.num_samples == 0


def test_closing_twice_is_closing_once_and_nothing_is_written_after_it(sample):
    file = io.BytesIO()
    with AudioFileWriter(file, sample.header, tables=sample.tables, chunk_frames=16) as writer:
        writer.write(sample.codes)
        writer.close(sample.num_samples)
        writer.close()
    assert file.getvalue() == sample.data()
    with pytest.raises(ValueError, match="has its footer already"):
        writer.write(sample.codes)


def test_a_file_that_was_not_finished_is_told(sample):
    file = io.BytesIO()
    with (
        pytest.raises(KeyboardInterrupt),
        AudioFileWriter(file, sample.header, tables=sample.tables, chunk_frames=16) as writer,
    ):
        writer.write(sample.codes)
        raise KeyboardInterrupt
    with pytest.raises(FormatError, match="ends too early"):
        sample.reader(file.getvalue()).read_all()
    assert sample.reader(file.getvalue()).salvage().report.num_items == 64


def test_tables_sum_to_what_the_coder_expects():
    sample = AudioSample(ranged=True)
    assert all((level.counts.sum(axis=1) == TOTAL).all() for level in sample.tables.levels)
