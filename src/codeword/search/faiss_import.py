"""Indexes of FAISS as indexes of codeword; no vector is encoded again."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Integer, UInt8
from torch import Tensor

from codeword.functional.bits import unpack_rows
from codeword.quantizers.base import Quantizer
from codeword.quantizers.vector import VectorQuantizer
from codeword.quantizers.wrappers import Rotated
from codeword.search.coded import CodedIndex
from codeword.search.families import Family, quantizer_of
from codeword.search.flat import FlatIndex
from codeword.search.inverted import InvertedIndex
from codeword.search.shortlist import Metric


def import_index(faiss: Any, index: Any) -> FlatIndex | CodedIndex | InvertedIndex:
    """What an index of FAISS holds.

    Raises:
        ValueError: If its class, its metric or its numbering has no counterpart here.
    """
    index = faiss.downcast_index(index)
    if not index.is_trained:
        raise ValueError(f"this {type(index).__name__} of FAISS is not trained: it has no codebooks to read")
    metrics: dict[int, Metric] = {faiss.METRIC_L2: "l2", faiss.METRIC_INNER_PRODUCT: "ip"}
    if index.metric_type not in metrics:
        raise ValueError(f"FAISS metric {index.metric_type} has no counterpart: only L2 and inner product have")
    metric = metrics[index.metric_type]
    rotation, inner = None, index
    if isinstance(index, faiss.IndexPreTransform):
        rotation, inner = _rotation(faiss, index), faiss.downcast_index(index.index)
    if isinstance(inner, faiss.IndexFlat) and rotation is None:
        flat = FlatIndex(inner.d, metric=metric)
        flat.add(torch.from_numpy(inner.reconstruct_n(0, inner.ntotal)))
        return flat
    if isinstance(inner, faiss.IndexIVF):
        return _inverted(faiss, inner, rotation, metric)
    family = _family(faiss, inner)
    coded = CodedIndex(_rotated(quantizer_of(family), rotation), metric=metric)
    coded.add_codes(_unpacked(_flat_bytes(faiss, inner), family))
    return coded


def _inverted(faiss: Any, index: Any, rotation: Tensor | None, metric: Metric) -> InvertedIndex:
    family = _family(faiss, index)
    centroids = torch.from_numpy(index.quantizer.reconstruct_n(0, index.nlist))
    coarse = VectorQuantizer(index.d, index.nlist)
    coarse.codebook.assign(centroids if rotation is None else (centroids.double() @ rotation.double()).float())
    quantizer = _rotated(quantizer_of(family), rotation)
    target = InvertedIndex(coarse.eval(), quantizer, by_residual=index.by_residual, metric=metric)
    lists = [_list(faiss, index, number) for number in range(index.nlist)]
    ids = np.concatenate([numbers for numbers, _ in lists])
    order = np.argsort(ids, kind="stable")
    if not np.array_equal(ids[order], np.arange(len(ids))):
        raise ValueError("vectors here are numbered 0, 1, ... as they are added; this FAISS index has ids of its own")
    codes = _unpacked(np.concatenate([packed for _, packed in lists])[order], family)
    owners = np.repeat(np.arange(index.nlist), [len(numbers) for numbers, _ in lists])[order]
    target.add_codes(codes, torch.from_numpy(owners))
    return target


def _rotation(faiss: Any, index: Any) -> Tensor:
    """The matrix of an index behind one rotation."""
    transform = faiss.downcast_VectorTransform(index.chain.at(0)) if index.chain.size() == 1 else None
    if not isinstance(transform, faiss.LinearTransform) or transform.have_bias or transform.d_in != transform.d_out:
        raise ValueError("an index behind a transform can be read if that is one square rotation without bias")
    matrix = torch.from_numpy(faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in))
    if not torch.allclose(matrix @ matrix.t(), torch.eye(len(matrix)), atol=1e-4):
        raise ValueError("the transform before this FAISS index is not orthonormal: distances would change")
    return matrix


def _rotated(quantizer: Quantizer, rotation: Tensor | None) -> Quantizer:
    if rotation is None:
        return quantizer
    turned = Rotated(quantizer)
    turned.rotation.copy_(rotation)
    return turned.eval()


def _family(faiss: Any, index: Any) -> Family:
    """The codec inside an index."""
    # Other classes have a pq or an aq as well, but keep something else beside its codes.
    product = (faiss.IndexPQ, faiss.IndexPQFastScan, faiss.IndexIVFPQ, faiss.IndexIVFPQFastScan)
    if isinstance(index, product) and not isinstance(index, faiss.IndexIVFPQR):
        codec = index.pq
        tables = faiss.vector_to_array(codec.centroids).reshape(codec.M, codec.ksub, codec.dsub)
        return Family(kind="product", codebooks=list(torch.from_numpy(tables)), blocks=codec.M)
    additive = (
        faiss.IndexAdditiveQuantizer,
        faiss.IndexAdditiveQuantizerFastScan,
        faiss.IndexIVFAdditiveQuantizer,
        faiss.IndexIVFAdditiveQuantizerFastScan,
    )
    if not isinstance(index, additive):
        raise ValueError(
            f"{type(index).__name__} has no counterpart here: flat, PQ, additive, their IVF and fast-scan indexes have"
        )
    codec = faiss.downcast_Quantizer(index.aq)
    if hasattr(codec, "subquantizer"):
        parts = [faiss.downcast_AdditiveQuantizer(codec.subquantizer(i)) for i in range(codec.nsplits)]
    else:
        parts = [codec]
    residual = all(isinstance(part, faiss.ResidualQuantizer) for part in parts)
    tables = [table for part in parts for table in _tables(faiss, part)]
    if len(parts) == 1:
        beam = parts[0].max_beam_size if residual else 1
        return Family(kind="residual" if residual else "additive", codebooks=tables, beam=beam)
    if residual:
        return Family(kind="product residual", codebooks=tables, blocks=len(parts), beam=parts[0].max_beam_size)
    # Sums within blocks that are not residual stages: zero-padded, they are one sum over all levels.
    width = index.d // len(parts)
    padded = [torch.zeros(len(table), index.d) for table in tables]
    for level, table in enumerate(tables):
        left = level // (len(tables) // len(parts)) * width
        padded[level][:, left : left + width] = table
    return Family(kind="additive", codebooks=padded)


def _tables(faiss: Any, codec: Any) -> list[Tensor]:
    stacked = torch.from_numpy(faiss.vector_to_array(codec.codebooks).reshape(-1, codec.d))
    return list(stacked.split([1 << int(width) for width in faiss.vector_to_array(codec.nbits)]))


def _flat_bytes(faiss: Any, index: Any) -> UInt8[np.ndarray, "vectors bytes"]:
    """Packed codes, in order."""
    stored = faiss.vector_to_array(index.codes)
    if isinstance(index, faiss.IndexFastScan):
        return _unblocked(faiss, index, stored, index.ntotal)
    return stored.reshape(index.ntotal, index.code_size)


def _list(
    faiss: Any, index: Any, number: int
) -> tuple[Int[np.ndarray, " vectors"], UInt8[np.ndarray, "vectors bytes"]]:
    """Numbers and packed codes of one inverted list."""
    lists = faiss.downcast_InvertedLists(index.invlists)
    size = lists.list_size(number)
    fast = isinstance(index, faiss.IndexIVFFastScan)
    if not size:
        return np.empty(0, np.int64), np.empty(
            (0, index.get_CodePacker().code_size if fast else index.code_size), np.uint8
        )
    ids = faiss.rev_swig_ptr(lists.get_ids(number), size).copy()
    if fast:
        num_bytes = -(-size // lists.n_per_block) * lists.block_size
        stored = faiss.rev_swig_ptr(lists.get_codes(number), num_bytes).copy()
        return ids, _unblocked(faiss, index, stored, size)
    return ids, faiss.rev_swig_ptr(lists.get_codes(number), size * index.code_size).copy().reshape(size, -1)


def _unblocked(
    faiss: Any, index: Any, stored: UInt8[np.ndarray, " stored"], count: int
) -> UInt8[np.ndarray, "vectors bytes"]:
    """Packed codes out of the blocked layout of fast scan."""
    packer = index.get_CodePacker()
    blocks = -(-count // packer.nvec)
    codes = np.zeros((blocks * packer.nvec, packer.code_size), dtype=np.uint8)
    for number in range(blocks):
        block = np.ascontiguousarray(stored[number * packer.block_size : (number + 1) * packer.block_size])
        part = codes[number * packer.nvec : (number + 1) * packer.nvec]
        packer.unpack_all(faiss.swig_ptr(block), faiss.swig_ptr(part))
    return codes[:count]


def _unpacked(packed: UInt8[np.ndarray, "vectors bytes"], family: Family) -> Integer[Tensor, "vectors levels"]:
    """Codes; what follows them in a row, a norm, is left."""
    num_bytes = -(-sum(family.widths) // 8)
    return torch.from_numpy(unpack_rows(np.ascontiguousarray(packed[:, :num_bytes]), family.widths))
