"""``codeword index`` and ``codeword search``."""

import numpy as np
import pytest


@pytest.mark.parametrize("model", ["vector", "product", "optimized", "residual", "additive"])
def test_an_index_of_codes_is_the_index_of_their_vectors(run, place, model):
    assert run(f"index {model} x.npy a").code == 0
    ran = run(f"index {model} {model}.cw b")
    assert ran.code == 0
    assert "b: 300 vectors" in ran.out
    for name in ("a", "b"):
        assert run(f"search {name} queries.npy --k 5 --out {name}.npz").code == 0
    with np.load(place / "a.npz") as a, np.load(place / "b.npz") as b:
        assert (a["ids"] == b["ids"]).all()
        assert (a["distances"] == b["distances"]).all()


def test_what_is_found_is_nearest_among_the_decoded(run, place):
    run("decode product product.cw back.npy")
    ran = run("search product.index queries.npy --k 3 --out found.npz")
    assert "12 queries, 3 neighbours each" in ran.out
    queries, back = np.load(place / "queries.npy").astype("f8"), np.load(place / "back.npy").astype("f8")
    distances = ((queries[:, None] - back) ** 2).sum(2)
    with np.load(place / "found.npz") as found:
        np.testing.assert_allclose(found["distances"], np.sort(distances, axis=1)[:, :3], rtol=1e-4)


def test_results_are_printed_with_a_legend(run, place):
    lines = run("search product.index queries.npy --k 2").out.splitlines()
    assert "row:squared distance" in lines[0]
    assert lines[1].startswith("query 0: ")
    assert lines[-1] == "... and 2 more: pass --out to keep them"


def test_all_lists_are_a_full_search_and_recall_is_told(run, place):
    run("index residual x.npy flat")
    for name, options in {"flat": "", "lists": "--probes 4"}.items():
        index = "flat" if name == "flat" else "lists.index"
        ran = run(f"search {index} queries.npy --k 10 --base x.npy --out {name}.npz {options}")
        assert ran.code == 0
        assert "recall@1: " in ran.out
        assert "recall@10: " in ran.out
    with np.load(place / "flat.npz") as flat, np.load(place / "lists.npz") as lists:
        assert (flat["distances"] == lists["distances"]).all()


def test_queries_in_an_archive(run, place):
    np.savez(place / "many.npz", a=np.load(place / "queries.npy"), b=np.ones((2, 2)))
    assert run("search product.index many.npz --column a --k 1").code == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("index product x.npy product.index", "product.index exists already"),
        ("index product x.npy x.npy --overwrite", "x.npy belongs to the input"),
        ("index product x.npy product/model.safetensors --overwrite", "belongs to the input product"),
        ("index product x.npy /dev/full --overwrite", "cannot write /dev/full: no space left"),
        ("index product missing.npy y", "missing.npy does not exist"),
        ("index product missing.cw y", "missing.cw does not exist"),
        ("index scalar x.npy y", "scalar cannot be searched in its codes"),
        ("index binary x.npy y", "binary cannot be searched in its codes"),
        ("index residual product.cw y", "product.cw was written by model"),
        ("index product product.cw y --lists 4", "lists need the vectors"),
        ("index product x.npy y --lists -1", "must be at least 0, got -1"),
        ("index product x.npy y --lists 301", "301 lists need at least as many vectors, x.npy has 300"),
        ("search missing queries.npy", "there is no index at missing"),
        ("search product queries.npy", "product is a folder"),
        ("search product/model.safetensors queries.npy", "holds tensors, but no index"),
        ("search product.cw queries.npy", "product.cw is no index, or is damaged"),
        ("search x.npy queries.npy", "x.npy is no index, or is damaged"),
        ("search product.index missing.npy", "missing.npy does not exist"),
        ("search product.index product.cw", "unknown kind of file '.cw'"),
        ("search product.index queries.npy --k 0", "between 1 and 300 neighbours, got k=0"),
        ("search product.index queries.npy --k 301", "product.index holds 300 vectors"),
        ("search product.index queries.npy --k 1000000000", "product.index holds 300 vectors"),
        ("search product.index queries.npy --probes 2", "has no lists to probe"),
        ("search lists.index queries.npy --probes 0", "probes must be at least 1"),
        ("search product.index queries.npy --base queries.npy", "give the vectors that were indexed"),
        ("search product.index queries.npy --out y.txt", "written to .npz files"),
        ("search product.index queries.npy --out nowhere/y.npz", "does not exist: make it first"),
        ("search product.index queries.npy --out queries.npy", "queries.npy exists already"),
        ("search product.index queries.npy --out product.index --overwrite", "belongs to the input"),
    ],
)
def test_bad_calls_are_one_line(refused, line, message):
    assert message in refused(line)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.ones((2, 9)), "bad.npy has vectors of 9 features, product.index holds 8"),
        (np.ones((0, 8)), "bad.npy holds no vectors"),
        (np.ones(8), "vectors need two axes"),
        (np.full((2, 8), np.nan), "row 0 is not finite"),
        (np.full((2, 8), 1e30), "squared distances leave float32"),
    ],
)
def test_bad_queries_are_one_line(refused, place, queries, message):
    np.save(place / "bad.npy", queries)
    assert message in refused("search product.index bad.npy --k 1")


@pytest.mark.parametrize("verb", ["search product.index queries.npy", "inspect product.index"])
@pytest.mark.parametrize("length", [0, 4, 500, -9])
def test_a_truncated_index_is_one_line(refused, place, verb, length):
    path = place / "product.index"
    path.write_bytes(path.read_bytes()[:length])
    assert "product.index" in refused(verb)


def test_an_index_with_impossible_codes_is_one_line(refused, place):
    path = place / "product.index"
    data = bytearray(path.read_bytes())
    codes = data.index(b'"codes":{"dtype":"U8"')
    start = 8 + int.from_bytes(data[:8], "little")
    offset = int(data[codes:].split(b'"data_offsets":[')[1].split(b",")[0])
    data[start + offset] = 200
    path.write_bytes(data)
    assert "product.index is damaged" in refused("search product.index queries.npy")
