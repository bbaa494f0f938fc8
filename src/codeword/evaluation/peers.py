"""The same vectors through FAISS, for comparison. Needs the extra ``search``."""

import time
from typing import NamedTuple

import faiss
import torch
from jaxtyping import Float, Int
from torch import Tensor

FAISS_FAMILIES = ("PQ", "RQ", "LSQ")
_BITS = 8


class PeerResult(NamedTuple):
    """What FAISS made of a collection.

    Attributes:
        codes: Codes of the base.
        decoded: Vectors of those codes.
        found: Neighbours of the queries.
        seconds: Wall-clock time of the encoding.
    """

    codes: Int[Tensor, "vectors levels"]
    decoded: Float[Tensor, "vectors dim"]
    found: Int[Tensor, "queries neighbours"]
    seconds: float


def faiss_codes(
    family: str,
    base: Float[Tensor, "vectors dim"],
    queries: Float[Tensor, "queries dim"],
    *,
    levels: int,
    neighbours: int,
) -> PeerResult:
    """Train on the base, encode it, search in the codes; FAISS's own defaults.

    A product quantizer of FAISS needs blocks of one width: features of zeros are added where they do not divide.
    """
    dim = base.shape[1]
    width = -(-dim // levels) * levels
    x, q = (torch.nn.functional.pad(t, (0, width - dim)).numpy() for t in (base, queries))
    exact = faiss.AdditiveQuantizer.ST_norm_float
    index = {
        "PQ": lambda: faiss.IndexPQ(width, levels, _BITS),
        "RQ": lambda: faiss.IndexResidualQuantizer(width, levels, _BITS, faiss.METRIC_L2, exact),
        "LSQ": lambda: faiss.IndexLocalSearchQuantizer(width, levels, _BITS, faiss.METRIC_L2, exact),
    }[family]()
    index.train(x)
    coder = index.pq if family == "PQ" else index.rq if family == "RQ" else index.lsq
    start = time.perf_counter()
    packed = coder.compute_codes(x)
    seconds = time.perf_counter() - start
    index.add(x)
    return PeerResult(
        codes=torch.from_numpy(packed[:, :levels].astype("int64")),
        decoded=torch.from_numpy(coder.decode(packed))[:, :dim],
        found=torch.from_numpy(index.search(q, neighbours)[1]),
        seconds=seconds,
    )
