"""The same vectors through FAISS, for comparison. Needs the extra ``search``."""

import faiss
import torch
from jaxtyping import Float, Int
from torch import Tensor

FAISS_FAMILIES = ("PQ", "RQ", "LSQ")
_BITS = 8


class FaissCodes:
    """A quantizer of FAISS with its own defaults, trained.

    A product quantizer of FAISS needs blocks of one width: features of zeros are added where they do not divide.

    Args:
        family: One of ``FAISS_FAMILIES``.
        learned: Vectors to train on.
        levels: Codes of one byte per vector.
    """

    def __init__(self, family: str, learned: Float[Tensor, "vectors dim"], *, levels: int):
        self._dim = learned.shape[1]
        self._width = -(-self._dim // levels) * levels
        self._levels = levels
        exact = faiss.AdditiveQuantizer.ST_norm_float
        make = {
            "PQ": lambda: faiss.IndexPQ(self._width, levels, _BITS),
            "RQ": lambda: faiss.IndexResidualQuantizer(self._width, levels, _BITS, faiss.METRIC_L2, exact),
            "LSQ": lambda: faiss.IndexLocalSearchQuantizer(self._width, levels, _BITS, faiss.METRIC_L2, exact),
        }
        self._index = make[family]()
        coders = {"PQ": "pq", "RQ": "rq", "LSQ": "lsq"}
        self._coder = getattr(self._index, coders[family])
        if family != "LSQ":  # advice that a collection of this size cannot follow
            self._coder.cp.min_points_per_centroid = 1
        self._index.train(self._padded(learned))

    def encode(self, x: Float[Tensor, "vectors dim"]) -> Int[Tensor, "vectors levels"]:
        """Codes, one byte each."""
        return torch.from_numpy(self._coder.compute_codes(self._padded(x))[:, : self._levels].astype("int64"))

    def decode(self, codes: Int[Tensor, "vectors levels"]) -> Float[Tensor, "vectors dim"]:
        """Vectors of codes; the norm that FAISS keeps behind them plays no part."""
        packed = torch.nn.functional.pad(codes.byte(), (0, self._coder.code_size - self._levels))
        return torch.from_numpy(self._coder.decode(packed.numpy()))[:, : self._dim]

    def search(
        self, base: Float[Tensor, "vectors dim"], queries: Float[Tensor, "queries dim"], neighbours: int
    ) -> Int[Tensor, "queries neighbours"]:
        """Neighbours of queries among the codes of a base, with exact norms."""
        self._index.reset()
        self._index.add(self._padded(base))
        return torch.from_numpy(self._index.search(self._padded(queries), neighbours)[1])

    def _padded(self, x: Tensor):
        return torch.nn.functional.pad(x, (0, self._width - self._dim)).numpy()
