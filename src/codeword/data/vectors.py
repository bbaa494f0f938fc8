"""Matrices of vectors in files: .npy, .npz, .fvecs, .bvecs, .ivecs and Parquet columns, read as float32 tensors.

``.npy`` and ``*vecs`` files are memory-mapped: a chunk is read when it is asked for, so a file may be larger than
memory. Pickles are never opened.
"""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.formats.atomic import atomic_write

_VECS = {".fvecs": np.dtype("<f4"), ".bvecs": np.dtype("u1"), ".ivecs": np.dtype("<i4")}
_NAMED = (".npz", ".parquet")
_READABLE = (".npy", *_VECS, *_NAMED)
_WRITABLE = (".npy", ".fvecs")
_HEAD = np.dtype("<i4")  # every vector of a *vecs file starts with its dimension


class DataError(ValueError):
    """A file of vectors that cannot be used; the message is one line that names the file."""


@dataclass(frozen=True, eq=False)
class VectorSource:
    """The vectors of one file, read as they are asked for.

    ``source[10:20]`` and ``source[torch.tensor([4, 7])]`` are float32 tensors; integers beyond 2^24 lose digits
    there, and ``rows`` has them in the file's own type.

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
        DataError: It names the row, ``first_row`` plus its place in the chunk, and says how many the chunk has.
    """
    if not chunk.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(chunk))).all()):
        return  # one pass: a NaN wins every minimum and maximum
    bad = torch.nonzero(~torch.isfinite(chunk).all(dim=1)).squeeze(1)
    raise DataError(
        f"{name}: row {first_row + int(bad[0])} is not finite (NaN, infinite or beyond float32); {len(bad)} such "
        f"among rows {first_row}..{first_row + len(chunk) - 1}: remove or repair them"
    )


def check_scale(chunk: Float[Tensor, "rows dim"], *, name: str = "data") -> None:
    """Refuse numbers so large that squared distances leave float32.

    Raises:
        DataError: It names the largest number and the limit.
    """
    if not chunk.numel():
        return
    low, high = torch.aminmax(chunk)
    # Two vectors at opposite ends differ by twice the largest number in every feature.
    largest, limit = max(-float(low), float(high)), math.sqrt(torch.finfo(torch.float32).max / chunk.shape[1]) / 2
    if largest > limit:
        raise DataError(
            f"{name} holds numbers up to {largest:.3g}: squared distances leave float32 beyond {limit:.3g}, scale it "
            "down"
        )


def open_vectors(path: str | Path, column: str | Sequence[str] | None = None) -> VectorSource:
    """Open a file of vectors; ``.npy`` and ``*vecs`` files are mapped, the others are read.

    Args:
        path: A ``.npy``, ``.npz``, ``.fvecs``, ``.bvecs``, ``.ivecs`` or ``.parquet`` file.
        column: Of a ``.npz``, the name of the array (by default the only 2-D one). Of a Parquet file, one column of
            lists, or the numeric columns that make up a vector (by default the only column of lists, else all numeric
            columns).

    Raises:
        DataError: The file is missing, empty, damaged, of another format, or holds no matrix of real numbers.
    """
    path, column = Path(path), column or None
    suffix = path.suffix.lower()
    if path.is_dir():
        raise DataError(f"{path} is a directory: give one file of vectors ({', '.join(_READABLE)})")
    if suffix not in _READABLE:
        raise DataError(
            f"{path}: unknown kind of file {suffix!r}: vectors are read from {', '.join(_READABLE)}; numpy.save makes "
            "a .npy of any array"
        )
    if not path.exists():
        raise DataError(f"{path} does not exist: give a file of vectors")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty (0 bytes)")
    if column is not None and suffix not in _NAMED:
        raise DataError(f"{path}: a {suffix} file has no named columns: leave out {column!r}")
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
    """Read a whole file of vectors and check that they are finite; formats and errors are those of ``open_vectors``."""
    vectors = open_vectors(path, column)[:]
    check_finite(vectors, name=str(path))
    return vectors


def write_vectors(path: str | Path, chunks: Iterable[Float[Tensor, "_ dim"]], *, dim: int) -> int:
    """Write float32 vectors to a ``.npy`` or ``.fvecs`` file, chunk by chunk, and return how many there were.

    The file appears under its name only once it is complete; an interrupted write leaves nothing.

    Raises:
        DataError: The suffix is another one, or a chunk has another dimension than ``dim``.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no directory {path.parent}: make it first")
    write = _writer(path)
    with atomic_write(path) as file:
        return write(file, _arrays(path, chunks, dim), dim)


def check_writable(path: str | Path) -> None:
    """Refuse a name that ``write_vectors`` cannot write, before there is anything to write.

    Raises:
        DataError: The suffix names no format of vectors.
    """
    _writer(Path(path))


def _writer(path: Path) -> Callable[[BinaryIO, Iterable[npt.NDArray[np.float32]], int], int]:
    if path.suffix.lower() not in _WRITABLE:
        raise DataError(f"{path}: cannot write {path.suffix!r}: vectors are written to {', '.join(_WRITABLE)}")
    return _write_npy if path.suffix.lower() == ".npy" else _write_fvecs


def _arrays(path: Path, chunks: Iterable[Float[Tensor, "_ dim"]], dim: int) -> Iterator[npt.NDArray[np.float32]]:
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


def _check_matrix(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "fiu":
        raise DataError(f"{path} holds {dtype} values, not real numbers: convert it to float32")
    if len(shape) != 2:
        raise DataError(f"{path} holds an array of shape {shape}: vectors need two axes, (vectors, dimensions)")
    if min(shape) < 1:
        raise DataError(f"{path} holds no vectors: its shape is {shape}")


def _open_vecs(path: Path, dtype: np.dtype[Any]) -> VectorSource:
    """Each vector: its dimension as an int32, then so many numbers; little-endian."""
    total = path.stat().st_size
    if total < _HEAD.itemsize:
        raise DataError(f"{path} is truncated: {total} bytes are less than the {_HEAD.itemsize} of one dimension")
    dim = int(np.fromfile(path, _HEAD, 1)[0])
    if dim < 1:
        raise DataError(f"{path}: the first vector claims {dim} dimensions: this is no {path.suffix} file")
    record = _HEAD.itemsize + dim * dtype.itemsize
    if total % record:
        raise DataError(
            f"{path} is truncated or mixes dimensions: {total} bytes are no multiple of {record}, a {dim}-vector"
        )
    records = np.memmap(path, np.dtype([("head", _HEAD), ("vector", dtype, (dim,))]), mode="r")
    return VectorSource(path, records["vector"], records["head"])


@runtime_checkable
class _Stream(Protocol):
    """What a file on disk and a member of an archive have in common."""

    def read(self, size: int = -1, /) -> bytes: ...
    def tell(self) -> int: ...


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int  # of the data, in bytes


def _npy_header(path: Path, file: _Stream) -> _Header:
    """What an array in the .npy format says of itself; nothing is unpickled, whatever it says."""
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        return _Header(*read(file), file.tell())
    except (ValueError, KeyError, tokenize.TokenError) as error:
        raise DataError(f"{path} is no .npy array of numbers, or its header is damaged") from error


def _check_complete(path: Path, header: _Header, total: int) -> None:
    _check_matrix(path, header.shape, header.dtype)
    present, needed = total - header.start, math.prod(header.shape) * header.dtype.itemsize
    if present < needed:
        raise DataError(f"{path} is truncated: {header.shape} {header.dtype} needs {needed} bytes, {present} are there")


def _map_npy(path: Path) -> npt.NDArray[Any]:
    with path.open("rb") as file:
        header = _npy_header(path, file)
    _check_complete(path, header, path.stat().st_size)
    return np.memmap(path, header.dtype, "r", header.start, header.shape, "F" if header.fortran else "C")


def _read_npz(path: Path, column: str | Sequence[str] | None) -> npt.NDArray[Any]:
    if not (column is None or isinstance(column, str)):
        raise DataError(f"{path}: vectors are one array of a .npz file, got {len(column)} names: give one")
    try:
        with zipfile.ZipFile(path) as archive:
            entry = _npz_entry(path, archive, column)
            with archive.open(entry) as file:
                _check_complete(path, _npy_header(path, file), entry.file_size)
            with archive.open(entry) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a .npz archive, is it damaged? {error}") from error


def _npz_entry(path: Path, archive: zipfile.ZipFile, name: str | None) -> zipfile.ZipInfo:
    """The array of that name, or the only one with two axes."""
    arrays = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    listed = ", ".join(arrays) or "nothing"
    if name is not None:
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r}: it holds {listed}")
        return arrays[name]
    matrices = []
    for entry in arrays.values():
        with archive.open(entry) as file:
            if len(_npy_header(path, file).shape) == 2:
                matrices.append(entry)
    if not matrices:
        raise DataError(f"{path} holds no array with two axes, (vectors, dimensions): it holds {listed}")
    if len(matrices) > 1:
        raise DataError(f"{path} holds {len(matrices)} arrays with two axes, not one: name one of {listed}")
    return matrices[0]


def _read_parquet(path: Path, column: str | Sequence[str] | None) -> npt.NDArray[Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise DataError(f"{path}: Parquet files need pyarrow: pip install 'codeword[data]'") from error
    try:
        schema = pq.read_schema(path)
        names = _parquet_names(path, schema, column)
        table = pq.read_table(path, columns=names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read as a Parquet file, is it damaged? {reason}") from error
    for name in names:
        if table[name].null_count:
            raise DataError(f"{path}: column {name!r} has {table[name].null_count} missing values: remove or fill them")
    if len(names) == 1 and _is_list(schema.field(names[0]).type):
        return _list_rows(path, names[0], table[names[0]])
    for name in names:
        if not _is_number(schema.field(name).type):
            raise DataError(f"{path}: column {name!r} is {schema.field(name).type}, not numbers: choose other columns")
    return np.stack([table[name].to_numpy() for name in names], axis=1)


def _parquet_names(path: Path, schema: Any, column: str | Sequence[str] | None) -> list[str]:
    if column is not None:
        names = [column] if isinstance(column, str) else list(column)
        for name in names:
            if name not in schema.names:
                raise DataError(f"{path} has no column {name!r}: it holds {', '.join(schema.names)}")
        return names
    lists = [field.name for field in schema if _is_list(field.type)]
    if len(lists) > 1:
        raise DataError(f"{path} has {len(lists)} columns of lists: name one of {', '.join(lists)}")
    names = lists or [field.name for field in schema if _is_number(field.type)]
    if not names:
        raise DataError(f"{path} has no column of numbers or of lists: it holds {', '.join(schema.names)}")
    return names


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return types.is_integer(kind) or types.is_floating(kind)


def _list_rows(path: Path, name: str, column: Any) -> npt.NDArray[Any]:
    """One matrix from the chunks of a column of lists."""
    import pyarrow.compute as pc

    if not _is_number(column.type.value_type):
        raise DataError(f"{path}: column {name!r} holds lists of {column.type.value_type}, not of numbers")
    if not len(column):
        return np.empty((0, 0), np.float32)
    values = [chunk.flatten() for chunk in column.chunks]
    missing = sum(part.null_count for part in values)
    if missing:
        raise DataError(f"{path}: the lists of column {name!r} have {missing} missing values: remove or fill them")
    lengths = pc.call_function("list_value_length", [column]).to_numpy()
    dim = int(lengths[0])
    if len(wrong := np.flatnonzero(lengths != dim)):
        raise DataError(f"{path}: column {name!r} has {lengths[wrong[0]]} numbers in row {wrong[0]}, {dim} in row 0")
    return np.concatenate([part.to_numpy(zero_copy_only=False) for part in values]).reshape(len(column), dim)
