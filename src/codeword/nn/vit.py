"""A vision transformer that computes the visible patches only, and a decoder that predicts at the masked ones.

::

    x ─ patches ─ visible ─ Linear ─ + positions ─ [cls] ─ blocks ─ norm ──► tokens
                                                                               │
                  at the masked ◄─ norm ◄─ blocks ◄─ + positions ◄─ Linear ◄───┴─ mask tokens
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from codeword.nn.patches import PatchEmbedding, chosen, grid_of
from codeword.nn.positions import Kind, OtherSizes, Positions
from codeword.nn.swin import Swin
from codeword.nn.transformer import Bias, Features, Transformer
from codeword.quantizers.config import register


@register
@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """The shape of a vision transformer; the defaults are those of a ViT-B.

    Attributes:
        channels: Of the input.
        size: Of the input along every axis: (time, mel), (height, width) or (frames, height, width).
        patch: Values of a patch along every axis.
        stride: Steps from patch to patch; as far as a patch unless given.
        dim: Features of a token.
        depth: Blocks.
        heads: Of their attention.
        mlp_ratio: How much wider their linear maps are inside.
        cls_token: Whether a learned token comes before the patches.
        distillation_token: Whether one more does, as in DeiT and AST.
        bias: Of queries, keys and values.
        drop_path: Of the last block; that of the others rises to it evenly from 0.
        positions: What is added to the patches.
        other_sizes: The positions of inputs of another size.
        norm_eps: Of the norms.
        final_norm: Whether there is a norm after the blocks.
    """

    channels: int
    size: tuple[int, ...]
    patch: tuple[int, ...]
    stride: tuple[int, ...] | None = None
    dim: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    cls_token: bool = True
    distillation_token: bool = False
    bias: Bias = "full"
    drop_path: float = 0.0
    positions: Kind = "sincos"
    other_sizes: OtherSizes = "stretched"
    norm_eps: float = 1e-6
    final_norm: bool = True

    def __post_init__(self) -> None:
        if not 1 <= len(self.patch) <= 3:
            raise ValueError(f"patches have one, two or three axes, got {self.patch}")
        grid_of(self.size, self.patch, self.stride)

    @property
    def grid(self) -> tuple[int, ...]:
        """Patches along every axis."""
        return grid_of(self.size, self.patch, self.stride)

    @property
    def prefix(self) -> int:
        """Tokens that come before the patches."""
        return self.cls_token + self.distillation_token


class VisionTransformer(nn.Module):
    """Log-mels, images or videos to tokens, one for every visible patch (Dosovitskiy et al. 2021; He et al. 2022).

    Args:
        config: The shape.
    """

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config = config
        self.embed = PatchEmbedding(config.channels, config.patch, config.dim, stride=config.stride)
        self.positions = Positions(config.positions, config.grid, config.dim, other_sizes=config.other_sizes)
        self.prefix = nn.Parameter(0.02 * torch.randn(config.prefix, config.dim)) if config.prefix else None
        self.transformer = Transformer(
            config.dim,
            config.depth,
            config.heads,
            mlp_ratio=config.mlp_ratio,
            bias=config.bias,
            drop_path=config.drop_path,
            norm_eps=config.norm_eps,
            final_norm=config.final_norm,
        )

    def grid(self, x: Float[Tensor, "batch channels *size"]) -> tuple[int, ...]:
        """Patches of an input along every axis.

        Raises:
            ValueError: If the size is no multiple of the patch.
        """
        return grid_of(tuple(x.shape[2:]), self.config.patch, self.config.stride)

    def forward(
        self,
        x: Float[Tensor, "batch channels *size"],
        visible: Int64[Tensor, "batch kept"] | None = None,
        valid: Bool[Tensor, "batch patches"] | None = None,
        *,
        hidden: bool = False,
    ) -> Features:
        """Tokens of the visible patches, in their order, after those of ``prefix``.

        Args:
            x: Inputs of any size that patches fill.
            visible: Numbers of the patches to compute; all unless given.
            valid: Patches that are no padding, of the whole grid; nothing attends to the others.
            hidden: Whether to return the states between the blocks as well.

        Raises:
            ValueError: If the size is no multiple of the patch.
        """
        places = self.positions(self.grid(x))
        tokens = self.embed(x, visible) + (places if visible is None else places[visible])
        if valid is not None and visible is not None:
            valid = valid.gather(1, visible)
        if self.prefix is not None:
            tokens = torch.cat([self.prefix.to(tokens).expand(len(x), -1, -1), tokens], 1)
            valid = None if valid is None else torch.cat([valid.new_ones(len(x), len(self.prefix)), valid], 1)
        return self.transformer(tokens, valid, hidden=hidden)


@register
@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The shape of a decoder.

    Attributes:
        dim: Features of a token; BRIDLE has 512 for audio and images, 384 for video.
        depth: Blocks; 16, 16 and 4.
        heads: Of their attention; 16, 16 and 6.
        kind: Blocks in which all tokens see one another, or those of Swin v2, which need all axes of a window.
        mlp_ratio: How much wider their linear maps are inside.
        positions: What is added to the tokens.
        other_sizes: The positions of other grids.
        window: Of Swin blocks: patches along every axis.
        shift: Of every second Swin block: where the first window starts.
    """

    dim: int
    depth: int
    heads: int
    kind: Literal["plain", "swin"] = "plain"
    mlp_ratio: float = 4.0
    positions: Literal["sincos", "sinusoid"] = "sincos"
    other_sizes: OtherSizes = "stretched"
    window: tuple[int, ...] = (4, 4)
    shift: tuple[int, ...] = (2, 0)


class Decoder(nn.Module):
    """Tokens of visible patches to features of masked ones, and of no others: what a head predicts from.

    Plain blocks run on the visible tokens and one mask token for every masked patch that is asked for; all of them make
    up the whole grid, fewer are less work, and those left out are not seen. Swin blocks need the whole grid, and no
    token of the encoder's ``prefix``.

    Args:
        config: The shape.
        encoder: Of the encoder whose tokens come in.
    """

    def __init__(self, config: DecoderConfig, encoder: ViTConfig):
        super().__init__()
        if config.kind == "swin" and len(config.window) != len(encoder.grid):
            raise ValueError(f"windows {config.window} do not cut a grid {encoder.grid}: give a side for every axis")
        self.prefix, self.grid = encoder.prefix, encoder.grid
        self.project = nn.Linear(encoder.dim, config.dim)
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.mask = nn.Parameter(0.02 * torch.randn(config.dim))
        self.positions = Positions(config.positions, encoder.grid, config.dim, other_sizes=config.other_sizes)
        shape, ratio = (config.dim, config.depth, config.heads), config.mlp_ratio
        self.blocks: Transformer | Swin = (
            Transformer(*shape, mlp_ratio=ratio)
            if config.kind == "plain"
            else Swin(*shape, window=config.window, shift=config.shift, mlp_ratio=ratio)
        )

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens inputs"],
        visible: Int64[Tensor, "batch kept"],
        masked: Int64[Tensor, "batch masked"],
        grid: tuple[int, ...] | None = None,
        valid: Bool[Tensor, "batch patches"] | None = None,
    ) -> Float[Tensor, "batch masked dim"]:
        """Features of the masked patches, in their order.

        Args:
            tokens: Of the encoder: those of its ``prefix``, then one for every visible patch.
            visible: Numbers of the visible patches.
            masked: Numbers of the patches to predict, none of them visible.
            grid: Patches along every axis; those of the encoder's own size unless given.
            valid: Patches that are no padding, of the whole grid; nothing attends to the others.

        Raises:
            ValueError: If there are not as many tokens as prefix and visible patches.
        """
        if tokens.shape[1] != self.prefix + visible.shape[1]:
            raise ValueError(
                f"a decoder takes {self.prefix} tokens and one per visible patch, got {tokens.shape[1]} tokens for "
                f"{visible.shape[1]} patches"
            )
        grid = self.grid if grid is None else grid
        places, x = self.positions(grid), self.project(tokens)
        first, seen = x[:, : self.prefix], x[:, self.prefix :] + places[visible]
        if isinstance(self.blocks, Swin):
            whole = (self.mask + places).to(seen.dtype).expand(len(x), -1, -1)
            whole = whole.scatter(1, visible.unsqueeze(-1).expand_as(seen), seen)
            return chosen(self.blocks(whole, grid, valid), masked)
        if valid is not None:
            others = torch.cat([visible, masked], 1)
            valid = torch.cat([valid.new_ones(len(x), self.prefix), valid.gather(1, others)], 1)
        joined = torch.cat([first.to(seen.dtype), seen, (self.mask + places[masked]).to(seen.dtype)], 1)
        return self.blocks(joined, valid).tokens[:, tokens.shape[1] :]
