"""To FAISS and back: the same codebooks, the same codes, byte for byte."""

from typing import Any

from codeword.quantizers.base import Quantizer
from codeword.search.coded import CodedIndex
from codeword.search.faiss_export import export_coded, export_flat, export_inverted
from codeword.search.faiss_import import import_index
from codeword.search.flat import FlatIndex
from codeword.search.inverted import InvertedIndex


def to_faiss(source: Quantizer | FlatIndex | CodedIndex | InvertedIndex, *, fast_scan: bool = False) -> Any:
    """An index of FAISS that holds the same codebooks and codes; nothing is encoded again.

    ====================================================  ==================================================
    here                                                  in FAISS (``IndexIVF...`` for an InvertedIndex)
    ====================================================  ==================================================
    ``FlatIndex``                                         ``IndexFlat``
    a product of equal vector quantizers                  ``IndexPQ``
    a residual quantizer of vector quantizers             ``IndexResidualQuantizer``, also of mixed sizes
    a product of equal residual quantizers                ``IndexProductResidualQuantizer``
    any other sum of codewords                            ``IndexLocalSearchQuantizer`` (equal sizes), else
                                                          ``IndexResidualQuantizer``: search it, do not encode
    ``Rotated`` around any of them (OPQ)                  ``IndexPreTransform``
    ====================================================  ==================================================

    Additive codes carry the exact float32 norm of their reconstruction, so FAISS finds what the index here finds.

    Args:
        source: What to export; a bare quantizer becomes an empty, trained index.
        fast_scan: Use the 4-bit layout; all codebooks then need 16 codewords. FAISS rounds its tables to 8 bits there.

    Raises:
        ValueError: If a codebook size is no power of two, a code is -1, the layout does not fit, or FAISS is missing.
    """
    faiss = _faiss()
    if isinstance(source, FlatIndex):
        return export_flat(faiss, source)
    if isinstance(source, InvertedIndex):
        return export_inverted(faiss, source, fast_scan)
    return export_coded(faiss, source if isinstance(source, CodedIndex) else CodedIndex(source), fast_scan)


def from_faiss(index: Any) -> FlatIndex | CodedIndex | InvertedIndex:
    """The index here that holds what an index of FAISS holds; its ``quantizer`` has the codebooks.

    Reads flat, PQ, residual, local-search, product-residual and product-local-search indexes, their inverted-list and
    fast-scan forms, and any coded one behind a rotation. Stored norms are not taken over: they are recomputed exactly.

    Raises:
        ValueError: If the index has no counterpart, numbers its vectors in its own way, or FAISS is missing.
    """
    return import_index(_faiss(), index)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ValueError("FAISS is not installed: pip install 'codeword[search]'") from error
    return faiss
