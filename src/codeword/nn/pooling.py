"""The tokens of an input as one vector."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from codeword.nn.transformer import start_xavier

Pooling = Literal["mean", "cls", "attentive"]
Fixed = Literal["mean", "bands", "quarters", "cls"]  # those without weights


def mean_of_valid(
    patches: Float[Tensor, "batch patches dim"], valid: Bool[Tensor, "batch patches"] | None = None
) -> Float[Tensor, "batch dim"]:
    """The mean of the patches that are no padding; zeros where all are."""
    if valid is None:
        return patches.mean(1)
    weight = valid.to(patches.dtype).unsqueeze(-1)
    return (patches * weight).sum(1) / weight.sum(1).clamp_min(1)


def pooled(
    tokens: Float[Tensor, "batch tokens dim"],
    kind: Fixed,
    grid: tuple[int, ...],
    valid: Bool[Tensor, "batch patches"] | None = None,
) -> Float[Tensor, "batch features"]:
    """One vector of an input's tokens, which come after those of a prefix.

    Args:
        tokens: Of a transformer.
        kind: ``mean`` over all patches that are no padding; ``bands``: their mean over the first axis, time, with what
            lies along the others side by side, as M2D does (Niizumi et al. 2024); ``quarters``: the same in each of
            four equal parts of what is no padding, side by side; ``cls``: the first token.
        grid: Patches along every axis.
        valid: Patches that are no padding.
    """
    if kind == "cls":
        return tokens[:, 0]
    patches = tokens[:, tokens.shape[1] - math.prod(grid) :]
    if kind == "mean":
        return mean_of_valid(patches, valid)
    steps = rearrange(patches, "b (time bands) dim -> b time (bands dim)", time=grid[0])
    lasts = torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)
    if valid is not None:
        lasts = rearrange(valid, "b (time bands) -> b time bands", time=grid[0]).any(2)
    weight = _parts(lasts, 4 if kind == "quarters" else 1).to(steps.dtype)
    return (weight @ steps / weight.sum(-1, keepdim=True).clamp_min(1)).flatten(1)


def widening(kind: Fixed, grid: tuple[int, ...]) -> int:
    """How many times the features of a token what is pooled has."""
    return math.prod(grid[1:]) * {"bands": 1, "quarters": 4}[kind] if kind in ("bands", "quarters") else 1


def _parts(lasts: Bool[Tensor, "batch time"], count: int) -> Bool[Tensor, "batch _ time"]:
    """Which steps belong to which equal part; of fewer steps than parts, some are in several."""
    steps, place = lasts.sum(1)[:, None, None], (lasts.cumsum(1) - 1)[:, None, :]
    part = torch.arange(count, device=lasts.device)[None, :, None]
    first = part * steps // count
    end = torch.maximum((part + 1) * steps // count, first + 1)
    return lasts[:, None, :] & (place >= first) & (place < end)


class AttentivePooling(nn.Module):
    """A learned query looks at the patches that are no padding (Lee et al. 2019, section 3.2, with one seed vector).

    ::

        patches ─ norm ─┬─ keys ───┐
                        └─ values ─┴─ softmax attention of one query ─ linear ──► vector

    Args:
        dim: Features of a patch.
        heads: Of the attention, with a query of dim / heads features each.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} features cannot be shared among {heads} heads: take a multiple")
        self.query = nn.Parameter(0.02 * torch.randn(heads, dim // heads))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        start_xavier(self)

    def forward(
        self, patches: Float[Tensor, "batch patches dim"], valid: Bool[Tensor, "batch patches"] | None = None
    ) -> Float[Tensor, "batch dim"]:
        heads = len(self.query)
        keys, values = rearrange(
            self.key_value(self.norm(patches)), "b t (two h d) -> two b h t d", two=2, h=heads
        ).unbind(0)
        query = self.query.to(keys.dtype).unsqueeze(1).expand(len(patches), -1, -1, -1)
        mask = None
        if valid is not None:  # where all is padding, all is looked at: the output is finite
            mask = (valid | ~valid.any(1, keepdim=True))[:, None, None, :]
        found = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        return self.out(rearrange(found, "b h one d -> b (one h d)"))


class TokenPooling(nn.Module):
    """The tokens of a transformer as one vector, in one of three ways.

    Args:
        kind: The ``mean`` of the patches that are no padding, the first token (``cls``), or ``attentive``.
        dim: Features of a token.
        prefix: Tokens before the patches.
        heads: Of ``attentive``.
    """

    def __init__(self, kind: Pooling, dim: int, prefix: int, heads: int):
        super().__init__()
        if kind == "cls" and not prefix:
            raise ValueError("pooling 'cls' needs a network with a cls token: take 'mean' or 'attentive'")
        self.kind, self.prefix = kind, prefix
        self.attention = AttentivePooling(dim, heads) if kind == "attentive" else None

    def forward(
        self, tokens: Float[Tensor, "batch tokens dim"], valid: Bool[Tensor, "batch patches"] | None = None
    ) -> Float[Tensor, "batch dim"]:
        if self.kind == "cls":
            return tokens[:, 0]
        patches = tokens[:, self.prefix :]
        return mean_of_valid(patches, valid) if self.attention is None else self.attention(patches, valid)
