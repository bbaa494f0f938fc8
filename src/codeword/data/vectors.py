"""Matrices of vectors in files: .npy, .npz, .fvecs, .bvecs, .ivecs and Parquet columns, read as float32 tensors.

``.npy`` and ``*vecs`` files are memory-mapped: a chunk is read when it is asked for, so a file may be larger than memory.
Pickles are never opened.
"""

import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    import pyarrow as pa

_VECS = {".fvecs": np.dtype("<f4"), ".bvecs": np.dtype("u1"), ".ivecs": np.dtype("<i4")}
_READABLE = (".npy", ".npz", *_VECS, ".parquet")
_WRITABLE = (".npy", ".fvecs")
_HEAD = np.dtype("<i4")  # every vector of a *vecs file starts with its dimension


class DataError(ValueError):
    """A file of vectors that cannot be used; the message is one line that names the file."""


@dataclass(frozen=True, eq=False)
class VectorSource:
    """The vectors of one file, read as they are asked for.

    ``source[10:20]`` and ``source[torch.tensor([4, 7])]`` are float32 tensors; integers beyond 2^24 lose digits there, and
    ``rows`` has them in the file's own type.

    Attributes:
        path: Where they are stored.
        rows: The matrix ``(vectors, dim)`` in the file's own type, memory-mapped where the format allows.
        heads: Of a ``*vecs`` file, the dimension that each vector claims.
    """

    path: Path
    rows: npt.NDArray[Any]
    heads: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return self.rows.shape[0]

    @property
    def dim(self) -> int:
        """Features of a vector."""
        return self.rows.shape[1]

    def __getitem__(self, places: slice | Int[Tensor, " rows"]) -> Float[Tensor, "rows dim"]:
        index = places if isinstance(places, slice) else places.numpy(force=True)
        if self.heads is not None and len(wrong := np.flatnonzero(self.heads[index] != self.dim)):
            row = np.arange(len(self))[index][wrong[0]]
            raise DataError(
                f"{self.path}: vector {row} has {self.heads[row]} dimensions, those before it {self.dim}: "
                "the file is damaged or mixes vectors"
            )
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is named by check_finite
            return torch.from_numpy(np.array(self.rows[index], dtype=np.float32, order="C"))

    def chunks(self, rows: int = 65536) -> Iterator[Float[Tensor, "rows dim"]]:
        """All vectors in order, ``rows`` at a time, checked to be finite.

        Raises:
            DataError: A vector has a NaN or an infinity, or another dimension than the first.
        """
        if rows < 1:
            raise ValueError(f"a chunk needs at least 1 row, got {rows}")
        for start in range(0, len(self), rows):
            chunk = self[start : start + rows]
            check_finite(chunk, start, name=str(self.path))
            yield chunk


def check_finite(chunk: Float[Tensor, "rows dim"], first_row: int = 0, *, name: str = "data") -> None:
    """Refuse vectors with a NaN or an infinity, naming the first of them.

    Raises:
        DataError: With the row's number in the file, ``first_row`` plus its place in the chunk, and how many the chunk has.
    """
    if not chunk.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(chunk))).all()):
        return  # one pass: a NaN wins every minimum and maximum
    bad = torch.nonzero(~torch.isfinite(chunk).all(dim=1)).squeeze(1)
    rows = f"rows {first_row}..{first_row + len(chunk) - 1}"
    raise DataError(
        f"{name}: row {first_row + int(bad[0])} is not finite (NaN, infinite or beyond float32); {len(bad)} such among {rows}: "
        "remove or repair them"
    )


def open_vectors(path: str | Path, column: str | Sequence[str] | None = None) -> VectorSource:
    """Open a file of vectors without reading them.

    Args:
        path: A ``.npy``, ``.npz``, ``.fvecs``, ``.bvecs``, ``.ivecs`` or ``.parquet`` file.
        column: Of a ``.npz``, the name of the array (by default the only 2-D one). Of a Parquet file, one column of lists, or the numeric
            columns that make up a vector (by default the only column of lists, else all numeric columns).

    Raises:
        DataError: The file is missing, empty, damaged, of another format, or holds no matrix of real numbers.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if path.is_dir():
        raise DataError(f"{path} is a directory: give one file of vectors ({', '.join(_READABLE)})")
    if suffix not in _READABLE:
        raise DataError(f"{path}: unknown kind of file {suffix!r}: vectors are read from {', '.join(_READABLE)}")
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty (0 bytes)")
    if suffix in _VECS:
        return _open_vecs(path, _VECS[suffix])
    if suffix == ".npy":
        rows = _map_npy(path)
    elif suffix == ".npz":
        rows = _read_npz(path, column)
    else:
        rows = _read_parquet(path, column)
    _check_matrix(path, rows.shape, rows.dtype)
    return VectorSource(path, rows)


def load_vectors(path: str | Path, column: str | Sequence[str] | None = None) -> Float[Tensor, "rows dim"]:
    """Read a whole file of vectors; see ``open_vectors`` for the formats and the errors. All vectors are checked to be finite."""
    source = open_vectors(path, column)
    vectors = source[:]
    check_finite(vectors, name=str(path))
    return vectors


def write_vectors(path: str | Path, chunks: Iterable[Float[Tensor, "_ dim"]], *, dim: int) -> int:
    """Write float32 vectors to a ``.npy`` or ``.fvecs`` file, chunk by chunk, and return how many there were.

    The file appears under its name only once it is complete; an interrupted write leaves nothing.

    Raises:
        DataError: The suffix is another one, or a chunk has another dimension than ``dim``.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITABLE:
        raise DataError(f"{path}: cannot write {path.suffix!r}: vectors are written to {', '.join(_WRITABLE)}")
    write = _write_npy if path.suffix.lower() == ".npy" else _write_fvecs
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            count = write(file.file, _arrays(path, chunks, dim), dim)
            file.flush()
            os.fsync(file.fileno())
            _give_usual_mode(file.name)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink()
            raise
    return count


def _arrays(
    path: Path, chunks: Iterable[Float[Tensor, "_ dim"]], dim: int
) -> Iterator[npt.NDArray[np.float32]]:
    for chunk in chunks:
        if chunk.shape[1] != dim:
            raise DataError(f"{path}: vectors of {dim} dimensions were announced, got {chunk.shape[1]}")
        yield np.ascontiguousarray(chunk.detach().numpy(force=True), dtype="<f4")


def _write_npy(file: BinaryIO, arrays: Iterable[npt.NDArray[np.float32]], dim: int) -> int:
    """The header comes last: NumPy pads it so that a larger count still fits into the same bytes."""

    def write_header(count: int) -> int:
        file.seek(0)
        header = {"descr": "<f4", "fortran_order": False, "shape": (count, dim)}
        np.lib.format.write_array_header_1_0(file, header)
        return file.tell()

    start, count = write_header(0), 0
    for array in arrays:
        file.write(array.data)
        count += len(array)
    assert write_header(count) == start
    return count


def _write_fvecs(file: BinaryIO, arrays: Iterable[npt.NDArray[np.float32]], dim: int) -> int:
    count = 0
    for array in arrays:
        records = np.empty(len(array), dtype=[("head", _HEAD), ("vector", "<f4", (dim,))])
        records["head"], records["vector"] = dim, array
        file.write(records.tobytes())
        count += len(array)
    return count


def _give_usual_mode(name: str) -> None:
    """A temporary file is private; the finished one gets the permissions of any new file."""
    mask = os.umask(0)
    os.umask(mask)
    Path(name).chmod(0o666 & ~mask)


def _check_matrix(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "fiu":
        raise DataError(f"{path} holds {dtype} values, not real numbers: convert it to float32")
    if len(shape) != 2:
        raise DataError(f"{path} holds an array of shape {shape}: vectors need two axes, (vectors, dimensions)")
    if 0 in shape:
        raise DataError(f"{path} holds no vectors: its shape is {shape}")


def _open_vecs(path: Path, dtype: np.dtype[Any]) -> VectorSource:
    """Each vector: its dimension as an int32, then so many numbers; little-endian."""
    total = path.stat().st_size
    if total < _HEAD.itemsize:
        raise DataError(f"{path} is truncated: {total} bytes are less than one header of {_HEAD.itemsize}")
    dim = int(np.fromfile(path, _HEAD, 1)[0])
    record = _HEAD.itemsize + max(dim, 0) * dtype.itemsize
    if dim < 1:
        raise DataError(f"{path}: the first vector claims {dim} dimensions: this is no {path.suffix} file")
    if total % record:
        raise DataError(
            f"{path} is truncated or mixes dimensions: {total} bytes are not a multiple of {record}, a vector of {dim} dimensions"
        )
    records = np.memmap(path, np.dtype([("head", _HEAD), ("vector", dtype, (dim,))]), mode="r")
    return VectorSource(path, records["vector"], records["head"])


def _npy_header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and type, of which the last must be real numbers: that keeps pickles out."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except (ValueError, KeyError) as error:
        raise DataError(f"{path} is no .npy array of numbers or its header is damaged") from error
    _check_matrix(path, shape, dtype)
    return shape, fortran, dtype


def _map_npy(path: Path) -> npt.NDArray[Any]:
    with path.open("rb") as file:
        shape, fortran, dtype = _npy_header(path, file)
        start = file.tell()
    present, needed = path.stat().st_size - start, shape[0] * shape[1] * dtype.itemsize
    if present < needed:
        raise DataError(f"{path} is truncated: shape {shape} of {dtype} needs {needed} bytes, {present} are there")
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def _read_npz(path: Path, column: str | Sequence[str] | None) -> npt.NDArray[Any]:
    if not (column is None or isinstance(column, str)):
        raise DataError(f"{path}: vectors are one array of a .npz file, got {len(column)} names: give one")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            name = _matrix_name(path, archive, names) if column is None else column
            if name not in names:
                raise DataError(f"{path} has no array {name!r}: it holds {', '.join(names) or 'nothing'}")
            with archive.open(f"{name}.npy") as file:
                _npy_header(path, file)
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(f"{path} is damaged or no .npz archive: {error}") from error


def _matrix_name(path: Path, archive: zipfile.ZipFile, names: Sequence[str]) -> str:
    """The only array with two axes, found by the headers alone."""
    matrices = []
    for name in names:
        with archive.open(f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
        matrices.append(name)
    return matrices[0]


def _read_parquet(path: Path, column: str | Sequence[str] | None) -> npt.NDArray[Any]:
    return np.empty(0)
