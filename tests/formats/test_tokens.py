"""Files of tokens: what is written is read, what is damaged is refused, what is promised is kept."""

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeword.formats import tokens as module
from codeword.formats.errors import FormatError
from codeword.formats.inspection import inspect
from codeword.formats.tokens import TokenHeader, TokenReader, write_tokens

GOLDEN = Path(__file__).parents[1] / "golden" / "tokens_v1.cw"
HEADER = TokenHeader(
    tokenizer="ab" * 32,
    front_end="0" * 64,
    dim=4,
    sizes=(256, 5, 1),
    grid=(3, 2),
    padding=True,
    first=7,
    samples=9,
)
NAMES = tuple(f"folder/\N{GREEK SMALL LETTER ALPHA} {number}.wav" for number in range(HEADER.samples))


def sample(header=HEADER):
    codes = np.arange(header.samples * 6 * 3).reshape(header.samples, 6, 3) * 7919 // 5 % np.array(header.sizes)
    if header.padding:
        codes[::3, 4:] = -1
    return codes


def written(header=HEADER):
    file = io.BytesIO()
    write_tokens(file, header, NAMES[: header.samples], sample(header))
    return file.getvalue()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_PATCHES", 4 * 6)


@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("samples", [0, 1, 4, 9])
def test_what_is_written_is_read(samples, padding):
    header = replace(HEADER, samples=samples, padding=padding)
    reader = TokenReader(io.BytesIO(written(header)))
    assert reader.header == header
    parts = list(reader)
    assert [len(part.names) for part in parts] == [4] * (samples // 4) + [samples % 4] * bool(samples % 4)
    assert reader.names() == NAMES[:samples]
    whole = reader.read(0, samples)
    assert np.array_equal(whole.codes, sample(header))
    assert np.array_equal(np.concatenate([whole.codes[:0], *(part.codes for part in parts)]), whole.codes)


def test_some_samples_touch_their_chunks_only():
    data = bytearray(written())
    data[data.rindex(b"wav")] ^= 1  # of sample 8, alone in the third chunk
    reader = TokenReader(io.BytesIO(data))
    found = reader.read(1, 3)
    assert found.names == NAMES[1:3]
    assert np.array_equal(found.codes, sample()[1:3])
    assert np.array_equal(reader.read(3, 8).codes, sample()[3:8])
    with pytest.raises(FormatError, match="chunk 2"):
        reader.read(7, 9)
    with pytest.raises(ValueError, match="the file has 9 samples, asked for 5 to 10"):
        reader.read(5, 10)


def test_a_patch_costs_the_width_of_its_codes():
    header = replace(HEADER, sizes=(256,) * 4, padding=False, grid=(500,), samples=8)
    file = io.BytesIO()
    names = [str(number) for number in range(8)]
    write_tokens(file, header, names, np.full((8, 500, 4), 255))
    names_bytes = sum(len(f'"{name}",') + 5 for name in names)
    assert len(file.getvalue()) - 8 * 500 * 4 < 600 + names_bytes + 8 * 60


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, len(written()) - 1), change=st.integers(1, 255))
def test_a_changed_byte_is_noticed(place, change):
    data = bytearray(written())
    data[place] ^= change
    with pytest.raises(FormatError):
        for _ in TokenReader(io.BytesIO(data)):
            pass


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, len(written()) - 1))
def test_a_cut_file_is_noticed(length):
    with pytest.raises(FormatError):
        for _ in TokenReader(io.BytesIO(written()[:length])):
            pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": ()}, "1 to 3 axes"),
        ({"grid": (0, 2)}, "1 to 3 axes"),
        ({"grid": (2**12, 2**12)}, "1 to 3 axes with at most"),
        ({"samples": -1}, "needs a count as samples, got -1"),
        ({"first": True}, "needs a count as first, got True"),
        ({"tokenizer": "ab"}, "the fingerprint of a model"),
        ({"front_end": "no"}, "the fingerprint of a model"),
        ({"sizes": ()}, "sizes, each from 1"),
    ],
)
def test_headers_that_no_file_may_have(change, message):
    with pytest.raises(ValueError, match=message):
        replace(HEADER, **change)
    fields = HEADER.to_fields() | change
    with pytest.raises(FormatError, match=message):
        TokenHeader.from_fields(fields)


def test_missing_and_unknown_fields_are_refused():
    fields = HEADER.to_fields()
    for wrong in ({**fields, "more": 1}, {name: value for name, value in fields.items() if name != "grid"}):
        with pytest.raises(FormatError, match="a file of tokens has the fields"):
            TokenHeader.from_fields(wrong)
    with pytest.raises(FormatError, match="a list of sizes, got 5"):
        TokenHeader.from_fields(fields | {"sizes": 5})


@pytest.mark.parametrize(
    ("names", "codes", "message"),
    [
        (NAMES[:8], sample(), "9 samples were promised, got 9 with 8 different names"),
        ((*NAMES[:8], NAMES[0]), sample(), "got 9 with 8 different names"),
        (NAMES, sample()[:, :5], "a grid of (3, 2) has 6 patches, got 5"),
        (NAMES, sample() + 5, "is outside the codebook sizes"),
    ],
)
def test_what_does_not_fit_is_not_written(names, codes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        write_tokens(io.BytesIO(), HEADER, names, codes)


def with_names(text):
    """A file whose checksums hold, but whose first chunk begins with other names."""
    file = io.BytesIO()
    with module.ContainerWriter(file, module.KIND, replace(HEADER, samples=1).to_fields()) as writer:
        rows = sample()[0]
        packed = module.make_payload(HEADER.codes, None).encode(rows)
        writer.write(len(text).to_bytes(4, "little") + text + packed, 1)
    return file.getvalue()


@pytest.mark.parametrize("text", [b"", b"[", b'["a","b"]', b'{"a":1}', b"[1]", b'["a" ]', b"\xff"])
def test_names_that_are_none(text):
    for read in (list, TokenReader.names):
        with pytest.raises(FormatError, match=r"chunk of items 0 to 0: .*names"):
            read(TokenReader(io.BytesIO(with_names(text))))
    assert TokenReader(io.BytesIO(with_names(b'["a"]'))).names() == ("a",)


def test_a_promise_of_other_samples_is_noticed():
    file = io.BytesIO()
    with module.ContainerWriter(file, module.KIND, HEADER.to_fields()):
        pass
    for read in (list, TokenReader.names, lambda reader: reader.read(0, 0)):
        with pytest.raises(FormatError, match="the header promises 9 samples, the file has 0"):
            read(TokenReader(io.BytesIO(file.getvalue())))


def test_golden_file(update_golden):
    if update_golden:
        GOLDEN.write_bytes(written())
    assert GOLDEN.read_bytes() == written()
    assert inspect(GOLDEN).intact
    with TokenReader(GOLDEN) as reader:
        assert np.array_equal(reader.read(0, 9).codes, sample())
