"""Indexes in files."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from codeword.quantizers import ResidualQuantizer
from codeword.search import CodedIndex, FlatIndex, InvertedIndex, load_index
from reference.indexes import build, level, random_codes


def rows(count, seed=0, offset=0.0):
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(seed)) + offset


def same(first, second, **options):
    ours, theirs = first.search(rows(8, seed=1), 6, **options), second.search(rows(8, seed=1), 6, **options)
    return bool((ours.ids == theirs.ids).all() and (ours.distances == theirs.distances).all())


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("count", [0, 200])
def test_flat(tmp_path, metric, offset, count):
    index = FlatIndex(12, metric=metric)
    index.add(rows(count, offset=offset))
    index.save(tmp_path / "index")
    again = load_index(tmp_path / "index")
    assert isinstance(again, FlatIndex) and again.metric == metric and len(again) == count
    assert (again.vectors == index.vectors).all() and same(index, again)


@pytest.mark.parametrize("kind", ["vector", "product", "beam", "additive", "groups", "rotated", "normalized"])
def test_coded(tmp_path, kind):
    index = CodedIndex(build(kind), metric="ip" if kind == "product" else "l2")
    codes = random_codes(index.quantizer.sizes, 200)
    index.add_codes(codes)
    index.save(tmp_path / "index")
    again = load_index(tmp_path / "index")
    assert isinstance(again, CodedIndex) and (again.codes == codes).all() and same(index, again)
    again.add(rows(30))
    index.add(rows(30))
    assert same(index, again)


def test_a_codebook_of_two_levels_is_kept_once(tmp_path):
    shared = level(torch.Generator().manual_seed(3), 12, 10)
    index = CodedIndex(ResidualQuantizer([shared, shared]).eval())
    index.add(rows(50))
    index.save(tmp_path / "index")
    assert same(index, load_index(tmp_path / "index"))
    assert sum(name.endswith("codebook.table") for name in load_file(tmp_path / "index")) == 1


def test_codes_of_variable_depth(tmp_path):
    index = CodedIndex(build("residual"))
    codes = random_codes(index.quantizer.sizes, 50)
    codes[::2, 3] = -1
    index.add_codes(codes)
    index.save(tmp_path / "index")
    assert (load_index(tmp_path / "index").codes == codes).all()


@pytest.mark.parametrize("by_residual", [True, False])
def test_inverted(tmp_path, by_residual):
    index = InvertedIndex(level(torch.Generator().manual_seed(7), 12, 10), build("beam"), by_residual=by_residual)
    index.add(rows(150))
    index.search(rows(1), 1)
    index.add(rows(40, seed=9))
    index.save(tmp_path / "index")
    again = load_index(tmp_path / "index")
    assert isinstance(again, InvertedIndex) and again.by_residual == by_residual and same(index, again, probes=3)
    again.add(rows(30))
    index.add(rows(30))
    assert same(index, again, probes=3)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    index = FlatIndex(12)
    index.add(rows(5))
    index.save(tmp_path / "index")
    before = (tmp_path / "index").read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    index.add(rows(5))
    with pytest.raises(KeyboardInterrupt):
        index.save(tmp_path / "index")
    assert (tmp_path / "index").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_files_that_are_no_index(tmp_path):
    path = tmp_path / "index"
    with pytest.raises(ValueError, match="there is no index at"):
        load_index(path)
    path.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is no index, or is damaged"):
        load_index(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is no index, or is damaged"):
        load_index(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="holds tensors, but no index"):
        load_index(path)


def rewritten(tmp_path, drop=(), **changes):
    """A coded index whose header or tensors have been changed."""
    index = CodedIndex(build("product"))
    index.add_codes(random_codes(index.quantizer.sizes, 20))
    index.save(tmp_path / "index")
    header = {
        "format": "codeword index",
        "version": 1,
        "kind": "coded",
        "metric": "l2",
        "quantizer": header_of(tmp_path / "index")["quantizer"],
    }
    tensors = {name: value for name, value in load_file(tmp_path / "index").items() if name not in drop}
    save_file(tensors, tmp_path / "index", {"codeword": json.dumps(header | changes)})
    return tmp_path / "index"


def header_of(path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["codeword"])


def test_headers_that_do_not_fit(tmp_path):
    assert len(load_index(rewritten(tmp_path))) == 20
    with pytest.raises(ValueError, match="index of version 2; this codeword reads 1"):
        load_index(rewritten(tmp_path, version=2))
    with pytest.raises(ValueError, match="kind 'graph'; known are coded, flat, inverted"):
        load_index(rewritten(tmp_path, kind="graph"))
    with pytest.raises(ValueError, match="has the metric 'cosine'"):
        load_index(rewritten(tmp_path, metric="cosine"))
    with pytest.raises(ValueError, match="describes no quantizer under 'quantizer', but a int"):
        load_index(rewritten(tmp_path, quantizer=3))
    with pytest.raises(ValueError, match="lacks the tensor 'codes'"):
        load_index(rewritten(tmp_path, drop=("codes",)))
    with pytest.raises(ValueError, match=r"weights of the quantizer in .* do not fit"):
        load_index(rewritten(tmp_path, drop=("quantizer.parts.0.codebook.table",)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vectors": torch.zeros(7)}, r"vectors of shape \(7,\), not a matrix"),
        ({"vectors": torch.tensor(1.0)}, r"vectors of shape \(\), not a matrix"),
        ({"mean": torch.zeros(7)}, r"a mean of shape \(rows, 12\), got \(1, 7\)"),
        ({"mean": torch.full((12,), torch.nan)}, "a mean: row 0 is not finite"),
    ],
)
def test_tensors_that_no_flat_index_has(tmp_path, change, message):
    index = FlatIndex(12)
    index.add(rows(20, offset=1e4))
    index.save(tmp_path / "index")
    with safe_open(tmp_path / "index", framework="pt") as file:
        metadata = file.metadata()
    save_file(load_file(tmp_path / "index") | change, tmp_path / "index", metadata)
    with pytest.raises(ValueError, match=message):
        load_index(tmp_path / "index")
