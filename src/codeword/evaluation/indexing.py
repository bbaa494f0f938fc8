"""Indexes of files of vectors or codes, and what a search in them finds."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from codeword.codecs.vectors import VectorCodec
from codeword.data.vectors import VectorSource, load_vectors, open_vectors
from codeword.formats.atomic import atomic_write
from codeword.functional.kmeans import kmeans
from codeword.metrics.retrieval import recall_at
from codeword.quantizers import VectorQuantizer
from codeword.search import CodedIndex, FlatIndex, InvertedIndex, Neighbors, load_index

_RANKS = (1, 10, 100)
_PRINTED = 10  # queries whose neighbours are printed
_SAMPLE = 256  # vectors per list that its centre is learned from

AnyIndex: TypeAlias = CodedIndex | InvertedIndex


def build_index(model: Path, data: Path, *, lists: int = 0, column: str | None = None) -> AnyIndex:
    """An index of a matrix of vectors, or of a ``.cw`` file of the same model.

    Args:
        model: Folder of a trained model.
        data: Vectors or codes.
        lists: Inverted lists around centres learned from the vectors; 0 makes none.
        column: Which column or array of ``data`` holds the vectors.

    Raises:
        ValueError: If files cannot be read or do not fit, or lists are asked of codes.
    """
    codec = VectorCodec.from_pretrained(model)
    if data.suffix == ".cw":
        if lists:
            raise ValueError(f"{data} holds codes, and lists need the vectors: pass the matrix, or lists=0")
        index = CodedIndex(codec.quantizer)
        with codec.open(data) as reader:
            for codes in reader:
                index.add_codes(torch.from_numpy(codes))
        return index
    source = open_vectors(data, column)
    grown = _inverted(codec, source, lists) if lists else CodedIndex(codec.quantizer)
    for chunk in source.chunks():
        grown.add(chunk)
    return grown


def search_report(
    index_path: Path, queries_path: Path, *, k: int, probes: int | None, out: Path | None, base: Path | None
) -> Iterator[str]:
    """Search; write or print what was found; with the exact vectors, measure recall.

    Raises:
        ValueError: If files cannot be read or do not fit.
    """
    index, queries = load_index(index_path), load_vectors(queries_path)
    if probes is None:
        found = index.search(queries, k)
    elif isinstance(index, InvertedIndex):
        found = index.search(queries, k, probes=probes)
    else:
        raise ValueError(f"{index_path} has no lists to probe: leave --probes out")
    if out is not None:
        with atomic_write(out) as file:
            np.savez(file, ids=found.ids.numpy(), distances=found.distances.numpy())
        yield f"{out}: {len(queries)} queries, {k} neighbours each"
    else:
        yield from _lines(found)
    if base is not None:
        yield from _recall(found, queries, base)


def _inverted(codec: VectorCodec, source: VectorSource, lists: int) -> InvertedIndex:
    if lists > len(source):
        raise ValueError(f"{lists} lists need at least as many vectors, got {len(source)}")
    places = torch.linspace(0, len(source) - 1, min(len(source), lists * _SAMPLE)).long()
    coarse = VectorQuantizer(source.dim, lists)
    coarse.codebook.assign(kmeans(source[places], lists, steps=10))
    # The model was trained on vectors, not on what a centre leaves of them, so lists only choose what is scanned.
    return InvertedIndex(coarse.eval(), codec.quantizer, by_residual=False)


def _lines(found: Neighbors) -> Iterator[str]:
    for number, (ids, distances) in enumerate(zip(found.ids[:_PRINTED], found.distances, strict=False)):
        pairs = "  ".join(f"{i}:{d:.4g}" for i, d in zip(ids.tolist(), distances.tolist(), strict=True) if i >= 0)
        yield f"query {number}: {pairs}"
    if len(found.ids) > _PRINTED:
        yield f"... and {len(found.ids) - _PRINTED} more: pass --out to keep them"


def _recall(found: Neighbors, queries: torch.Tensor, base: Path) -> Iterator[str]:
    exact = FlatIndex(queries.shape[1])
    for chunk in open_vectors(base).chunks():
        exact.add(chunk)
    ranks = [rank for rank in _RANKS if rank <= found.ids.shape[1]]
    recall = recall_at(found.ids, exact.search(queries, 1).ids, ranks)
    for rank, value in zip(ranks, recall.values, strict=True):
        low, high = recall.interval(rank)[1:]
        yield f"recall@{rank}: {value:.4f} (95 % interval {low:.4f} to {high:.4f})"
