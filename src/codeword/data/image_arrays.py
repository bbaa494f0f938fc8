"""Files that hold many images: IDX as of MNIST, CIFAR batches in their binary and their Python version.

Nothing is read before it is asked for. A compressed IDX file is unpacked once a process to a temporary file, so that
an image costs its own bytes of memory and not those of all.
"""

import gzip
import math
import pickle
import re
import shutil
import struct
import tempfile
import zlib
from functools import lru_cache
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

_IDX = re.compile(r"idx\d-ubyte(\.gz)?$")
_CIFAR = re.compile(r"((data_batch_\d+|test_batch)(\.bin)?|(train|test)\.bin)$")
_BYTES = 0x08  # IDX's name for the type of its numbers
_COLOURS, _SIDE = 3, 32  # of a CIFAR image
_PIXELS = _COLOURS * _SIDE * _SIDE
# What numpy's own arrays name when they are pickled, by old and new versions; nothing here runs code of a file.
_HARMLESS = {
    *((home, "_reconstruct") for home in ("numpy.core.multiarray", "numpy._core.multiarray")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class ImageError(ValueError):
    """An image, or a listing of images, that cannot be used; the message is one line that names the file."""


class Batch(NamedTuple):
    """A CIFAR batch.

    Attributes:
        pixels: Images, channels first.
        labels: Number of the class of every image, the fine one of CIFAR-100.
    """

    pixels: UInt8[np.ndarray, "count channels height width"]
    labels: tuple[int, ...]


def holds_many(path: Path) -> bool:
    """Whether a path is named like a file of many images."""
    return is_idx(path) or is_cifar(path)


def is_idx(path: Path) -> bool:
    """Whether a path is named like an IDX file."""
    return bool(_IDX.search(path.name))


def is_cifar(path: Path) -> bool:
    """Whether a path is named like a CIFAR batch."""
    if path.name in ("train", "test"):  # common names; the Python version of CIFAR-100 has its classes beside them
        return path.with_name("meta").is_file()
    return bool(_CIFAR.match(path.name))


def array_image(path: Path, place: int) -> UInt8[np.ndarray, "channels height width"]:
    """An image of a file of many.

    Raises:
        ImageError: If the file is damaged or holds fewer.
    """
    pixels = idx_array(path)[:, None] if is_idx(path) else cifar_batch(path).pixels
    if not 0 <= place < len(pixels):
        raise ImageError(f"{path} holds {len(pixels)} images: there is no number {place}")
    return np.array(pixels[place])


def idx_shape(path: Path) -> tuple[int, ...]:
    """Lengths of the axes of an IDX file, from its header."""
    try:
        with _plain(path) as file:
            return _idx_header(path, file)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error


def idx_array(path: Path) -> UInt8[np.ndarray, "..."]:
    """The numbers of an IDX file, memory-mapped.

    Raises:
        ImageError: If it is missing, no IDX file of bytes, or shorter or longer than its header says.
    """
    return _idx_array(path, *_state(path))


def cifar_batch(path: Path) -> Batch:
    """Images and labels of a CIFAR-10 or CIFAR-100 batch: binary ones mapped, Python ones read whole.

    Raises:
        ImageError: If it is missing or no such batch.
    """
    return _cifar_batch(path, *_state(path))


def _state(path: Path) -> tuple[int, int]:
    """What tells a file from one that took its place."""
    try:
        status = path.stat()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=8)
def _idx_array(path: Path, size: int, _changed: int) -> UInt8[np.ndarray, "..."]:
    try:
        with _plain(path) as file:
            shape = _idx_header(path, file)
            head = file.tell()
            if path.suffix != ".gz":
                if size != head + math.prod(shape):
                    raise ImageError(
                        f"{path} is damaged: {size} bytes, and its header tells of {head + math.prod(shape)}"
                    )
                return np.memmap(path, np.uint8, "r", head, shape)
            with tempfile.TemporaryFile() as unpacked:  # the map alone keeps it alive
                shutil.copyfileobj(file, unpacked)
                size, head = unpacked.tell(), 0
                if size == math.prod(shape) > 0:
                    return np.memmap(unpacked, np.uint8, "r", 0, shape)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error
    if size:
        raise ImageError(f"{path} is damaged: {size} numbers, and its header tells of {math.prod(shape)}")
    return np.zeros(shape, np.uint8)


def _plain(path: Path) -> BufferedIOBase:
    return gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")


def _idx_header(path: Path, file: BufferedIOBase) -> tuple[int, ...]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] != _BYTES or start[3] not in (1, 3):
        raise ImageError(f"{path} is no IDX file of labels or grey images: it starts with {start!r}")
    lengths = file.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        raise ImageError(f"{path} is truncated: it ends within its header")
    return struct.unpack(f">{start[3]}I", lengths)


@lru_cache(maxsize=8)
def _cifar_batch(path: Path, size: int, _changed: int) -> Batch:
    if path.suffix == ".bin":
        labels = 1 if _is_ten(path) else 2  # CIFAR-100 has a coarse label before the fine one
        if not size or size % (labels + _PIXELS):
            raise ImageError(
                f"{path} is damaged: {size} bytes are no multiple of {labels + _PIXELS}, those of an image"
            )
        rows = np.memmap(path, np.uint8, "r").reshape(-1, labels + _PIXELS)
        return Batch(rows[:, labels:].reshape(-1, _COLOURS, _SIDE, _SIDE), tuple(rows[:, labels - 1].tolist()))
    record = read_pickle(path)
    pixels, labels = record.get(b"data"), record.get(b"labels" if _is_ten(path) else b"fine_labels")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
        raise ImageError(f"{path} is no CIFAR batch: it has no images of {_PIXELS} bytes under 'data'")
    if not isinstance(labels, list) or len(labels) != len(pixels) or not all(isinstance(one, int) for one in labels):
        raise ImageError(f"{path} is no CIFAR batch: it has no label for each of its {len(pixels)} images")
    return Batch(pixels.reshape(-1, _COLOURS, _SIDE, _SIDE), tuple(labels))


def _is_ten(path: Path) -> bool:
    return "_batch" in path.name


def read_pickle(path: Path) -> dict[bytes, Any]:
    """The record of a CIFAR file in Python's own format, of which nothing but containers and arrays is allowed.

    Raises:
        ImageError: If it names anything else, which could be a program.
    """
    try:
        with path.open("rb") as file:
            record = _Harmless(file, encoding="bytes").load()
    except ImageError as error:
        raise ImageError(f"{path} {error}: take the binary version of CIFAR") from error
    except Exception as error:  # a damaged pickle may fail in any way
        raise _damaged(path, error) from error
    if not isinstance(record, dict):
        raise ImageError(f"{path} is no CIFAR file: it holds {type(record).__name__}, not a dict")
    return {key if isinstance(key, bytes) else str(key).encode(): value for key, value in record.items()}


class _Harmless(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise ImageError(f"asks for {module}.{name}, which could run a program of its own")
        return super().find_class(module, name)


def _damaged(path: Path, error: Exception) -> ImageError:
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ImageError(f"{path} is damaged or cannot be read: {' '.join(told.split())}")
