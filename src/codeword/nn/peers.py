"""Encoders of MAE, VideoMAE and AST from their weights as transformers keeps them.

Weights come as a state dict and the configuration as a mapping: of a model (``model.state_dict()``,
``model.config.to_dict()``), or of published files (``model.safetensors``, ``config.json``), whose names are older.
Decoders and heads are left out.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from codeword.nn.positions import sincos
from codeword.nn.vit import VisionTransformer, ViTConfig

_NEWER = (  # names of published files, and those of models in memory
    (r"^encoder\.layer\.", "layers."),
    (r"attention\.attention\.(q|v)_bias$", r"attention.\1_proj.bias"),
    (r"attention\.attention\.(q|k|v)(uery|ey|alue)\.", r"attention.\1_proj."),
    (r"attention\.output\.dense\.", "attention.o_proj."),
    (r"(?<=\d\.)intermediate\.dense\.", "mlp.fc1."),
    (r"(?<=\d\.)output\.dense\.", "mlp.fc2."),
)
_PARTS = {  # of a block: ours, theirs
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attention.out": "attention.o_proj",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
_SAME = 1e-3  # a table of positions this near to sin-cos is sin-cos, also in half precision


def from_vitmae(state: Mapping[str, Tensor], config: Mapping[str, object]) -> VisionTransformer:
    """The encoder of an MAE (He et al. 2022): of ``ViTMAEModel`` or ``ViTMAEForPreTraining``.

    Raises:
        ValueError: If something has no counterpart here; it says what.
    """
    weights = _Weights(state, "vit.")
    shape = replace(
        _shape(config, "qkv_bias"),
        channels=_number(config, "num_channels"),
        size=_sides(config, "image_size"),
        patch=_sides(config, "patch_size"),
    )
    table = weights.take("embeddings.position_embeddings")[0]
    prefix = weights.take("embeddings.cls_token")[0] + table[:1]
    fixed = sincos(shape.grid, shape.dim).to(table)
    known = fixed.shape == table[1:].shape and torch.allclose(fixed, table[1:], atol=_SAME)
    shape = shape if known else replace(shape, positions="table")
    return weights.fill(shape, prefix=prefix, table=None if known else table[1:])


def from_videomae(state: Mapping[str, Tensor], config: Mapping[str, object]) -> VisionTransformer:
    """The encoder of a VideoMAE (Tong et al. 2022): of ``VideoMAEModel`` and the models around it.

    Videos go in with their channels before their frames.

    Raises:
        ValueError: If something has no counterpart here; it says what.
    """
    weights = _Weights(state, "videomae.")
    shape = replace(
        _shape(config, "qv_bias", biased="qv"),
        channels=_number(config, "num_channels"),
        size=(_number(config, "num_frames"), *_sides(config, "image_size")),
        patch=(_number(config, "tubelet_size"), *_sides(config, "patch_size")),
        cls_token=False,
        positions="sinusoid",
        final_norm=not config.get("use_mean_pooling", True),  # a classifier norms the mean of the tokens instead
    )
    return weights.fill(shape)


def from_ast(state: Mapping[str, Tensor], config: Mapping[str, object]) -> VisionTransformer:
    """The encoder of an AST (Gong et al. 2021): of ``ASTModel`` or ``ASTForAudioClassification``.

    Log-mels go in as (batch, 1, time, mel). Tokens are in the order of this grid, time first; AST has mel first.

    Raises:
        ValueError: If something has no counterpart here; it says what.
    """
    weights = _Weights(state, "audio_spectrogram_transformer.")
    shape = replace(
        _shape(config, "qkv_bias"),
        channels=1,
        size=(_number(config, "max_length"), _number(config, "num_mel_bins")),
        patch=_sides(config, "patch_size"),
        stride=(_number(config, "time_stride"), _number(config, "frequency_stride")),
        distillation_token=True,
        positions="table",
    )
    if shape.patch[0] != shape.patch[1]:
        raise ValueError(f"cannot map patch_size={shape.patch}: AST's patches are square")
    kernel = "embeddings.patch_embeddings.projection.weight"
    weights.put(kernel, weights.take(kernel).transpose(-1, -2))
    table = weights.take("embeddings.position_embeddings")[0]
    tokens = torch.cat([weights.take("embeddings.cls_token")[0], weights.take("embeddings.distillation_token")[0]])
    if len(table) != 2 + shape.grid[0] * shape.grid[1]:
        raise ValueError(f"cannot map {len(table)} positions: a grid {shape.grid} and two tokens have others")
    rows = rearrange(table[2:], "(mel time) dim -> (time mel) dim", time=shape.grid[0])
    return weights.fill(shape, prefix=tokens + table[:2], table=rows)


class _Weights:
    """A peer's weights by their present names, taken out one by one so that nothing is forgotten."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str):
        inner = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        self._left: dict[str, Tensor] = {}
        for name, value in (inner or state).items():
            for older, newer in _NEWER:
                name = re.sub(older, newer, name)  # noqa: PLW2901
            self._left[name] = value

    def take(self, name: str) -> Tensor:
        if name not in self._left:
            raise ValueError(f"these weights lack {name!r}: give a model of the kind that the function names")
        return self._left.pop(name)

    def put(self, name: str, value: Tensor) -> None:
        self._left[name] = value

    def fill(
        self,
        shape: ViTConfig,
        *,
        prefix: Float[Tensor, "tokens dim"] | None = None,
        table: Float[Tensor, "patches dim"] | None = None,
    ) -> VisionTransformer:
        """A model of this shape with these weights, all of them used."""
        model = VisionTransformer(shape)
        ours: dict[str, Tensor] = {
            "embed.linear.weight": self.take("embeddings.patch_embeddings.projection.weight").flatten(1),
            "embed.linear.bias": self.take("embeddings.patch_embeddings.projection.bias"),
        }
        ours |= {} if prefix is None else {"prefix": prefix}
        ours |= {} if table is None else {"positions.table": table}
        for place in range(shape.depth):
            theirs = f"layers.{place}."
            block = {f"{our}.{part}": f"{their}.{part}" for our, their in _PARTS.items() for part in ("weight", "bias")}
            taken = {our: self.take(theirs + their) for our, their in block.items()}
            q, k, v = (self.take(f"{theirs}attention.{letter}_proj.weight") for letter in "qkv")
            taken["attention.qkv.weight"] = torch.cat([q, k, v])
            if shape.bias == "full":
                q, k, v = (self.take(f"{theirs}attention.{letter}_proj.bias") for letter in "qkv")
                taken["attention.qkv.bias"] = torch.cat([q, k, v])
            elif shape.bias == "qv":
                taken |= {
                    f"attention.{letter}_bias": self.take(f"{theirs}attention.{letter}_proj.bias") for letter in "qv"
                }
            ours |= {f"transformer.blocks.{place}.{name}": value for name, value in taken.items()}
        if shape.final_norm:
            ours |= {f"transformer.norm.{part}": self.take(f"layernorm.{part}") for part in ("weight", "bias")}
        self._check(ours, model)
        model.load_state_dict(ours)
        return model

    def _check(self, ours: Mapping[str, Tensor], model: VisionTransformer) -> None:
        if self._left:
            raise ValueError(f"cannot map {', '.join(sorted(self._left))}: they have no counterpart here")
        for name, value in model.state_dict().items():
            if ours[name].shape != value.shape:
                raise ValueError(f"weights of shape {tuple(ours[name].shape)} do not fit {name} {tuple(value.shape)}")


def _shape(config: Mapping[str, object], bias: str, *, biased: str = "full") -> ViTConfig:
    """What all peers' configurations name alike; size and patch stand for others."""
    if config.get("hidden_act", "gelu") != "gelu":
        raise ValueError(f"cannot map hidden_act={config['hidden_act']!r}: blocks here have 'gelu'")
    dim = _number(config, "hidden_size")
    return ViTConfig(
        channels=1,
        size=(1, 1),
        patch=(1, 1),
        dim=dim,
        depth=_number(config, "num_hidden_layers"),
        heads=_number(config, "num_attention_heads"),
        mlp_ratio=_number(config, "intermediate_size") / dim,
        bias=("qv" if biased == "qv" else "full") if config.get(bias, True) else "none",
        norm_eps=float(cast(float, config.get("layer_norm_eps", 1e-12))),
    )


def _number(config: Mapping[str, object], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int):
        raise ValueError(f"a configuration with an integer {name!r} is needed, got {value!r}")
    return value


def _sides(config: Mapping[str, object], name: str) -> tuple[int, int]:
    value = config.get(name)
    match value:
        case int():
            return value, value
        case [int() as first, int() as second]:
            return first, second
        case _:
            raise ValueError(f"a configuration with one or two integers {name!r} is needed, got {value!r}")
