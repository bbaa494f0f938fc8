import os
import pickle
import stat
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from codeword.data.vectors import DataError, check_finite, load_vectors, open_vectors, write_vectors

ROWS = np.arange(60, dtype=np.float32).reshape(12, 5) - 20


def write_vecs(path, rows, dtype):
    with path.open("wb") as file:
        for row in rows:
            file.write(np.int32(len(row)).tobytes() + np.asarray(row, dtype).tobytes())


def write_npy(path, rows):
    np.save(path, rows)


def write_npz(path, rows):
    np.savez(path, label=np.arange(3), matrix=rows)


def write_lists(path, rows):
    pq.write_table(pa.table({"id": list(range(len(rows))), "vector": rows.tolist()}), path, row_group_size=5)


def write_fixed_lists(path, rows):
    values = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    pq.write_table(pa.table({"vector": values}), path, row_group_size=5)


def write_columns(path, rows):
    table = {"name": ["x"] * len(rows)} | {f"f{n}": column for n, column in enumerate(rows.T)}
    pq.write_table(pa.table(table), path)


WRITERS = {
    "a.npy": write_npy,
    "a.npz": write_npz,
    "lists.parquet": write_lists,
    "fixed.parquet": write_fixed_lists,
    "columns.parquet": write_columns,
    "a.fvecs": lambda path, rows: write_vecs(path, rows, "<f4"),
    "A.IVECS": lambda path, rows: write_vecs(path, rows, "<i4"),
}


@pytest.fixture(params=sorted(WRITERS))
def stored(request, tmp_path):
    path = tmp_path / request.param
    WRITERS[request.param](path, ROWS)
    return path


def test_every_format_gives_the_same_vectors(stored):
    source = open_vectors(stored)
    assert (len(source), source.dim) == ROWS.shape
    assert torch.equal(source[:], torch.from_numpy(ROWS))
    assert torch.equal(load_vectors(str(stored)), torch.from_numpy(ROWS))


def test_every_format_is_sliced_and_cut_into_chunks(stored):
    source = open_vectors(stored)
    assert source[3:5].tolist() == ROWS[3:5].tolist()
    assert source[-1:].tolist() == ROWS[-1:].tolist()
    assert source[::4].tolist() == ROWS[::4].tolist()
    assert source[5:5].shape == (0, 5)
    assert source[torch.tensor([7, 0, 7])].tolist() == ROWS[[7, 0, 7]].tolist()
    chunks = list(source.chunks(5))
    assert [len(chunk) for chunk in chunks] == [5, 5, 2]
    assert torch.equal(torch.cat(chunks), source[:])
    assert all(chunk.dtype == torch.float32 for chunk in chunks)


def test_one_vector_of_one_dimension(tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path / name, ROWS[:1, :1])
        assert load_vectors(tmp_path / name).tolist() == [[-20]]


def test_bytes_and_integers_become_float32(tmp_path):
    rows = np.array([[0, 255], [7, 128]])
    write_vecs(tmp_path / "a.bvecs", rows, "u1")
    assert load_vectors(tmp_path / "a.bvecs").tolist() == rows.tolist()
    for dtype in ("u1", "i2", ">i8", "f2", ">f4", "f8", "u8"):
        np.save(tmp_path / "a.npy", rows.astype(dtype))
        assert load_vectors(tmp_path / "a.npy").tolist() == rows.tolist()
    assert open_vectors(tmp_path / "a.npy").rows.dtype == np.uint64


def test_real_descriptors_and_word_vectors():
    fixtures = Path(__file__).parents[1] / "fixtures"
    sift = open_vectors(fixtures / "sift_pd.npz", "query")
    assert (len(sift), sift.dim) == (200, 128)
    words = open_vectors(fixtures / "glove50_5k_f16.npy")
    assert torch.equal(torch.cat(list(words.chunks(999))), torch.from_numpy(np.load(words.path).astype(np.float32)))


def test_fortran_order(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(ROWS))
    source = open_vectors(tmp_path / "a.npy")
    assert torch.equal(source[:], torch.from_numpy(ROWS))
    assert source[2:4].is_contiguous()


@pytest.mark.parametrize("name", ["a.npy", "a.fvecs"])
def test_large_files_are_mapped_not_read(tmp_path, name):
    """A file of 8 GB of holes opens at once, and only what is asked for is touched."""
    path, count, dim = tmp_path / name, 2**21, 1023
    with path.open("wb") as file:
        if name == "a.npy":
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, dim)}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + count * dim * 4)
        else:
            file.write(np.int32(dim).tobytes())
            file.truncate(count * (dim + 1) * 4)
            file.seek((count - 1) * (dim + 1) * 4)
            file.write(np.int32(dim).tobytes())
    source = open_vectors(path)
    assert (len(source), source.dim) == (count, dim)
    assert source[count - 1 :].tolist() == [[0] * dim]


def test_tensors_do_not_alias_the_file(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    source = open_vectors(tmp_path / "a.npy")
    source[:].zero_()
    assert torch.equal(source[:], torch.from_numpy(ROWS))


def test_npz_arrays_by_name(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", base=ROWS, query=ROWS[:2])
    assert len(open_vectors(tmp_path / "a.npz", "query")) == 2
    with pytest.raises(DataError, match="holds 2 arrays with two axes, not one: name one of base, query"):
        open_vectors(tmp_path / "a.npz")
    np.savez(tmp_path / "none.npz")
    np.savez(tmp_path / "line.npz", line=ROWS[0])
    for name, held in (("none", "nothing"), ("line", "line")):
        with pytest.raises(DataError, match=rf"holds no array with two axes, .*: it holds {held}$"):
            open_vectors(tmp_path / f"{name}.npz")
    with pytest.raises(DataError, match="has no array 'learn': it holds base, query"):
        open_vectors(tmp_path / "a.npz", "learn")
    with pytest.raises(DataError, match=r"vectors are one array of a \.npz file, got 2 names"):
        open_vectors(tmp_path / "a.npz", ["base", "query"])


def test_parquet_columns_by_name(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"a": [1, 2], "b": [3.0, 4.0], "s": ["x", "y"], "v": [[1, 2], [3, 4]], "w": [[5], [6]]}), path
    )
    assert load_vectors(path, ["b", "a"]).tolist() == [[3, 1], [4, 2]]
    assert load_vectors(path, "a").tolist() == [[1], [2]]
    assert load_vectors(path, "w").tolist() == [[5], [6]]
    with pytest.raises(DataError, match="has 2 columns of lists: name one of v, w"):
        open_vectors(path)
    with pytest.raises(DataError, match="has no column 'z': it holds a, b, s, v, w"):
        open_vectors(path, ["a", "z"])
    with pytest.raises(DataError, match="column 's' is string, not numbers"):
        open_vectors(path, ["a", "s"])
    with pytest.raises(DataError, match=r"column 'v' is list<.*>, not numbers"):
        open_vectors(path, ["a", "v"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"v": [[1.0], [2.0, 3.0]]}, "column 'v' has 2 numbers in row 1, 1 in row 0"),
        ({"v": [[1.0], None]}, "column 'v' has 1 missing values"),
        ({"v": [[1.0], [None]]}, "the lists of column 'v' have 1 missing values"),
        ({"v": [["a"], ["b"]]}, "column 'v' holds lists of string, not of numbers"),
        ({"v": pa.array([[], []], pa.list_(pa.int8()))}, r"holds no vectors: its shape is \(2, 0\)"),
        ({"a": [1.0, None]}, "column 'a' has 1 missing values"),
        ({"s": ["x"]}, "has no column of numbers or of lists: it holds s"),
        ({"v": pa.array([], pa.list_(pa.float32()))}, "holds no vectors"),
        ({"a": pa.array([], pa.float32())}, r"holds no vectors: its shape is \(0, 1\)"),
    ],
)
def test_parquet_tables_that_are_no_matrix(tmp_path, table, message):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(table), path)
    with pytest.raises(DataError, match=message):
        open_vectors(path)


def test_missing_pyarrow_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "lists.parquet"
    write_lists(path, ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"Parquet files need pyarrow: pip install 'codeword\[data\]'"):
        open_vectors(path)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.fvecs", "a.bvecs", "a.ivecs", "a.parquet"])
def test_files_that_are_missing_empty_or_something_else(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(DataError, match=f"{name} does not exist"):
        open_vectors(path)
    path.touch()
    with pytest.raises(DataError, match=f"{name} is empty"):
        open_vectors(path)
    path.write_bytes(b"\xff" * 999)
    with pytest.raises(DataError, match=f"{name}.*(damaged|this is no)"):
        open_vectors(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=f"{name} is a directory"):
        open_vectors(path)


def test_unknown_suffixes_list_the_known_ones(tmp_path):
    for name in ("a.csv", "a"):
        (tmp_path / name).write_text("1,2")
        with pytest.raises(
            DataError, match=r"unknown kind of file .* \.npy, \.fvecs, \.bvecs, \.ivecs, \.npz, \.parquet"
        ):
            open_vectors(tmp_path / name)


@pytest.mark.parametrize("column", ["x", ["x", "y"]])
def test_files_without_names(tmp_path, column):
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(DataError, match=r"a \.npy file has no named columns: leave out"):
        open_vectors(tmp_path / "a.npy", column)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3, "f4"), r"array of shape \(3,\): vectors need two axes"),
        (np.zeros((2, 2, 2), "f4"), r"array of shape \(2, 2, 2\): vectors need two axes"),
        (np.zeros((0, 4), "f4"), r"holds no vectors: its shape is \(0, 4\)"),
        (np.zeros((4, 0), "f4"), r"holds no vectors: its shape is \(4, 0\)"),
        (np.zeros((2, 2), "c8"), "holds complex64 values, not real numbers"),
        (np.zeros((2, 2), "U3"), "holds <U3 values, not real numbers"),
        (np.zeros((2, 2), bool), "holds bool values, not real numbers"),
        (np.zeros((2, 2), [("x", "f4")]), "not real numbers"),
        (np.array([[{}, 1]], dtype=object), "holds object values, not real numbers"),
    ],
)
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_arrays_that_are_no_matrix_of_numbers(tmp_path, array, message, name):
    path = tmp_path / name
    np.save(path, array) if name == "a.npy" else np.savez(path, array)
    with pytest.raises(DataError, match=message):
        open_vectors(path, None if name == "a.npy" else "arr_0")


class Trap:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.parquet", "a.fvecs"])
def test_pickles_are_never_opened(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError):
        open_vectors(path)
    np.save(tmp_path / "b.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", a=np.array([[Trap()]], dtype=object))
    for other in ("b.npy", "b.npz"):
        with pytest.raises(DataError, match="object values"):
            open_vectors(tmp_path / other)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_no_truncation_goes_unnoticed(tmp_path, name):
    """Cut a file anywhere: it is refused, or what remains is whole vectors of the true data."""
    path = tmp_path / name
    WRITERS[name](path, ROWS)
    whole = path.read_bytes()
    for length in range(1, len(whole), 7 if name.endswith("parquet") else 1):
        path.write_bytes(whole[:length])
        try:
            vectors = load_vectors(path)
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert name in ("a.fvecs", "A.IVECS")  # without a count, a cut between two vectors cannot be seen
            assert torch.equal(vectors, torch.from_numpy(ROWS[: len(vectors)]))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "lists.parquet"])
def test_a_damaged_byte_is_one_line_or_other_numbers(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path, ROWS)
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            load_vectors(path)
        except DataError as error:
            assert "\n" not in str(error)


def test_sizes_in_a_header_are_not_believed(tmp_path):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (2**60, 2**40)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(b"\0" * 64)
    with pytest.raises(DataError, match=r"is truncated: .* needs .* bytes, 64 are there"):
        open_vectors(path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(path, "arr_0.npy")
    with pytest.raises(DataError, match="is truncated"):
        open_vectors(tmp_path / "a.npz")


def test_vecs_of_several_dimensions(tmp_path):
    path = tmp_path / "a.fvecs"
    write_vecs(path, [[1.0, 2.0], [1.0, 2.0, 3.0], [4.0]], "<f4")  # 36 bytes: three records of two numbers
    source = open_vectors(path)
    assert source[:1].tolist() == [[1, 2]]
    with pytest.raises(DataError, match="vector 1 has 3 dimensions, those before it 2"):
        load_vectors(path)
    with pytest.raises(DataError, match="vector 1 has 3 dimensions"):
        source[torch.tensor([0, 1])]
    write_vecs(path, [[1.0, 2.0], [1.0, 2.0, 3.0]], "<f4")
    with pytest.raises(DataError, match="truncated or mixes dimensions: 28 bytes are no multiple of 12, a 2-vector"):
        open_vectors(path)
    path.write_bytes(b"\1\0")
    with pytest.raises(DataError, match="2 bytes are less than the 4 of one dimension"):
        open_vectors(path)
    path.write_bytes(np.int32([0, 0]).tobytes())
    with pytest.raises(DataError, match=r"the first vector claims 0 dimensions: this is no \.fvecs file"):
        open_vectors(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_rows_that_are_not_finite_are_named(tmp_path, bad):
    rows = ROWS.astype("f8")
    rows[7, 2] = rows[7, 3] = rows[9, 0] = bad
    np.save(tmp_path / "a.npy", rows)
    with pytest.raises(DataError, match=r"a\.npy: row 7 is not finite .* 2 such among rows 0\.\.11: remove or repair"):
        load_vectors(tmp_path / "a.npy")
    chunks = open_vectors(tmp_path / "a.npy").chunks(3)
    assert next(chunks).tolist() == ROWS[:3].tolist()
    with pytest.raises(DataError, match=r"row 7 is not finite .* 1 such among rows 6\.\.8"):
        list(chunks)


def test_check_finite_passes_what_is_finite():
    check_finite(torch.tensor([[3e38, -3e38]]))
    check_finite(torch.empty(0, 4))
    with pytest.raises(DataError, match="data: row 41 is not finite"):
        check_finite(torch.tensor([[1.0], [torch.nan]]), 40)


def test_chunks_need_rows(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(ValueError, match="a chunk needs at least 1 row, got 0"):
        next(open_vectors(tmp_path / "a.npy").chunks(0))


@pytest.mark.parametrize("name", ["out.npy", "out.fvecs"])
def test_what_is_written_is_read_back(tmp_path, name):
    path, vectors = tmp_path / name, torch.from_numpy(ROWS)
    assert write_vectors(path, vectors.split(5), dim=5) == 12
    assert torch.equal(load_vectors(path), vectors)
    assert write_vectors(path, (chunk.double() for chunk in vectors.split(1)), dim=5) == 12
    assert torch.equal(load_vectors(path), vectors)
    (tmp_path / "other").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_written_npy_is_what_numpy_writes(tmp_path):
    write_vectors(tmp_path / "a.npy", [torch.from_numpy(ROWS)], dim=5)
    np.save(tmp_path / "b.npy", ROWS)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert write_vectors(tmp_path / "a.npy", [], dim=5) == 0
    assert np.load(tmp_path / "a.npy").shape == (0, 5)


def test_interrupted_writes_leave_nothing_and_keep_the_old_file(tmp_path):
    path = tmp_path / "out.npy"
    write_vectors(path, [torch.ones(1, 2)], dim=2)

    def stop():
        yield torch.zeros(3, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_vectors(path, stop(), dim=2)
    with pytest.raises(DataError, match="vectors of 2 dimensions were announced, got 3"):
        write_vectors(path, [torch.zeros(1, 3)], dim=2)
    assert [file.name for file in tmp_path.iterdir()] == ["out.npy"]
    assert load_vectors(path).tolist() == [[1, 1]]


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match=r"there is no directory .*nowhere: make it first"):
        write_vectors(tmp_path / "nowhere" / "out.npy", [], dim=2)
    with pytest.raises(DataError, match=r"cannot write '\.npz': vectors are written to \.npy, \.fvecs"):
        write_vectors(tmp_path / "out.npz", [], dim=2)
