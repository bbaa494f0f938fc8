"""Two small sets of real vectors that come with codeword; see LICENCES.md for where they are from."""

from importlib.resources import files
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Collection(NamedTuple):
    """Vectors to store, and queries that are not among them.

    Attributes:
        base: (vectors, dim), float32.
        queries: (queries, dim), float32.
    """

    base: Float[Tensor, "vectors dim"]
    queries: Float[Tensor, "queries dim"]


def words() -> Collection:
    """GloVe vectors of the 5000 most frequent English words, 50 features; every 25th word is a query."""
    table = torch.from_numpy(np.load(str(files(__name__) / "glove50_5k_f16.npy")).astype(np.float32))
    query = torch.arange(len(table)) % 25 == 24
    return Collection(table[~query], table[query])


def descriptors() -> Collection:
    """SIFT descriptors of underwater photos, 128 features: 5000, and 200 queries from other photos."""
    with np.load(str(files(__name__) / "sift_pd.npz")) as arrays:
        base, queries = (torch.from_numpy(arrays[name].astype(np.float32)) for name in ("base", "query"))
    return Collection(base, queries)
