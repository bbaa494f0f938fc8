"""Vectors to files and back."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from codeword import AdditiveQuantizer, Beam, ProductQuantizer, Refined, ResidualQuantizer, VectorQuantizer
from codeword.codecs.vectors import CodeCounter, VectorCodec
from codeword.data.vectors import write_vectors
from codeword.entropy.tables import CodeTables
from codeword.formats.errors import FormatError
from codeword.formats.vector_payload import VectorHeader
from codeword.formats.vectors import VectorCodesWriter

DIM = 6


def _level(dim, size, seed):
    level = VectorQuantizer(dim, size)
    level.codebook.assign(torch.randn(size, dim, generator=torch.Generator().manual_seed(seed)))
    return level


def _vectors(count=500):
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(9))


QUANTIZERS = {
    "vector": lambda: _level(DIM, 300, 0),
    "product": lambda: ProductQuantizer([_level(2, 7, 0), _level(4, 5, 1)]),
    "residual": lambda: ResidualQuantizer([_level(DIM, size, size) for size in (8, 3, 5)], search=Beam(3)),
    "additive": lambda: AdditiveQuantizer([_level(DIM, 9, seed) for seed in (0, 1)], search=Refined(Beam(3), sweeps=1)),
}


@pytest.fixture(params=QUANTIZERS)
def codec(request):
    return VectorCodec(QUANTIZERS[request.param]())


@pytest.mark.parametrize("coding", ["packed", "ranged"])
def test_codes_and_vectors_come_back(codec, tmp_path, coding):
    x = _vectors()
    codec.learn_tables(x)
    size = codec.encode(x, tmp_path / "x.cw", coding=coding)
    assert size == (tmp_path / "x.cw").stat().st_size
    codes = codec.quantizer.encode(x)
    with codec.open(tmp_path / "x.cw") as reader:
        assert reader.header.payload == coding
        assert (reader.read_all() == codes.numpy()).all()
        assert torch.equal(torch.cat(list(codec.decode(reader))), codec.quantizer.decode(codes))


def test_ranged_codes_of_uneven_use_are_shorter(tmp_path):
    codec = VectorCodec(_level(DIM, 64, 0))
    x = codec.quantizer.codebook.table[torch.randint(4, (4000,))]
    packed = codec.encode(x, tmp_path / "packed.cw")
    codec.learn_tables(x)
    assert codec.coding == "ranged"
    assert codec.encode(x, tmp_path / "ranged.cw") < packed / 2


def test_a_model_is_saved_where_one_stands(codec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    codec.save_pretrained(Path())
    assert VectorCodec.from_pretrained(tmp_path).fingerprint == codec.fingerprint


def test_a_model_comes_back_with_its_tables(codec, tmp_path):
    x = _vectors()
    codec.learn_tables(x)
    codec.save_pretrained(tmp_path / "model")
    again = VectorCodec.from_pretrained(tmp_path / "model")
    assert again.fingerprint == codec.fingerprint
    assert again.tables.fingerprint() == codec.tables.fingerprint()
    codec.encode(x, tmp_path / "a.cw")
    again.encode(x, tmp_path / "b.cw")
    assert (tmp_path / "a.cw").read_bytes() == (tmp_path / "b.cw").read_bytes()


def test_saving_anew_keeps_other_files_and_drops_old_tables(tmp_path):
    folder = tmp_path / "model"
    old = VectorCodec(QUANTIZERS["product"]())
    old.learn_tables(_vectors())
    old.save_pretrained(folder)
    (folder / "notes.txt").write_text("mine")
    VectorCodec(QUANTIZERS["residual"]()).save_pretrained(folder)
    again = VectorCodec.from_pretrained(folder)
    assert again.quantizer.sizes == (8, 3, 5)
    assert again.tables is None
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_kill_while_a_model_is_replaced_is_noticed(tmp_path):
    """Weights of one training, fingerprint of another."""
    for name, seed in (("old", 0), ("new", 1)):
        VectorCodec(_level(DIM, 8, seed)).save_pretrained(tmp_path / name)
    (tmp_path / "new" / "model.safetensors").replace(tmp_path / "old" / "model.safetensors")
    with pytest.raises(ValueError, match="old is a damaged model, its weights are not those saved"):
        VectorCodec.from_pretrained(tmp_path / "old")


def test_a_quantizer_saved_without_a_codec_is_a_model(tmp_path):
    quantizer = QUANTIZERS["product"]()
    quantizer.save_pretrained(tmp_path / "model")
    assert VectorCodec.from_pretrained(tmp_path / "model").fingerprint == VectorCodec(quantizer).fingerprint


def test_the_fingerprint_is_that_of_the_decoder():
    first = VectorCodec(QUANTIZERS["residual"]())
    assert VectorCodec(QUANTIZERS["residual"]()).fingerprint == first.fingerprint
    levels = list(first.quantizer.stages)
    assert VectorCodec(ResidualQuantizer(levels, search=Beam(1))).fingerprint == first.fingerprint
    levels[0].codebook.usage.add_(1)
    assert first.fingerprint == VectorCodec(QUANTIZERS["residual"]()).fingerprint
    levels[0].codebook.table[0, 0] += 1
    assert first.fingerprint != VectorCodec(QUANTIZERS["residual"]()).fingerprint


def test_another_model_is_refused(codec, tmp_path):
    codec.encode(_vectors(), tmp_path / "x.cw")
    other = VectorCodec(_level(DIM, 4, 7))
    with (
        pytest.raises(ValueError, match=r"x\.cw was written by model .*: give the model that encoded it"),
        other.open(tmp_path / "x.cw"),
    ):
        pass


def test_another_model_with_the_same_shape_is_refused(tmp_path):
    VectorCodec(_level(DIM, 4, 0)).encode(_vectors(), tmp_path / "x.cw")
    with (
        pytest.raises(ValueError, match="was written by model"),
        VectorCodec(_level(DIM, 4, 1)).open(tmp_path / "x.cw"),
    ):
        pass


def test_a_header_that_lies_about_sizes_is_refused(tmp_path):
    codec = VectorCodec(_level(DIM, 4, 0))
    header = VectorHeader(dim=DIM, sizes=(9,), model=codec.fingerprint)
    with (tmp_path / "x.cw").open("wb") as file, VectorCodesWriter(file, header) as writer:
        writer.write(np.array([[8]]))
    with pytest.raises(FormatError, match=r"x\.cw, header: .* do not fit"), codec.open(tmp_path / "x.cw"):
        pass


def test_a_failed_encoding_leaves_the_old_file(codec, tmp_path):
    path = tmp_path / "x.cw"
    path.write_bytes(b"old")
    x = _vectors(20_000)
    x[15_000, 2] = 1e30
    with pytest.raises(ValueError, match="squared distances leave float32"):
        codec.encode(x, path)
    with pytest.raises(ValueError, match=f"vectors of 5 features, the model takes {DIM}"):
        codec.encode(x[:, :5], path)
    with pytest.raises(ValueError, match="no entropy tables"):
        codec.encode(x, path, coding="ranged")
    assert [file.name for file in tmp_path.iterdir()] == ["x.cw"]
    assert path.read_bytes() == b"old"


def test_progress_counts_all_vectors(tmp_path):
    seen = []
    codec = VectorCodec(_level(DIM, 4, 0))
    codec.encode(_vectors(20_000), tmp_path / "x.cw", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20_000, 20_000)
    assert len(seen) > 1
    assert seen == sorted(seen)


def test_no_vectors_are_a_file(codec, tmp_path):
    codec.encode(_vectors(0), tmp_path / "x.cw")
    with codec.open(tmp_path / "x.cw") as reader:
        assert reader.read_all().shape == (0, codec.quantizer.levels)
        assert list(codec.decode(reader)) == []


def test_damage_is_told_with_the_path_and_salvaged(tmp_path):
    codec, path = VectorCodec(_level(DIM, 256, 0)), tmp_path / "x.cw"
    x = _vectors(140_000)
    codec.encode(x, path)
    data = bytearray(path.read_bytes())
    data[data.index(b"CHNK") + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"x\.cw, chunk"), codec.open(path) as reader:
        list(codec.decode(reader))
    with codec.open(path) as reader:
        vectors, report = codec.salvage(reader)
    (lost,) = report.missing
    assert lost == (0, 65536)
    assert not vectors[: lost[1]].any()
    assert torch.equal(vectors[lost[1] :], codec.quantizer.decode(codec.quantizer.encode(x[lost[1] :])))


@pytest.mark.parametrize("sizes", [(4, 3), (65536,)])
def test_a_counter_makes_the_tables_of_all_codes(sizes):
    codes = np.stack([np.random.default_rng(0).integers(0, size, 1000) for size in sizes], axis=1)
    counter = CodeCounter(sizes)
    for part in np.array_split(codes, 7):
        counter.add(part)
    assert counter.tables().fingerprint() == CodeTables.from_codes(codes, sizes).fingerprint()


def test_codebooks_too_large_for_tables_have_none(tmp_path):
    codec = VectorCodec(_level(1, 70_000, 0))
    x = torch.randn(50, 1)
    codec.learn_tables(x)
    assert codec.tables is None
    assert codec.coding == "packed"
    codec.encode(x, tmp_path / "x.cw")


def test_a_file_larger_than_the_memory_it_may_take(tmp_path):
    """The process may take 48 MB beyond what it takes before, and the files have 128 MB."""
    codec = VectorCodec(_level(64, 16, 0))
    codec.save_pretrained(tmp_path / "model")
    x = torch.randn(10_000, 64)
    write_vectors(tmp_path / "large.npy", [x] * 50, dim=64)
    write_vectors(tmp_path / "small.npy", [x], dim=64)
    program = """
import resource, sys
from codeword.codecs.vectors import VectorCodec
from codeword.data.vectors import open_vectors, write_vectors
import torch
from pathlib import Path
torch.set_num_threads(1)
codec = VectorCodec.from_pretrained(Path("model"))
for name in ("small", "large"):
    codec.encode(open_vectors(name + ".npy"), Path(name + ".cw"))
    with codec.open(Path(name + ".cw")) as reader:
        write_vectors(name + "_back.npy", codec.decode(reader), dim=64)
    taken = int(open("/proc/self/status").read().split("VmData:")[1].split()[0]) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (taken + (48 << 20), -1))
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "large_back.npy").stat().st_size == (tmp_path / "large.npy").stat().st_size
