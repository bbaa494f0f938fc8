"""Quantizers that were trained with vector-quantize-pytorch, taken over with their codes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from codeword.quantizers.base import Quantizer
from codeword.quantizers.estimator import Estimator
from codeword.quantizers.geometry import Cosine, Euclidean, Geometry
from codeword.quantizers.learning import Gradient, Learning, MovingAverage
from codeword.quantizers.residual import ResidualQuantizer
from codeword.quantizers.revival import Revival
from codeword.quantizers.search import Greedy, Search
from codeword.quantizers.vector import VectorQuantizer
from codeword.quantizers.wrappers import Projected

_CODEBOOK = tuple(f"_codebook.{name}" for name in ("initted", "cluster_size", "embed_avg", "embed"))
_PROJECTIONS = tuple(f"project_{way}.{name}" for way in ("in", "out") for name in ("weight", "bias"))
_UNIT = 1e-3  # how far from 1 the length of a codeword may be where the peer compares by inner products
_HEADS = "a peer with several heads has no counterpart"
_FOREIGN = {
    r"mlps\.": "implicit neural codebooks (QINCo)",
    r"rvqs\.": "groups: load each module of .rvqs by itself and put the results into a ProductQuantizer",
    r".*_codebook\.(batch|codebook)_(mean|variance)": "affine parameters",
    r".*_codebook\.vq_bridge\.": "a codebook bridge",
    r".*project_in\.[01]\.": "a layer norm after the projection",
}


@dataclass(frozen=True)
class _Manner:
    """What every loaded level is made with."""

    learning: Learning
    revival: Revival | None
    geometry: Geometry
    search: Search
    estimator: Estimator | None


def from_vector_quantize_pytorch(
    peer: nn.Module | Mapping[str, Tensor],
    *,
    learning: Learning | None = None,
    revival: Revival | None = None,
    geometry: Geometry | None = None,
    search: Search | None = None,
    estimator: Estimator | None = None,
) -> Quantizer:
    """Take over a trained ``VectorQuantize`` or ``ResidualVQ`` of vector-quantize-pytorch (1.32), with equal codes.

    A ``VectorQuantize`` becomes a ``VectorQuantizer``, a ``ResidualVQ`` a ``ResidualQuantizer`` of them; where the peer
    has a ``codebook_dim`` of its own, either comes inside ``Projected``. Codes of all levels stand in the last
    dimension. The result is in evaluation mode; the package itself is not needed.

    Args:
        peer: The module, or its ``state_dict()``, which does not say everything: see below.
        learning: How the codebooks go on to learn. ``None``: as the module did; ``MovingAverage()`` for a state dict.
        revival: ``None``: ``ReviveDead()``, which the peer leaves off by default.
        geometry: ``None``: that of the module; ``Euclidean()`` for a state dict, which finds the codes of
            ``use_cosine_sim=True`` as well, codewords being of length 1 there.
        search: The search of a residual quantizer. ``None``: ``Greedy()``.
        estimator: ``None``: straight-through, whatever the peer used.

    Raises:
        ValueError: If the peer has what would change codes and codeword does not represent (several heads, implicit
            neural codebooks, affine parameters, a layer norm, a beam), a codebook that was never initialised, or
            entries of unknown meaning, which the message lists.

    Note:
        A shared codebook stays one codebook in all levels. The peer's layouts (``channel_last=False``, image maps) are
        ``ChannelsFirst`` here. Moving averages of a cosine codebook go on with the vectors as they come, where the peer
        normalises both. A peer of ``diveq=True`` adds its noise in evaluation too; here as in its own
        ``get_output_from_indices`` there is none. A state dict does not show heads whose dimensions add up to that of
        the vectors: give the module, which is then refused.
    """
    module = peer if isinstance(peer, nn.Module) else None
    state = dict(peer.state_dict() if isinstance(peer, nn.Module) else peer)
    levels = sorted({int(key.split(".")[1]) for key in state if re.match(r"layers\.\d+\.", key)})
    prefixes = [f"layers.{level}." for level in levels] or [""]
    _check_entries(state, prefixes)
    if module is not None:
        _check_module(module, search)
    manner = _Manner(
        learning or _learning(module),
        revival,
        geometry or (Cosine() if module is not None and _first(module).use_cosine_sim else Euclidean()),
        search or Greedy(),
        estimator,
    )
    one = len({state[f"{prefix}_codebook.embed"].data_ptr() for prefix in prefixes}) == 1
    stages = [_vector_quantizer(state, prefix, manner) for prefix in (prefixes[:1] if one else prefixes)]
    stages *= len(prefixes) // len(stages)
    quantizer: Quantizer = stages[0]
    if levels:
        quantizer = ResidualQuantizer(stages, search=manner.search, estimator=estimator)
    if _PROJECTIONS[0] in state:
        quantizer = _projected(quantizer, state, estimator)
    return quantizer.to(state[f"{prefixes[0]}_codebook.embed"].device).eval()


def _check_entries(state: Mapping[str, Tensor], prefixes: list[str]) -> None:
    foreign = [what for pattern, what in _FOREIGN.items() if any(re.match(pattern, key) for key in state)]
    if foreign:
        raise ValueError(f"codeword has no counterpart of what this peer holds: {'; '.join(foreign)}")
    projected = any(key in state for key in _PROJECTIONS)
    expected = {prefix + name for prefix in prefixes for name in _CODEBOOK} | set(_PROJECTIONS if projected else ())
    unknown, missing = sorted(state.keys() - expected), sorted(expected - state.keys())
    if unknown or missing:
        raise ValueError(
            "this is no state of a VectorQuantize or ResidualVQ of vector-quantize-pytorch 1.32: "
            f"unknown entries {unknown}, missing entries {missing}"
        )


def _check_module(module: nn.Module, search: Search | None) -> None:
    first = _first(module)
    if first.heads > 1:
        raise ValueError(f"{_HEADS}, got heads={first.heads}")
    if first._codebook.vq_bridge is not None:
        raise ValueError("codeword has no counterpart of what this peer holds: a codebook bridge")
    beam = getattr(module, "eval_beam_size", None)
    if beam is not None and beam > 1 and search is None:
        raise ValueError(
            f"this peer encodes by a beam of {beam} that adds up the errors of all levels, which codeword does not "
            f"imitate: give search=Beam({beam}) for lower errors, or search=Greedy(); decoded vectors are equal"
        )


def _first(module: Any) -> Any:
    """The first VectorQuantize; all levels of a ResidualVQ share their settings."""
    return getattr(module, "layers", [module])[0]


def _learning(module: nn.Module | None) -> Learning:
    if module is None:
        return MovingAverage()
    first = _first(module)
    weight = float(first.commitment_weight)
    if first.learnable_codebook:
        # One weight for both sides there; without it the codebook learned through the output.
        return Gradient(codebook=weight, commitment=weight) if weight else Gradient()
    return MovingAverage(decay=first._codebook.decay, commitment=weight, smoothing=first._codebook.eps)


def _vector_quantizer(state: Mapping[str, Tensor], prefix: str, manner: _Manner) -> VectorQuantizer:
    initialised, counts, _, table = (state[prefix + name].detach() for name in _CODEBOOK)
    where = prefix.rstrip(".") or "the codebook"
    if table.ndim != 3 or table.shape[0] != 1:
        raise ValueError(f"{_HEADS}: {where} holds codebooks of shape {tuple(table.shape)}")
    if not initialised.bool().all():
        raise ValueError(f"{where} waits for its k-means initialisation, so there is nothing to load: train it first")
    table, counts = table[0].float(), counts.reshape(-1).float()
    if isinstance(manner.geometry, Cosine) and ((table.norm(dim=1) - 1).abs() > _UNIT).any():
        raise ValueError(
            f"{where} has codewords that are not of length 1, which the peer compares by inner products, not by "
            "angles: normalise its codebook first"
        )
    size, dim = table.shape
    quantizer = VectorQuantizer(
        dim,
        size,
        learning=manner.learning,
        revival=manner.revival,
        geometry=manner.geometry,
        estimator=manner.estimator,
    )
    quantizer.codebook.assign(table)
    if isinstance(manner.learning, MovingAverage):
        # Sums are what makes the codebook their smoothed mean: the peer's own are stale where it learned by gradient.
        smoothed = (counts + manner.learning.smoothing) / (counts.sum() + size * manner.learning.smoothing)
        with torch.no_grad():
            quantizer.codebook.average_counts.copy_(counts)
            quantizer.codebook.average_sums.copy_(table * (smoothed * counts.sum()).unsqueeze(1))
    return quantizer


def _projected(quantizer: Quantizer, state: Mapping[str, Tensor], estimator: Estimator | None) -> Projected:
    into, out = state["project_in.weight"], state["project_out.weight"]
    if into.shape[0] != quantizer.dim:
        raise ValueError(f"{_HEADS}: it projects to {into.shape[0]} features, its codewords have {quantizer.dim}")
    projected = Projected(quantizer, out.shape[0], estimator=estimator)
    for name in _PROJECTIONS:
        with torch.no_grad():
            projected.get_parameter(name).copy_(state[name])
    return projected
