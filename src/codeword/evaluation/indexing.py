"""Indexes of files of vectors or codes, and what a search in them finds."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch

from codeword.codecs.vectors import VectorCodec
from codeword.codecs.vectors.codec import Progress
from codeword.data.vectors import VectorSource, check_finite, check_scale, load_vectors, open_vectors
from codeword.formats.atomic import atomic_write
from codeword.formats.container import MAGIC
from codeword.functional.kmeans import kmeans
from codeword.metrics.retrieval import recall_at
from codeword.quantizers import VectorQuantizer
from codeword.search import CodedIndex, FlatIndex, InvertedIndex, Neighbors, load_index

_RANKS = (1, 10, 100)
_PRINTED = 10  # queries whose neighbours are printed
_CHUNK = 8192  # vectors encoded between two calls of the progress
_SAMPLE = 256  # vectors per list that its centre is learned from

AnyIndex: TypeAlias = CodedIndex | InvertedIndex


class SearchSettings(NamedTuple):
    """What to search for, and what to do with it.

    Attributes:
        k: Neighbours per query.
        probes: Lists looked at per query, of an index with lists.
        out: File for ids and distances; without it they are told.
        base: The vectors that were indexed: to measure recall.
        column: Which column or array of the queries' file, and of ``base``, holds the vectors.
    """

    k: int = 10
    probes: int | None = None
    out: Path | None = None
    base: Path | None = None
    column: str | None = None


def build_index(
    model: Path, data: Path, *, lists: int = 0, column: str | None = None, progress: Progress | None = None
) -> AnyIndex:
    """An index of a matrix of vectors, or of a ``.cw`` file of the same model.

    Args:
        model: Folder of a trained model.
        data: Vectors or codes.
        lists: Inverted lists around centres learned from the vectors; 0 makes none.
        column: Which column or array of ``data`` holds the vectors.
        progress: Called with the vectors done and all vectors.

    Raises:
        ValueError: If files cannot be read or do not fit, or lists are asked of codes.
    """
    if lists < 0:
        raise ValueError(f"the number of lists must be at least 0, got {lists}")
    codec = VectorCodec.from_pretrained(model)
    if _holds_codes(data):
        if lists:
            raise ValueError(f"{data} holds codes, and lists need the vectors: pass the matrix, or lists=0")
        index = _coded(codec, model)
        with codec.open(data) as reader:
            for codes in reader:
                index.add_codes(torch.from_numpy(codes))
        return index
    source = open_vectors(data, column)
    if source.dim != codec.quantizer.dim:
        raise ValueError(
            f"{data} has vectors of {source.dim} features, the model takes {codec.quantizer.dim}: "
            "give data like that it was trained on"
        )
    empty = _coded(codec, model)
    grown = _inverted(codec, source, lists) if lists else empty
    for chunk in source.chunks(_CHUNK):
        check_scale(chunk, name=str(data))
        grown.add(chunk)
        if progress is not None:
            progress(len(grown), len(source))
    return grown


def _coded(codec: VectorCodec, model: Path) -> CodedIndex:
    try:
        return CodedIndex(codec.quantizer)
    except ValueError as error:
        raise ValueError(f"{model} cannot be searched in its codes: {error}") from error


def _holds_codes(data: Path) -> bool:
    if not data.is_file():
        return data.suffix == ".cw"
    with data.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_index(path: Path) -> FlatIndex | AnyIndex:
    """The index of a file.

    Raises:
        ValueError: In a line that names the file, if it is none or damaged.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the file of an index, as codeword index writes it")
    try:
        return load_index(path)
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} is damaged, make it again: {error}") from error


def search_report(index_path: Path, queries_path: Path, settings: SearchSettings) -> Iterator[str]:
    """Search; write or tell what was found; with the exact vectors, measure recall.

    Raises:
        ValueError: If files cannot be read or do not fit.
    """
    k, probes, out, base, column = settings
    if out is not None and out.suffix != ".npz":
        raise ValueError(f"{out}: ids and distances are written to .npz files: give a name that ends so")
    index = read_index(index_path)
    queries = load_vectors(queries_path, column)
    dim = index.dim if isinstance(index, FlatIndex) else index.quantizer.dim
    if queries.shape[1] != dim:
        raise ValueError(f"{queries_path} has vectors of {queries.shape[1]} features, {index_path} holds {dim}")
    check_scale(queries, name=str(queries_path))
    if not 1 <= k <= len(index):
        raise ValueError(f"{index_path} holds {len(index)} vectors: between 1 and {len(index)} neighbours, got k={k}")
    exact = None if base is None else _open_base(base, column, index_path, (len(index), dim))
    index.search(queries[:1], 1)  # the first call imports and compiles
    start = time.perf_counter()
    if probes is None:
        found = index.search(queries, k)
    elif isinstance(index, InvertedIndex):
        found = index.search(queries, k, probes=probes)
    else:
        raise ValueError(f"{index_path} has no lists to probe: leave probes out")
    rate = len(queries) / (time.perf_counter() - start)
    summary = f"{len(queries)} queries, {k} neighbours each, {rate:.0f} queries per second"
    if out is not None:
        with atomic_write(out) as file:
            np.savez(file, ids=found.ids.numpy(), distances=found.distances.numpy())
        yield f"{out}: {summary}"
    else:
        yield f"{summary}; {'row:squared distance' if index.metric == 'l2' else 'row:inner product'}, best first"
        yield from _lines(found)
    if exact is not None:
        yield from _recall(found, queries, exact)


def _inverted(codec: VectorCodec, source: VectorSource, lists: int) -> InvertedIndex:
    if lists > len(source):
        raise ValueError(f"{lists} lists need at least as many vectors, {source.path} has {len(source)}")
    places = torch.linspace(0, len(source) - 1, min(len(source), lists * _SAMPLE), dtype=torch.float64).long()
    sample = source[places]
    for row in torch.nonzero(~torch.isfinite(sample).all(1)).flatten()[:1].tolist():
        check_finite(sample[row : row + 1], int(places[row]), name=str(source.path))
    check_scale(sample, name=str(source.path))
    coarse = VectorQuantizer(source.dim, lists)
    coarse.codebook.assign(kmeans(sample, lists, steps=10))
    # The model was trained on vectors, not on what a centre leaves of them, so lists only choose what is scanned.
    return InvertedIndex(coarse.eval(), codec.quantizer, by_residual=False)


def _lines(found: Neighbors) -> Iterator[str]:
    for number, (ids, distances) in enumerate(zip(found.ids[:_PRINTED], found.distances, strict=False)):
        pairs = "  ".join(f"{i}:{d:.4g}" for i, d in zip(ids.tolist(), distances.tolist(), strict=True) if i >= 0)
        yield f"query {number}: {pairs}"
    if len(found.ids) > _PRINTED:
        yield f"... and {len(found.ids) - _PRINTED} more: pass --out to keep them"


def _open_base(base: Path, column: str | None, index_path: Path, shape: tuple[int, int]) -> VectorSource:
    source = open_vectors(base, column)
    if (len(source), source.dim) != shape:
        raise ValueError(
            f"{base} has {len(source)} vectors of {source.dim} features, {index_path} {shape[0]} of {shape[1]}: "
            "give the vectors that were indexed"
        )
    return source


def _recall(found: Neighbors, queries: torch.Tensor, base: VectorSource) -> Iterator[str]:
    exact = FlatIndex(base.dim)
    for chunk in base.chunks():
        exact.add(chunk)
    ranks = [rank for rank in _RANKS if rank <= found.ids.shape[1]]
    recall = recall_at(found.ids, exact.search(queries, 1).ids, ranks)
    for rank, value in zip(ranks, recall.values, strict=True):
        low, high = recall.interval(rank)[1:]
        yield f"recall@{rank}: {value:.4f} (95 % interval {low:.4f} to {high:.4f})"
