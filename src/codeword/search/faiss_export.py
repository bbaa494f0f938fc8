"""Quantizers and indexes of codeword as indexes of FAISS; no vector is encoded again."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from codeword.functional.bits import pack_rows
from codeword.search.coded import CodedIndex
from codeword.search.families import Family, family_of
from codeword.search.flat import FlatIndex
from codeword.search.inverted import InvertedIndex
from codeword.search.shortlist import Metric
from codeword.search.turn import Turn

_FEW = 1 << 10  # norms that FAISS needs at least
_SAMPLE = 1 << 16  # norms that FAISS is shown at most


def export_flat(faiss: Any, index: FlatIndex) -> Any:
    """A FlatIndex as ``IndexFlat``."""
    flat = faiss.IndexFlat(index.dim, _metric(faiss, index.metric))
    flat.add(_numpy(index.vectors))
    return flat


def export_coded(faiss: Any, index: CodedIndex, fast_scan: bool) -> Any:
    """A CodedIndex as the flat index of its family."""
    turn = Turn(index.quantizer)
    family = family_of(turn.inner)
    codes = index.codes.numpy(force=True)
    target = _flat_index(faiss, family, index.metric, fast_scan)
    codec = _codec(faiss, target)
    _fill(faiss, codec, family, codes)
    target.is_trained = True
    if len(codes):
        target.add_sa_codes(_packed(faiss, codec, family, codes))
    return _turned(faiss, turn, _fast(faiss, target, family, codes) if fast_scan else target)


def export_inverted(faiss: Any, index: InvertedIndex, fast_scan: bool) -> Any:
    """An InvertedIndex as the IVF index of its family."""
    turn = Turn(index.quantizer)
    family = family_of(turn.inner)
    if fast_scan and family.kind != "product":
        raise ValueError(f"inverted lists are exported to fast scan for product codes only, this is {family.kind}")
    cells = faiss.IndexFlat(family.dim, _metric(faiss, index.metric))
    cells.add(_numpy(turn(index.centroids)))
    target = _ivf_index(faiss, family, index, cells)
    # Not every IVF class of FAISS keeps a reference to its cells: each owns them here.
    target.own_fields = True
    cells.this.disown()
    target.by_residual = index.by_residual
    lists = [index.members(number) for number in range(index.size)]
    codec = _codec(faiss, target)
    _fill(faiss, codec, family, torch.cat([codes for _, codes in lists]).numpy(force=True))
    target.is_trained = True
    if family.kind == "product":
        target.precompute_table()  # stale tables of other codebooks would give wrong distances
    for number, (ids, codes) in enumerate(lists):
        if len(ids):
            # Named arrays: FAISS is given pointers, which must outlive the call.
            numbers, packed = _numpy(ids, np.int64), _packed(faiss, codec, family, codes.numpy(force=True))
            target.invlists.add_entries(number, len(ids), faiss.swig_ptr(numbers), faiss.swig_ptr(packed))
    target.ntotal = len(index)
    return _turned(faiss, turn, faiss.IndexIVFPQFastScan(target) if fast_scan else target)


def _flat_index(faiss: Any, family: Family, metric: Metric, fast_scan: bool) -> Any:
    dim, levels, widths = family.dim, len(family.sizes), family.widths
    if fast_scan and set(family.sizes) != {16}:
        raise ValueError(f"fast scan needs codebooks of 16 codewords, got sizes {sorted(set(family.sizes))}")
    if family.kind == "product":
        return faiss.IndexPQ(dim, levels, widths[0], _metric(faiss, metric))
    rest = (_metric(faiss, metric), _search_type(faiss, metric, fast_scan))
    if family.kind == "product residual":
        if fast_scan:
            raise ValueError("product-residual codes are not exported to fast scan: use fast_scan=False")
        return faiss.IndexProductResidualQuantizer(dim, family.blocks, levels // family.blocks, widths[0], *rest)
    if family.kind == "residual" or len(set(widths)) > 1 or fast_scan:
        return faiss.IndexResidualQuantizer(dim, _widths(faiss, family), *rest)
    return faiss.IndexLocalSearchQuantizer(dim, levels, widths[0], *rest)


def _ivf_index(faiss: Any, family: Family, index: InvertedIndex, cells: Any) -> Any:
    dim, levels, widths, metric = family.dim, len(family.sizes), family.widths, _metric(faiss, index.metric)
    if family.kind == "product":
        return faiss.IndexIVFPQ(cells, dim, index.size, levels, widths[0], metric)
    rest = (metric, _search_type(faiss, index.metric, False))
    if family.kind == "product residual":
        each = levels // family.blocks
        return faiss.IndexIVFProductResidualQuantizer(cells, dim, index.size, family.blocks, each, widths[0], *rest)
    if family.kind == "residual" or len(set(widths)) > 1:
        return faiss.IndexIVFResidualQuantizer(cells, dim, index.size, _widths(faiss, family), *rest)
    return faiss.IndexIVFLocalSearchQuantizer(cells, dim, index.size, levels, widths[0], *rest)


def _codec(faiss: Any, index: Any) -> Any:
    """The codec inside an index, as its own class."""
    return index.pq if hasattr(index, "pq") else faiss.downcast_Quantizer(index.aq)


def _fill(faiss: Any, codec: Any, family: Family, codes: Integer[np.ndarray, "vectors levels"]) -> None:
    """Put our codebooks into a codec, and show it the norms of our reconstructions."""
    stacked = torch.cat([table.reshape(-1) for table in family.codebooks])
    if family.kind == "product":
        faiss.copy_array_to_vector(_numpy(stacked), codec.centroids)
        codec.clear_transposed_centroids()
        return
    each = len(family.sizes) // family.blocks
    faiss.copy_array_to_vector(_numpy(stacked), codec.codebooks)
    if family.kind == "product residual":
        for block in range(family.blocks):
            part = faiss.downcast_AdditiveQuantizer(codec.subquantizer(block))
            own = torch.cat(list(family.codebooks[block * each : (block + 1) * each]))
            faiss.copy_array_to_vector(_numpy(own).reshape(-1), part.codebooks)
            _ready(part, family)
    _ready(codec, family)
    norms = _norms(family, codes)
    codec.train_norm(len(norms), faiss.swig_ptr(norms))


def _ready(codec: Any, family: Family) -> None:
    codec.is_trained = True
    if hasattr(codec, "use_beam_LUT"):  # residual, and not a product of residuals
        codec.max_beam_size, codec.use_beam_LUT = family.beam, 1  # the second is not kept in FAISS's files
        codec.compute_codebook_tables()


def _norms(family: Family, codes: Integer[np.ndarray, "vectors levels"]) -> npt.NDArray[np.float32]:
    """Squared norms of reconstructions: those of our codes or, where there are few, of random ones as well."""
    rows = codes[:: max(1, len(codes) // _SAMPLE)].astype(np.int64)
    if len(rows) < _FEW:
        drawn = np.random.default_rng(0).integers(0, family.sizes, (_FEW, len(family.sizes)))
        rows = np.concatenate([np.maximum(rows, 0), drawn])
    each = len(family.sizes) // family.blocks
    blocks = [_sums(family, rows, range(first, first + each)) for first in range(0, len(family.sizes), each)]
    return _numpy(torch.stack([block.square().sum(1) for block in blocks]).sum(0))


def _sums(family: Family, codes: Integer[np.ndarray, "vectors levels"], levels: range) -> Tensor:
    """What the given levels, all of one block, add up to."""
    rows = torch.from_numpy(codes)
    return torch.stack([family.codebooks[m].cpu()[rows[:, m]] for m in levels]).sum(0)


def _packed(
    faiss: Any, codec: Any, family: Family, codes: Integer[np.ndarray, "vectors levels"]
) -> npt.NDArray[np.uint8]:
    """Codes as the bytes of FAISS, with the norm where the codec stores one."""
    if codes.size and codes.min() < 0:
        raise ValueError("FAISS has no codes of variable depth: some codes are -1; encode with all levels to export")
    if family.kind == "product":
        return pack_rows(codes, family.widths)
    plain = np.ascontiguousarray(codes, dtype=np.int32)
    packed = np.zeros((len(plain), codec.code_size), dtype=np.uint8)
    # Without centroids: the norm that FAISS wants beside a residual is that of the residual.
    codec.pack_codes(len(plain), faiss.swig_ptr(plain), faiss.swig_ptr(packed), -1, None, None)
    return packed


def _fast(faiss: Any, index: Any, family: Family, codes: Integer[np.ndarray, "vectors levels"]) -> Any:
    """The same codes in the blocked layout of fast scan."""
    if family.kind == "product":
        return faiss.IndexPQFastScan(index)
    blocked = faiss.IndexAdditiveQuantizerFastScan(index)
    kind = faiss.IndexResidualQuantizerFastScan
    # The base class that repacks codes cannot be written to a file: its codes move into one that can.
    target = kind(family.dim, len(family.sizes), 4, index.metric_type, index.rq.search_type)
    _fill(faiss, target.rq, family, codes)
    target.is_trained = True
    target.codes, target.ntotal, target.ntotal2 = blocked.codes, blocked.ntotal, blocked.ntotal2
    sample = _numpy(_sums(family, codes[:_FEW].astype(np.int64), range(len(family.sizes))))
    if len(sample):
        target.estimate_norm_scale(len(sample), faiss.swig_ptr(sample))
    return target


def _turned(faiss: Any, turn: Turn, index: Any) -> Any:
    """An index behind the rotation of its quantizer."""
    if turn.rotation is None:
        return index
    matrix = _numpy(turn.rotation)
    rotation = faiss.LinearTransform(matrix.shape[1], matrix.shape[0], False)
    faiss.copy_array_to_vector(matrix.reshape(-1), rotation.A)
    rotation.is_trained = True
    rotation.set_is_orthonormal()
    return faiss.IndexPreTransform(rotation, index)


def _metric(faiss: Any, metric: Metric) -> int:
    return faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT


def _search_type(faiss: Any, metric: Metric, fast_scan: bool) -> int:
    """How norms are kept: exactly; in two 4-bit codes for fast scan; not at all where products alone count."""
    if metric == "ip":
        return faiss.AdditiveQuantizer.ST_LUT_nonorm
    return faiss.AdditiveQuantizer.ST_norm_rq2x4 if fast_scan else faiss.AdditiveQuantizer.ST_norm_float


def _widths(faiss: Any, family: Family) -> Any:
    widths = faiss.UInt64Vector()
    faiss.copy_array_to_vector(np.array(family.widths, dtype=np.uint64), widths)
    return widths


def _numpy(tensor: Float[Tensor, "..."] | Tensor, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    return np.ascontiguousarray(tensor.detach().numpy(force=True), dtype=dtype)
