"""``codeword train``."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from codeword.cli.errors import Terminated
from codeword.codecs.vectors import VectorCodec

QUICK = "--quantizer product --levels 2 --size 4 --steps 2"


def _matrix():
    return np.random.default_rng(1).standard_normal((60, 8)).astype(np.float32)


def _vecs(path, rows, kind):
    records = np.empty(len(rows), dtype=[("head", "<i4"), ("vector", kind, (rows.shape[1],))])
    records["head"], records["vector"] = rows.shape[1], rows
    records.tofile(path)


FORMATS = {
    "f4.npy": np.save,
    "f8.npy": lambda path, x: np.save(path, x.astype("f8")),
    "f2.npy": lambda path, x: np.save(path, x.astype("f2")),
    "i4.npy": lambda path, x: np.save(path, (x * 100).astype("i4")),
    "fortran.npy": lambda path, x: np.save(path, np.asfortranarray(x)),
    "big.npy": lambda path, x: np.save(path, x.astype(">f4")),
    "one.npz": lambda path, x: np.savez(path, x=x),
    "lists.parquet": lambda path, x: pq.write_table(pa.table({"v": list(x)}), path),
    "columns.parquet": lambda path, x: pq.write_table(pa.table({f"c{i}": x[:, i] for i in range(8)}), path),
    "x.fvecs": lambda path, x: _vecs(path, x, "<f4"),
    "x.ivecs": lambda path, x: _vecs(path, (x * 100).astype("i4"), "<i4"),
    "x.bvecs": lambda path, x: _vecs(path, np.clip(x * 40 + 128, 0, 255).astype("u1"), "u1"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_trains_a_model_that_loads(run, place, name):
    FORMATS[name](place / name, _matrix())
    ran = run(f"train vectors {name} --out model {QUICK}")
    assert (ran.code, ran.err) == (0, "")
    assert "4 bits per vector" in ran.out
    assert VectorCodec.from_pretrained(place / "model").quantizer.sizes == (4, 4)
    assert not list(place.glob("*.resume"))


def test_one_array_of_several(run, place):
    np.savez(place / "many.npz", a=_matrix(), b=_matrix()[:5])
    assert run(f"train vectors many.npz --column a --out model {QUICK}").code == 0


def test_the_report_counts_both_parts(run, place):
    ran = run(f"train vectors x.npy --out model {QUICK} --validation 0.1")
    assert ran.out.splitlines()[3].split() == ["vectors", "270", "30"]


def test_a_family_of_one_level_needs_no_levels(run, place):
    assert run("train vectors x.npy --out model --quantizer vector --size 4 --steps 1").code == 0


def test_overwrite_replaces_and_starts_anew(run, place):
    (place / "product.resume").write_bytes(b"what an interrupted training left")
    ran = run("train vectors x.npy --out product --quantizer vector --size 4 --steps 1 --overwrite")
    assert ran.code == 0
    assert VectorCodec.from_pretrained(place / "product").quantizer.sizes == (4,)
    assert not (place / "product.resume").exists()


def test_an_empty_folder_is_a_place_for_a_model(run, place):
    (place / "model").mkdir()
    assert run(f"train vectors x.npy --out model {QUICK}").code == 0


def test_the_same_bits_from_a_file_too_large_for_memory(run, place, monkeypatch):
    run(f"train vectors x.npy --out inside {QUICK}")
    monkeypatch.setattr("codeword.recipes.vectors._IN_MEMORY", 100)
    run(f"train vectors x.npy --out streamed {QUICK}")
    for name in ("model.safetensors", "tables.safetensors"):
        assert (place / "streamed" / name).read_bytes() == (place / "inside" / name).read_bytes()


X = np.ones((60, 8), np.float32)
BAD_FILES = {
    "missing.npy": (None, "does not exist"),
    "empty.npy": (b"", "is empty (0 bytes)"),
    "garbage.npy": (b"no array at all", "is no .npy array of numbers"),
    "empty.fvecs": (b"", "is empty"),
    "short.fvecs": (b"\x08\0\0\0123", "is truncated or mixes dimensions"),
    "garbage.npz": (b"PK no archive", "cannot be read as a .npz archive"),
    "garbage.parquet": (b"PAR1 no table", "cannot be read as a Parquet file"),
    "table.csv": (b"1,2\n3,4\n", "unknown kind of file '.csv'"),
    "nameless": (b"1,2", "unknown kind of file ''"),
    "zero.npy": (X[:0], "holds no vectors"),
    "featureless.npy": (X[:, :0], "holds no vectors"),
    "flat.npy": (X[:, 0], "vectors need two axes"),
    "cube.npy": (X.reshape(10, 6, 8), "vectors need two axes"),
    "number.npy": (np.float32(1), "vectors need two axes"),
    "text.npy": (np.array([["a"]]), "not real numbers: convert it to float32"),
    "object.npy": (np.array([[{}]], dtype=object), "not real numbers"),
    "complex.npy": (X.astype("c8"), "not real numbers"),
    "bool.npy": (X > 0, "not real numbers"),
    "nan.npy": (np.where(np.arange(60)[:, None] == 41, np.nan, X), "row 41 is not finite"),
    "infinite.npy": (np.where(np.arange(60)[:, None] == 41, np.inf, X), "row 41 is not finite"),
    "beyond.npy": (X.astype("f8") * 1e200, "beyond float32"),
    "vast.npy": (X * 1e30, "squared distances leave float32"),
    "few.npy": (X[:3], "3 vectors, 1 of them held out for validation: 4 codewords need at least 4"),
    "single.npy": (X[:1], "has 1 vector: at least 2 are needed"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_data_is_one_line(refused, place, name):
    content, message = BAD_FILES[name]
    if isinstance(content, bytes):
        (place / name).write_bytes(content)
    elif content is not None:
        np.save(place / name, content)
    error = refused(f"train vectors {name} --out model --levels 2 --size 4")
    assert message in error
    assert name in error


def test_a_truncated_array_is_one_line(refused, place):
    (place / "x.npy").write_bytes((place / "x.npy").read_bytes()[:5000])
    assert "x.npy is truncated" in refused(f"train vectors x.npy --out model {QUICK}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--levels 0", "levels must be at least 1, got 0"),
        ("--levels 5000 --size 2", "a vector takes at most 4096 codes"),
        ("--size 0", "size must be at least 1"),
        ("--size -4", "size must be at least 1"),
        ("--beam 0", "beam must be at least 1"),
        ("--sweeps -1", "sweeps must be at least 0"),
        ("--steps 0", "steps must be at least 1"),
        ("--seeds 0", "seeds must be at least 1"),
        ("--seed -1", "seed must be at least 0"),
        ("--seed 99999999999999999999", "seed must be below"),
        ("--validation 0", "must lie between 0 and 1, got 0.0"),
        ("--validation 1", "must lie between 0 and 1"),
        ("--validation nan", "must lie between 0 and 1, got nan"),
        ("--quantizer product --levels 9 --size 2", "9 blocks do not fit vectors of 8 features"),
        ("--quantizer vector --levels 3 --size 2", "one code per vector"),
        ("--column v", "has no named columns"),
        ("--size 301", "300 vectors"),
    ],
)
def test_bad_options_are_one_line(refused, options, message):
    assert message in refused(f"train vectors x.npy --out model {options}")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("product", "product exists already: choose another name, or pass --overwrite"),
        ("x.npy", "x.npy is a file, and a model is a folder"),
        ("nowhere/model", "does not exist: make it first"),
        (".", "is a folder of other files: choose another name"),
        ("/proc/model", "cannot write /proc/model"),
    ],
)
def test_bad_outputs_are_one_line(refused, out, message):
    assert message in refused(f"train vectors x.npy --out {out} {QUICK}")


def test_a_read_only_folder_is_one_line(refused, place, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    assert "cannot be written to: choose another" in refused(f"train vectors x.npy --out model {QUICK}")


def test_a_full_disk_leaves_no_model(run, place, monkeypatch):
    def full(arrays):
        raise OSError(28, "No space left on device", "tables")

    monkeypatch.setattr("codeword.codecs.vectors.storage.save", full)  # after the weights have been written
    ran = run(f"train vectors x.npy --out model {QUICK}")
    assert ran.code == 2
    assert ran.err == "codeword: cannot write the model model: no space left on device\n"
    assert not (place / "model").exists()
    assert not list(place.glob(".*.part"))


@pytest.mark.parametrize(("interruption", "code"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_an_interrupted_training_says_where_it_goes_on(run, place, monkeypatch, interruption, code):
    def stop(quantizer, data, config, *, checkpoint, **_):
        checkpoint.touch()
        raise interruption

    monkeypatch.setattr("codeword.training.em.train", stop)
    ran = run(f"train vectors x.npy --out model {QUICK}")
    assert ran.code == code
    assert ran.err == "codeword: interrupted, no model was written; the same command goes on from model.resume\n"
