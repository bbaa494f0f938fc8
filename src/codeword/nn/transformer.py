"""Transformer blocks with their norms before each part, as vision transformers have them.

::

    x ──┬─ norm ─ attention ─ drop path ─ + ──┬─ norm ─ linear ─ gelu ─ linear ─ drop path ─ + ──►
        └─────────────────────────────────┘   └───────────────────────────────────────────┘
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Bias = Literal["full", "qv", "none"]


class Features(NamedTuple):
    """What a transformer makes of its tokens.

    Attributes:
        tokens: After the final norm.
        hidden: If asked for, the tokens before the first block and after every block, without the final norm.
    """

    tokens: Float[Tensor, "batch tokens dim"]
    hidden: tuple[Float[Tensor, "batch tokens dim"], ...] = ()


def start_xavier(module: nn.Module) -> None:
    """Start all linear maps inside of a module xavier-uniform, their biases at zero, as MAE does."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


class DropPath(nn.Module):
    """Leaves out a branch for some samples in training, and scales it up for the others (Huang et al. 2016).

    Args:
        rate: Share of samples that go without, below 1.
    """

    def __init__(self, rate: float = 0.0):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"a branch is left out at a rate from 0 up to, but not including, 1: got {rate}")
        self.rate = rate

    def forward(self, x: Float[Tensor, "batch *_"]) -> Float[Tensor, "batch *_"]:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        return x * (x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(keep) / keep)


class Attention(nn.Module):
    """Softmax attention of all tokens to all valid ones.

    Args:
        dim: Features of a token.
        heads: Of how many features each, dim / heads.
        bias: On queries, keys and values (``full``), on queries and values as VideoMAE has it (``qv``), or ``none``. A
            bias on keys adds the same to all scores of a query, so it changes no output.
    """

    def __init__(self, dim: int, heads: int, *, bias: Bias = "full"):
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} features cannot be shared among {heads} heads: take a multiple")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias == "full")
        self.q_bias = nn.Parameter(torch.zeros(dim)) if bias == "qv" else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if bias == "qv" else None
        self.out = nn.Linear(dim, dim)
        start_xavier(self)

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], valid: Bool[Tensor, "batch tokens"] | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        bias = self.qkv.bias
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = rearrange(
            F.linear(x, self.qkv.weight, bias), "b t (three h d) -> three b h t d", three=3, h=self.heads
        )
        mask = None
        if valid is not None:  # a row without any valid key attends to all: its output is finite, and padding anyway
            mask = (valid | ~valid.any(1, keepdim=True))[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(rearrange(mixed, "b h t d -> b t (h d)"))


def feed_forward(dim: int, ratio: float) -> nn.Sequential:
    """Two linear maps with a GELU between them, ``ratio`` times as wide inside."""
    inner = round(dim * ratio)
    layers = nn.Sequential(nn.Linear(dim, inner), nn.GELU(), nn.Linear(inner, dim))
    start_xavier(layers)
    return layers


class TransformerBlock(nn.Module):
    """Attention, then two linear maps of every token, each on normed tokens and added to them.

    Args:
        dim: Features of a token.
        heads: Of the attention.
        mlp_ratio: How much wider the linear maps are inside.
        bias: Of queries, keys and values.
        drop_path: Share of samples that go without a branch in training.
        norm_eps: Of the norms.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        bias: Bias = "full",
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attention = Attention(dim, heads, bias=bias)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = feed_forward(dim, mlp_ratio)
        self.drop = DropPath(drop_path)

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], valid: Bool[Tensor, "batch tokens"] | None = None
    ) -> Float[Tensor, "batch tokens dim"]:
        x = x + self.drop(self.attention(self.norm1(x), valid))
        return x + self.drop(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    """Blocks, and a norm after them.

    Args:
        dim: Features of a token.
        depth: Blocks.
        heads: Of their attention.
        mlp_ratio: How much wider their linear maps are inside.
        bias: Of queries, keys and values.
        drop_path: Of the last block; that of the others rises to it evenly from 0.
        norm_eps: Of the norms.
        final_norm: Whether there is a norm after the blocks.

    Attributes:
        recompute: Set it to save memory: a block's inside is then computed again for the gradient, not kept.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        bias: Bias = "full",
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
        final_norm: bool = True,
    ):
        super().__init__()
        rates = [drop_path * place / max(1, depth - 1) for place in range(depth)]
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, heads, mlp_ratio=mlp_ratio, bias=bias, drop_path=rate, norm_eps=norm_eps)
            for rate in rates
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps) if final_norm else nn.Identity()
        self.recompute = False

    def forward(
        self,
        x: Float[Tensor, "batch tokens dim"],
        valid: Bool[Tensor, "batch tokens"] | None = None,
        *,
        hidden: bool = False,
    ) -> Features:
        states = [x]
        for block in self.blocks:
            again = self.recompute and torch.is_grad_enabled()
            x = checkpoint(block, x, valid, use_reentrant=False) if again else block(x, valid)
            if hidden:
                states.append(x)
        return Features(self.norm(x), tuple(states) if hidden else ())
