"""Weights of the Descript Audio Codec (Kumar et al. 2023), and its arithmetic to the last bit."""

import re
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from codeword.codecs.audio.layout import WaveLayout
from codeword.codecs.audio.model import AudioModel
from codeword.nn.activations import written_out
from codeword.quantizers import Projected, VectorQuantizer

_TRANSFORMERS = (
    (r"^(encoder|decoder)\.conv1\.", r"\1.first."),
    (r"^(encoder|decoder)\.conv2\.", r"\1.last."),
    (r"^(encoder|decoder)\.snake1\.", r"\1.snake."),
    (r"\.block\.(\d+)\.snake1\.", r".blocks.\1.snake."),
    (r"\.block\.(\d+)\.conv_?t?1\.", r".blocks.\1.conv."),
    (r"\.block\.(\d+)\.res_unit1\.", r".blocks.\1.units.0."),
    (r"\.block\.(\d+)\.res_unit2\.", r".blocks.\1.units.1."),
    (r"\.block\.(\d+)\.res_unit3\.", r".blocks.\1.units.2."),
)
_UNIT = {"0": "snake1", "1": "conv1", "2": "snake2", "3": "conv2"}


def from_dac(state: Mapping[str, Tensor], sample_rate: int) -> AudioModel:
    """A model of constant depth with the weights of a DAC, ready for inference.

    Args:
        state: The state dict of a ``DacModel`` of transformers, or of the authors' ``DAC``.
        sample_rate: Samples per second that it was trained for.

    Raises:
        ValueError: If the state dict is of another model.
    """
    renamed = _renamed(_without_weight_norm(state))
    try:
        model = _empty(renamed, sample_rate)
        for number, stage in enumerate(_stages(model)):
            prefix = f"quantizer.quantizers.{number}."
            for name, linear in (("in_proj", stage.project_in), ("out_proj", stage.project_out)):
                linear.weight.data.copy_(renamed.pop(f"{prefix}{name}.weight").squeeze(-1))
                linear.bias.data.copy_(renamed.pop(f"{prefix}{name}.bias"))
            cast(VectorQuantizer, stage.quantizer).codebook.assign(renamed.pop(f"{prefix}codebook.weight"))
        for part in ("encoder", "decoder"):
            own = {key[len(part) + 1 :]: renamed.pop(key) for key in list(renamed) if key.startswith(f"{part}.")}
            getattr(model, part).load_state_dict(own)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"this is not the state dict of a DAC: {' '.join(str(error).split())}") from error
    if renamed:
        raise ValueError(f"the state dict holds more than a DAC: {', '.join(sorted(renamed)[:3])}")
    return model.eval()


def reference_encode(model: AudioModel, audio: Float[Tensor, "batch 1 time"]) -> Int[Tensor, "batch frames levels"]:
    """Codes by the operations of the published code, one by one; slow."""
    with torch.no_grad(), written_out():
        residual = model.encoder(audio).latents
        codes: list[Tensor] = []
        for stage in _stages(model):
            inner = F.conv1d(residual, stage.project_in.weight.unsqueeze(-1), stage.project_in.bias)
            table = cast(VectorQuantizer, stage.quantizer).codebook.vectors
            x, c = F.normalize(inner.transpose(1, 2).reshape(-1, inner.shape[1])), F.normalize(table)
            distance = -(x.pow(2).sum(1, keepdim=True) - 2 * x @ c.t()) + c.pow(2).sum(1, keepdim=True).t()
            index = distance.max(1)[1].view(len(audio), -1)
            found = inner + (F.embedding(index, table).transpose(1, 2) - inner)
            residual = residual - F.conv1d(found, stage.project_out.weight.unsqueeze(-1), stage.project_out.bias)
            codes.append(index)
        return torch.stack(codes, -1)


def reference_decode(model: AudioModel, codes: Int[Tensor, "batch frames levels"]) -> Float[Tensor, "batch 1 time"]:
    """The waveform of codes by the operations of the published code, one by one; slow."""
    with torch.no_grad(), written_out():
        total = torch.zeros(())
        for stage, index in zip(_stages(model), codes.unbind(-1), strict=False):
            rows = F.embedding(index, cast(VectorQuantizer, stage.quantizer).codebook.vectors).transpose(1, 2)
            total = total + F.conv1d(rows, stage.project_out.weight.unsqueeze(-1), stage.project_out.bias)
        return model.decoder(total)


def _stages(model: AudioModel) -> list[Projected]:
    return [part for part in model.quantizer.modules() if isinstance(part, Projected)]


def _without_weight_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Lengths and directions multiplied, whichever of PyTorch's names they have."""
    plain: dict[str, Tensor] = {}
    for key, value in state.items():
        for length, direction in (
            ("weight_g", "weight_v"),
            *[(f"parametrizations.weight.original{i}" for i in (0, 1))],
        ):
            if key.endswith(length):
                stem = key[: -len(length)]
                plain[f"{stem}weight"] = torch._weight_norm(state[stem + direction], value, 0)
                break
            if key.endswith(direction):
                break
        else:
            plain[key] = value
    return plain


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if "decoder.model.0.weight" in state:
        return {_official_name(key, state): value for key, value in state.items()}
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        for pattern, name in _TRANSFORMERS:
            key = re.sub(pattern, name, key)  # noqa: PLW2901
        renamed[key] = value
    return renamed


def _official_name(key: str, state: Mapping[str, Tensor]) -> str:
    """The authors number all layers of a sequence alike: convolution, blocks, activation, convolution."""
    found = re.match(r"(encoder\.block|decoder\.model)\.(\d+)\.(.*)", key)
    if found is None:
        return key
    part, place, rest = found[1].partition(".")[0], int(found[2]), found[3]
    blocks = max(int(name.split(".")[2]) for name in state if name.startswith(f"{found[1]}.")) - 2
    if not 1 <= place <= blocks:
        return f"{part}.{ {0: 'first', blocks + 1: 'snake', blocks + 2: 'last'}[place] }.{rest}"
    inner = re.match(r"block\.(\d)\.(.*)", rest)
    if inner is None:
        return key
    layer, rest = int(inner[1]), inner[2]
    names = {"encoder": {3: "snake", 4: "conv"}, "decoder": {0: "snake", 1: "conv"}}[part]
    if layer in names:
        return f"{part}.blocks.{place - 1}.{names[layer]}.{rest}"
    unit = re.match(r"block\.(\d)\.(.*)", rest)
    if unit is None:
        return key
    number = layer - (2 if part == "decoder" else 0)
    return f"{part}.blocks.{place - 1}.units.{number}.{_UNIT[unit[1]]}.{unit[2]}"


def _empty(state: Mapping[str, Tensor], sample_rate: int) -> AudioModel:
    """A model of the shape that the weights ask for."""
    blocks = sum(bool(re.fullmatch(r"encoder\.blocks\.\d+\.conv\.weight", key)) for key in state)
    levels = sum(bool(re.fullmatch(r"quantizer\.quantizers\.\d+\.codebook\.weight", key)) for key in state)
    size, code_dim = state["quantizer.quantizers.0.codebook.weight"].shape
    layout = WaveLayout(
        width=len(state["encoder.first.weight"]),
        strides=tuple(state[f"encoder.blocks.{block}.conv.weight"].shape[-1] // 2 for block in range(blocks)),
        latent=len(state["encoder.last.weight"]),
        decoder_width=len(state["decoder.first.weight"]),
        padding="cut",
    )
    return AudioModel(sample_rate, layout, levels=levels, size=size, code_dim=code_dim, kernels=None)
