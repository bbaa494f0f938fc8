"""``codeword encode`` and ``codeword decode``."""

import json
import shutil

import numpy as np
import pytest

from codeword.codecs.audio.storage import SHIPPED, SPEECH
from codeword.codecs.vectors import VectorCodec
from codeword.formats.vector_payload import VectorHeader
from codeword.formats.vectors import VectorCodesWriter

MODELS = ["vector", "product", "optimized", "residual", "additive", "scalar", "binary"]


@pytest.mark.parametrize("coding", ["auto", "packed"])
@pytest.mark.parametrize("model", MODELS)
def test_codes_of_every_quantizer_come_back(run, place, model, coding):
    ran = run(f"encode {model} x.npy codes.cw --coding {coding}")
    assert (ran.code, ran.err) == (0, "")
    size = (place / "codes.cw").stat().st_size
    assert f"codes.cw: 300 vectors in {size} bytes, {8 * size / 300:.3f} bits per vector" in ran.out
    for name in ("back.npy", "back.fvecs"):
        assert run(f"decode {model} codes.cw {name}").code == 0
    codec = VectorCodec.from_pretrained(place / model)
    x = np.load(place / "x.npy")
    with codec.open(place / "codes.cw") as reader:
        assert (reader.read_all() == codec.quantizer.encode(_tensor(x)).numpy()).all()
    back = np.load(place / "back.npy")
    assert (back == codec.quantizer.decode(codec.quantizer.encode(_tensor(x))).numpy()).all()
    records = np.fromfile(place / "back.fvecs", dtype=[("head", "<i4"), ("vector", "<f4", (8,))])
    assert (records["vector"] == back).all()


def _tensor(x):
    import torch

    return torch.from_numpy(x)


def test_overwrite(run, place):
    (place / "codes.cw").write_bytes(b"old")
    assert run("encode product x.npy codes.cw --overwrite").code == 0
    assert (place / "codes.cw").read_bytes() == (place / "product.cw").read_bytes()


def test_a_pipe_is_read_in_order(run, place):
    import os
    import threading

    os.mkfifo(place / "pipe")
    writer = threading.Thread(target=lambda: (place / "pipe").write_bytes((place / "product.cw").read_bytes()))
    writer.start()
    ran = run("decode product pipe back.npy")
    writer.join()
    assert ran.code == 0
    assert len(np.load(place / "back.npy")) == 300


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("encode nothing x.npy y.cw", "there is no model nothing"),
        ("encode x.npy x.npy y.cw", "x.npy is a file, and a model is a folder"),
        ("encode . x.npy y.cw", ". is no codeword model: it needs config.json"),
        ("encode product y.npy y.cw", "y.npy does not exist"),
        ("encode product product y.cw", "product is a directory: give one file of vectors"),
        ("encode product product.cw y.cw", "unknown kind of file '.cw'"),
        ("encode whole x.npy y.cw", "x.npy has vectors of 8 features, the model takes 16"),
        ("encode product x.npy product.cw", "product.cw exists already: choose another name, or pass --overwrite"),
        ("encode product x.npy x.npy --overwrite", "x.npy belongs to the input x.npy and would be lost"),
        ("encode product x.npy product/y.cw", "belongs to the input product"),
        ("encode product x.npy product --overwrite", "product is a folder: give the name of a file"),
        ("encode product x.npy nowhere/y.cw", "does not exist: make it first"),
        ("encode product x.npy /dev/full --overwrite", "cannot write /dev/full: no space left on device"),
        ("encode product x.npy /proc/y.cw", "cannot write /proc/y.cw"),
        ("encode binary x.npy y.cw --coding ranged", "no entropy tables: store its codes packed"),
        ("encode product x.npy y.cw --column v", "has no named columns"),
        ("decode product missing.cw y.npy", "missing.cw does not exist: give a file of codes"),
        ("decode product . y.npy", ". is a folder: give a file of codes"),
        ("decode product x.npy y.npy", "x.npy, header: not a .cw file"),
        ("decode product residual.cw y.npy", "residual.cw was written by model"),
        ("decode nothing product.cw y.npy", "there is no model nothing"),
        ("decode product product.cw x.npy", "x.npy exists already"),
        ("decode product product.cw product.cw --overwrite", "product.cw belongs to the input product.cw"),
        ("decode product product.cw y.csv", "cannot write '.csv': vectors are written to .npy, .fvecs"),
        ("decode product product.cw nowhere/y.npy", "does not exist: make it first"),
        ("decode product product.cw /proc/y.npy", "cannot write /proc/y.npy"),
        ("evaluate vectors nothing x.npy", "there is no model nothing"),
        ("evaluate vectors whole x.npy", "x.npy has vectors of 8 features, the model takes 16"),
        ("evaluate vectors product product.cw", "unknown kind of file '.cw'"),
        ("evaluate vectors product y.npy", "y.npy does not exist"),
    ],
)
def test_bad_calls_are_one_line(refused, line, message):
    assert message in refused(line)


@pytest.mark.parametrize("verb", ["encode product {} y.cw", "evaluate vectors product {}", "index product {} y"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [(np.nan, "bad.npy: row 41 is not finite"), (1e30, "bad.npy holds numbers up to 1e+30")],
)
def test_rows_that_cannot_be_encoded_are_named_and_nothing_is_written(refused, place, verb, bad, message):
    x = np.load(place / "x.npy")
    x[41, 3] = bad
    np.save(place / "bad.npy", x)
    assert message in refused(verb.format("bad.npy"))


def _cut(folder, name, length):
    path = folder / name
    path.write_bytes(path.read_bytes()[:length])


DAMAGE = {
    "no weights": (lambda m: (m / "model.safetensors").unlink(), "is no codeword model"),
    "cut weights": (lambda m: _cut(m, "model.safetensors", 900), "damaged"),
    "empty weights": (lambda m: _cut(m, "model.safetensors", 0), "damaged"),
    "cut tables": (lambda m: _cut(m, "tables.safetensors", 90), "is a damaged model"),
    "cut description": (lambda m: _cut(m, "config.json", 20), "config.json is not JSON"),
    "binary description": (lambda m: (m / "config.json").write_bytes(b"\xff\xfe\x80"), "config.json"),
    "another description": (lambda m: (m / "config.json").write_text('{"model_type": "bert"}'), "codeword quantizer"),
    "a list": (lambda m: (m / "config.json").write_text("[]"), "codeword quantizer"),
    "another model's weights": (lambda m: shutil.copy(m.parent / "additive/model.safetensors", m), "does not fit"),
    "another model's tables": (lambda m: shutil.copy(m.parent / "vector/tables.safetensors", m), "another model"),
    "a changed number": (lambda m: _flip(m / "model.safetensors"), "its weights are not those saved"),
    "cut fingerprint": (lambda m: _cut(m, "codec.json", 20), "codec.json is not JSON"),
    "a later version": (lambda m: _later(m / "codec.json"), "no description of a codec of version 1"),
}


def _flip(path):
    """A bit of a codeword."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    tensors = json.loads(data[8 : 8 + length])
    start = next(entry["data_offsets"][0] for name, entry in tensors.items() if name.endswith(".table"))
    data[8 + length + start] ^= 1
    path.write_bytes(data)


def _later(path):
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("verb", ["encode product x.npy y.cw", "decode product product.cw y.npy", "inspect product"])
def test_a_damaged_model_is_one_line(refused, place, damage, verb):
    spoil, message = DAMAGE[damage]
    spoil(place / "product")
    error = refused(verb)
    assert message in error
    assert "product" in error


@pytest.mark.parametrize("verb", ["encode {} x.npy y.cw", "decode {} product.cw y.npy", "index {} x.npy y"])
def test_a_model_of_another_kind_is_named(refused, verb):
    assert "codeword quantizer: it describes a codeword audio, give" in refused(verb.format(SHIPPED / SPEECH))


def test_codes_without_the_tables_of_their_model(refused, place):
    (place / "product" / "tables.safetensors").unlink()
    assert "product.cw is range-coded, and the model lacks its entropy tables" in refused(
        "decode product product.cw y.npy"
    )


def _chunks(codec, x, path, rows):
    """The file that encode writes, but in small chunks."""
    quantizer = codec.quantizer
    header = VectorHeader(
        dim=quantizer.dim, sizes=quantizer.sizes, num_vectors=len(x), model=codec.fingerprint, payload="ranged"
    )
    with path.open("wb") as file, VectorCodesWriter(file, header, tables=codec.tables, chunk_rows=rows) as writer:
        writer.write(quantizer.encode(_tensor(x)).numpy())


@pytest.fixture
def chunked(place):
    """A file of six chunks of fifty vectors, and where its third chunk lies."""
    codec = VectorCodec.from_pretrained(place / "product")
    _chunks(codec, np.load(place / "x.npy"), place / "chunked.cw", 50)
    data = (place / "chunked.cw").read_bytes()
    starts = [place for place in range(len(data)) if data[place : place + 4] == b"CHNK"]
    return data, starts[2] + 30


def test_a_damaged_file_is_refused_with_the_chunk_and_the_way_out(refused, place, chunked):
    data, where = chunked
    (place / "chunked.cw").write_bytes(data[:where] + bytes([data[where] ^ 255]) + data[where + 1 :])
    assert "chunked.cw, chunk" in refused("decode product chunked.cw y.npy")
    assert "chunked.cw, chunk" in refused("index product chunked.cw y")


def test_salvage_keeps_what_is_intact_and_says_what_is_lost(run, place, chunked):
    assert run("decode product chunked.cw whole.npy").code == 0
    whole = np.load(place / "whole.npy")
    data, where = chunked
    (place / "chunked.cw").write_bytes(data[:where] + bytes([data[where] ^ 255]) + data[where + 1 :])
    ran = run("decode product chunked.cw saved.npy --salvage")
    assert ran.code == 0
    assert "chunked.cw: vectors 100 to 149 are lost" in ran.err
    saved = np.load(place / "saved.npy")
    kept = np.r_[0:100, 150:300]
    assert (saved[kept] == whole[kept]).all()
    assert not saved[100:150].any()


def test_a_truncated_file_is_refused_and_salvaged(run, place, chunked):
    data, where = chunked
    (place / "chunked.cw").write_bytes(data[:where])
    ran = run("decode product chunked.cw y.npy")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    ran = run("decode product chunked.cw saved.npy --salvage")
    assert ran.code == 0
    assert "vectors 100 to 299 are lost" in ran.err


@pytest.mark.parametrize("salvage", ["", " --salvage"])
@pytest.mark.parametrize("length", [0, 5, 100])
def test_a_damaged_header_is_always_an_error(refused, place, length, salvage):
    _cut(place, "product.cw", length)
    assert "product.cw, header" in refused(f"decode product product.cw y.npy{salvage}")


def test_a_file_that_lies_about_its_sizes(refused, place):
    codec = VectorCodec.from_pretrained(place / "product")
    header = VectorHeader(dim=8, sizes=(64, 64), model=codec.fingerprint)
    with (place / "liar.cw").open("wb") as file, VectorCodesWriter(file, header) as writer:
        writer.write(np.full((3, 2), 63))
    assert "liar.cw, header: codes of sizes [64, 64] do not fit" in refused("decode product liar.cw y.npy")


def test_evaluation_of_every_quantizer(run, place):
    for model in MODELS:
        ran = run(f"evaluate vectors {model} x.npy")
        assert (ran.code, ran.err) == (0, "")
        size = (place / f"{model}.cw").stat().st_size
        assert f"{8 * size / 300:.3f} in a file" in ran.out
        assert f"{size} bytes, header and checksums included" in ran.out
        assert "codes of 300 vectors" in ran.out


def test_evaluation_with_more_codewords_than_can_be_counted(run, place):
    np.save(place / "wide.npy", np.random.default_rng(0).standard_normal((20, 16)))
    ran = run("evaluate vectors whole wide.npy")
    assert ran.code == 0
    assert "their use is not counted" in ran.out
