"""Files of speech under envelopes: what is written comes back, from anywhere; damage is named and never believed."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.entropy.lines import SpeechTables
from codeword.formats.container import ContainerWriter
from codeword.formats.errors import FormatError
from codeword.formats.inspection import inspect
from codeword.formats.speech import KIND, SpeechFileReader, SpeechFileWriter, SpeechHeader, SpeechPayload
from entropy.test_lines import SIZES, TABLES
from entropy.test_lines import frames as made
from formats.damage import check_damaged

GOLDEN = Path(__file__).parents[1] / "golden"
HEADER = SpeechHeader(model="c0de" * 4, sample_rate=16000, lines=14, sizes=SIZES, num_samples=14 * 50 - 3)


class Pipe(io.BytesIO):
    """Bytes that come in order."""

    def seekable(self):
        return False


def frames(count=50, seed=1, step=-400):
    codes, values, _ = made(count, seed, step)
    return np.concatenate([np.full((count, 1), step), codes, values], axis=1)


def written(content, *, chunk_frames=16, parts=1, header=HEADER):
    file = io.BytesIO()
    with SpeechFileWriter(file, header, tables=TABLES, chunk_frames=chunk_frames) as writer:
        for part in np.array_split(content, parts):
            writer.write(part)
    return file.getvalue()


def read(data):
    return SpeechFileReader(io.BytesIO(data), tables=TABLES)


@pytest.mark.parametrize("count", [0, 1, 16, 50])
def test_frames_come_back(count):
    content = frames(count)
    data = written(content, parts=3)
    assert data == written(content)
    reader = read(data)
    assert np.array_equal(reader.read_all(), content)
    assert np.array_equal(reader.read(count // 3, count), content[count // 3 :])
    assert reader.header.num_samples == HEADER.num_samples


def test_every_chunk_has_a_step_of_its_own(tmp_path):
    content = np.concatenate([frames(20, 1, -300), frames(5, 2, -500), frames(30, 3, -300)])
    data = written(content, chunk_frames=100)
    assert np.array_equal(read(data).read_all(), content)
    assert np.array_equal(read(written(content, chunk_frames=7, parts=4)).read_all(), content)
    path = tmp_path / "a.cw"
    path.write_bytes(data)
    assert inspect(path).num_chunks == 3


def test_a_listener_gets_what_there_is():
    file = io.BytesIO()
    writer = SpeechFileWriter(file, replace(HEADER, num_samples=None), tables=TABLES)
    content = frames(6)
    writer.write(content[:2])
    before = len(file.getvalue())
    writer.flush()
    assert len(file.getvalue()) > before
    writer.write(content[2:])
    writer.close()
    assert np.array_equal(read(file.getvalue()).read_all(), content)


def test_a_file_needs_the_tables_that_it_was_written_with():
    data = written(frames())
    with pytest.raises(ValueError, match="pass tables="):
        SpeechFileReader(io.BytesIO(data)).read_all()
    other = TABLES._replace(books=(TABLES.books[0] + 1, TABLES.books[1]))
    with pytest.raises(ValueError, match="another model has"):
        SpeechFileReader(io.BytesIO(data), tables=other).read_all()


def test_frames_that_do_not_fit_are_named():
    writer = SpeechFileWriter(io.BytesIO(), HEADER, tables=TABLES)
    wrong = frames()
    wrong[4, 2] = 5
    with pytest.raises(ValueError, match=r"codes\[4, 1\] = 5 is outside the codebook sizes \(8, 5\)"):
        writer.write(wrong)
    with pytest.raises(ValueError, match="frames have 16 numbers, the file has 17"):
        writer.write(frames()[:, :-1])
    wrong = frames()
    wrong[:, 0] = 40_000
    with pytest.raises(ValueError, match="steps have 16 bits"):
        writer.write(wrong)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"a": [16000, 14, 5, 1, 8], "m": "c0de" * 4},
        {"a": [16000, 14, 5], "m": "c0de" * 4, "t": "c0de" * 4},
        {"a": [16000, 1, 5, 1, 8], "m": "c0de" * 4, "t": "c0de" * 4},
        {"a": [0, 14, 5, 1, 8], "m": "c0de" * 4, "t": "c0de" * 4},
        {"a": [16000, 14, -1, 1, 8], "m": "c0de" * 4, "t": "c0de" * 4},
        {"a": [16000, 14, 5, 1, 8, 1, 8], "m": "c0de" * 4, "t": "c0de" * 4},
        {"a": [16000, 14, 5, 1, 8], "m": "c0de" * 4, "t": None},
    ],
)
def test_descriptions_that_no_writer_makes(fields):
    file = io.BytesIO()
    ContainerWriter(file, KIND, fields).close()
    with pytest.raises(FormatError, match=r"^header: "):
        SpeechFileReader(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize("unused", [0, 3, 14, 20])
def test_a_stream_tells_its_length_at_its_end(unused):
    unknown = replace(HEADER, num_samples=None)
    content, file = frames(), io.BytesIO()
    writer = SpeechFileWriter(file, unknown, tables=TABLES, chunk_frames=16)
    writer.write(content)
    writer.close(14 * 50 - unused)
    writer.close()
    data = file.getvalue()
    assert read(data).num_samples == 14 * 50 - unused
    piped = SpeechFileReader(Pipe(data), tables=TABLES)
    assert piped.num_samples is None
    assert np.array_equal(piped.read_all(), content)
    assert piped.num_samples == 14 * 50 - unused
    assert read(written(content, header=unknown)).num_samples == 14 * 50  # nobody told


def test_lengths_that_cannot_be_are_refused():
    unknown = replace(HEADER, num_samples=None)
    for told in (14 * 50 + 1, -(2**33)):
        writer = SpeechFileWriter(io.BytesIO(), unknown, tables=TABLES)
        writer.write(frames())
        with pytest.raises(ValueError, match="do not end in the last of the frames"):
            writer.close(told)
    writer = SpeechFileWriter(io.BytesIO(), unknown, tables=TABLES)
    writer.write(frames())
    writer.flush()
    with pytest.raises(ValueError, match="frames that are not flushed"):
        writer.close(600)
    payload, file = SpeechPayload(replace(unknown, tables=TABLES.fingerprint()[:16]), TABLES), io.BytesIO()
    container = ContainerWriter(file, KIND, replace(unknown, tables=TABLES.fingerprint()[:16]).to_fields())
    for payload.unused in (5, 0):
        container.write(payload.encode(frames(4)), 4)
    container.close()
    with pytest.raises(FormatError, match="after the end of the signal"):
        read(file.getvalue()).read_all()
    file = io.BytesIO()
    container = ContainerWriter(file, KIND, replace(unknown, tables=TABLES.fingerprint()[:16]).to_fields())
    payload.unused = 2**20
    container.write(payload.encode(frames(4)), 4)
    container.close()
    for reader in (read(file.getvalue()), SpeechFileReader(Pipe(file.getvalue()), tables=TABLES)):
        with pytest.raises(FormatError, match="are said to be unused"):
            reader.read_all()
    with pytest.raises(FormatError, match="are said to be unused"):
        _ = read(file.getvalue()).num_samples


def kept():
    """Frames made by integer arithmetic alone, of two steps."""
    numbers = np.arange(40)[:, None]
    codes = (7 * numbers + 3 * np.arange(2)) % np.array(SIZES)
    values = (37 * numbers + 11 * np.arange(14)) % 9 - 4
    values[5, 3], values[30, 13] = 4000, -77
    return np.concatenate([np.where(numbers < 25, -400, -350), codes, values], axis=1)


@pytest.mark.parametrize("name", ["whole", "streamed"])
def test_golden_file(name, update_golden):
    """Files of every version ever released stay readable, and today's writer still makes the same bytes."""
    path, learned = GOLDEN / f"speech_{name}_v1.cw", GOLDEN / "speech_v1.npz"

    def made(tables):
        file = io.BytesIO()
        header = replace(HEADER, num_samples=14 * 40 - 3 if name == "whole" else None)
        writer = SpeechFileWriter(file, header, tables=tables, chunk_frames=10)
        writer.write(kept())
        writer.close(14 * 40 - 3)
        return file.getvalue()

    if update_golden:
        np.savez_compressed(learned, **TABLES.arrays())
        path.write_bytes(made(TABLES))
    tables = SpeechTables.from_arrays(dict(np.load(learned)))
    with SpeechFileReader(path, tables=tables) as reader:
        assert np.array_equal(reader.read_all(), kept())
        assert reader.num_samples == 14 * 40 - 3
    assert inspect(path).intact
    assert path.read_bytes() == made(tables)


DATA, CONTENT = written(frames()), frames()


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 0.999), change=st.integers(1, 255), cut=st.booleans())
def test_damage_is_an_error_or_harmless(place, change, cut):
    at = int(place * len(DATA))
    damaged = DATA[:at] if cut else DATA[:at] + bytes([DATA[at] ^ change]) + DATA[at + 1 :]
    check_damaged(lambda: read(damaged), CONTENT, 7, 25)
