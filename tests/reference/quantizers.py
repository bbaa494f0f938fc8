"""The codes of composed quantizers, recomputed in float64 from their parts: slow, and shares no code with them."""

from typing import NamedTuple

import torch
from torch import Tensor

from codeword import (
    Cosine,
    Normalized,
    ProductQuantizer,
    Projected,
    ResidualQuantizer,
    Rotated,
    SimVQ,
    UnitScale,
    VectorQuantizer,
)

RULE = 1e-6  # of |x - mu|^2 + |c - mu|^2: two codewords closer than that may both be called the nearest


class Walk(NamedTuple):
    """What a walk along given codes finds.

    Attributes:
        excess: How much farther the chosen codeword is than the nearest, in units of what the rule allows, per code.
        best: Codes of an exact search that starts every level from the given codes of the levels before.
        decoded: The vector of the given codes.
    """

    excess: Tensor
    best: Tensor
    decoded: Tensor


def walk(quantizer, x: Tensor, codes: Tensor) -> Walk:
    """Follow ``codes`` through a greedy quantizer in float64."""
    return _WALKS[type(quantizer)](quantizer, x.double(), codes)


def table_of(quantizer: VectorQuantizer) -> Tensor:
    book = quantizer.codebook
    table = book.table.detach().double()
    return table @ book.transform.detach().double().t() if isinstance(book.learning, SimVQ) else table


def _vector(quantizer, x, codes):
    table = table_of(quantizer)
    known, points = table, x
    if isinstance(quantizer.codebook.geometry, Cosine):
        known, points = table / table.norm(dim=1, keepdim=True), x / x.norm(dim=1, keepdim=True)
    mean = known.mean(0)
    distances = torch.stack([(points - c).square().sum(1) for c in known], 1)
    index = codes[:, 0]
    allowed = RULE * ((points - mean).square().sum(1) + (known[index] - mean).square().sum(1)) + 1e-30
    excess = (distances.gather(1, codes)[:, 0] - distances.min(1).values) / allowed
    return Walk(excess.unsqueeze(1), distances.argmin(1, keepdim=True), table[index])


def _residual(quantizer, x, codes):
    walks, rest = [], x
    for stage, part in zip(quantizer.stages, codes.split([s.levels for s in quantizer.stages], 1), strict=True):
        walks.append(walk(stage, rest, part))
        rest = rest - walks[-1].decoded
    return Walk(torch.cat([w.excess for w in walks], 1), torch.cat([w.best for w in walks], 1), x - rest)


def _product(quantizer, x, codes):
    blocks = x.split([part.dim for part in quantizer.parts], 1)
    given = codes.split([part.levels for part in quantizer.parts], 1)
    walks = [walk(part, block, code) for part, block, code in zip(quantizer.parts, blocks, given, strict=True)]
    return Walk(*[torch.cat(columns, 1) for columns in zip(*walks, strict=True)])


def _projected(quantizer, x, codes):
    inside, outside = quantizer.project_in.double(), quantizer.project_out.double()
    found = walk(quantizer.quantizer, inside(x), codes)
    decoded = outside(found.decoded)
    quantizer.float()
    return found._replace(decoded=decoded)


def _rotated(quantizer, x, codes):
    rotation = quantizer.rotation.double()
    found = walk(quantizer.quantizer, x @ rotation.t(), codes)
    return found._replace(decoded=found.decoded @ rotation)


def _normalized(quantizer, x, codes):
    mean, deviation = quantizer.mean.double(), quantizer.deviation.double()
    found = walk(quantizer.quantizer, (x - mean) / deviation, codes)
    return found._replace(decoded=found.decoded * deviation + mean)


def _unit_scale(quantizer, x, codes):
    found = walk(quantizer.quantizer, x / x.norm(dim=1, keepdim=True), codes)
    return found._replace(decoded=found.decoded / found.decoded.norm(dim=1, keepdim=True))


_WALKS = {
    VectorQuantizer: _vector,
    ResidualQuantizer: _residual,
    ProductQuantizer: _product,
    Projected: _projected,
    Rotated: _rotated,
    Normalized: _normalized,
    UnitScale: _unit_scale,
}
