"""Embeddings of a data set in files: rows of numbers, and which item every row is of."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float32

from codeword.data.listing import Item, Listing
from codeword.formats.atomic import atomic_write
from codeword.nn.pooling import widening
from codeword.pretraining.encoder import Encoder, Pooling


class Embedding(NamedTuple):
    """Which features: see ``Encoder.extract``.

    Attributes:
        layer: Which block's output: 0 is the first's, -1 the last's.
        pooling: Of the patches.
        norm: Whether the network's last norm is applied.
    """

    layer: int = -1
    pooling: Pooling = "mean"
    norm: bool = True


Progress = Callable[[float, float | None], object]
_COLUMNS = ("path", "place", "start", "split", "group", "labels")


def outputs(out: Path, pooling: Pooling) -> list[Path]:
    """The files that an extraction writes.

    Raises:
        ValueError: If the ending is not known, or cannot hold what is asked for.
    """
    suffix = out.suffix.lower()
    if suffix == ".npy":
        return [out, out.with_suffix(".csv")]
    if suffix != ".parquet":
        raise ValueError(f"embeddings are written to .npy or .parquet files, got {out}")
    if pooling == "none":
        raise ValueError("a Parquet file holds one vector for every item: pool the patches, or give a .npy file")
    return [out]


def extract(
    encoder: Encoder,
    listing: Listing,
    out: Path,
    embedding: Embedding | None = None,
    *,
    batch: int = 64,
    workers: int = 0,
    progress: Progress | None = None,
) -> tuple[int, ...]:
    """Write the features of all items, in their order, as float32.

    Args:
        encoder: With a front end.
        listing: Items that can be read.
        out: A ``.npy`` or ``.parquet`` file.
        embedding: Which features; without pooling rows are (patches, dim), and 0 in padding.
        batch: Items at a time.
        workers: Threads that read files.
        progress: Called with items done and in all.

    Returns:
        The shape of what was written.

    Raises:
        ValueError: If there is no item, or something cannot be read.
    """
    if encoder.front_end is None or not len(listing):
        raise ValueError("there is nothing to extract: the listing has no items, or the encoder no front end")
    layer, pooling, norm = embedding or Embedding()
    files = outputs(out, pooling)
    samples = encoder.front_end.samples(listing, encoder.config.patch, workers=workers)
    count = len(listing)
    device = next(encoder.parameters()).device

    def parts() -> Iterator[Float32[np.ndarray, "rows *_"]]:
        for start in range(0, count, batch):
            numbers = list(range(start, min(start + batch, count)))
            inputs = samples.inputs(numbers, [0] * len(numbers))
            values, valid = inputs
            moved = inputs._replace(values=values.to(device), valid=None if valid is None else valid.to(device))
            found = encoder.extract(moved, layer, pooling=pooling, norm=norm).float().cpu()
            if pooling == "none" and valid is not None:
                found = found * valid.unsqueeze(-1)
            yield found.numpy()
            if progress is not None:
                progress(numbers[-1] + 1, count)

    grid = samples.grid if pooling == "none" else ()
    wider = 1 if pooling == "none" else widening(pooling, samples.grid)
    shape = (count, *([int(np.prod(grid))] if grid else []), encoder.config.dim * wider)
    if len(files) == 1:
        _write_parquet(out, listing, parts())
        return shape
    with atomic_write(out) as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts():
            file.write(part.astype("<f4").tobytes())
    with atomic_write(files[1]) as file:
        _write_rows(file, listing)
    return shape


def _cells(item: Item) -> tuple[Any, ...]:
    return str(item.path), item.place, item.start, item.split, item.group, ";".join(item.labels)


def _write_rows(file: BinaryIO, listing: Listing) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    writer.writerows(_cells(item) for item in listing.items)
    file.write(text.getvalue().encode())


def _write_parquet(out: Path, listing: Listing, parts: Iterator[Float32[np.ndarray, "rows dim"]]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError(f"{out}: Parquet files need pyarrow: pip install 'codeword[data]'") from error
    done = 0
    with atomic_write(out) as file:
        writer = None
        for part in parts:
            items = listing.items[done : done + len(part)]
            done += len(part)
            columns = dict(zip(_COLUMNS, zip(*(_cells(item) for item in items), strict=True), strict=True))
            rows = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1])
            table = pa.table({name: list(cells) for name, cells in columns.items()} | {"embedding": rows})
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
