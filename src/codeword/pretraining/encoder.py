"""The encoder that pretraining leaves behind: a network, and the front end that its inputs have to come from."""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import ModelHubMixin
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from codeword.nn.peers import from_ast, from_videomae, from_vitmae
from codeword.nn.pooling import pooled
from codeword.nn.vit import VisionTransformer, ViTConfig
from codeword.pretraining.front_ends import FrontEnd
from codeword.pretraining.samples import Inputs
from codeword.pretraining.storage import check_front_end, fingerprinted
from codeword.quantizers.config import register
from codeword.quantizers.storage import CONFIG, WEIGHTS, card, fetched, read_module, write_module

KIND = "encoder"
Pooling = Literal["none", "mean", "bands", "quarters", "cls"]
_PEERS = {"vit_mae": from_vitmae, "videomae": from_videomae, "audio-spectrogram-transformer": from_ast}


_CARD = card(
    "A pretrained encoder",
    "A transformer that makes vectors of audio, images or videos, pretrained on quantized tokens and written by "
    "codeword. `config.json` has its size and what makes its inputs of files.",
    "from codeword.pretraining.encoder import Encoder\n\n"
    'encoder = Encoder.from_pretrained("this folder")\nfeatures = encoder.extract(inputs, pooling="mean")',
)


@register
class Encoder(nn.Module, ModelHubMixin, library_name="codeword", model_card_template=_CARD):
    """A vision transformer of log-mels, images or videos.

    Args:
        vit: The shape of the network.
        front_end: What makes its inputs of files; ``None`` where nobody has said, as in weights of others.
    """

    def __init__(self, vit: ViTConfig, front_end: FrontEnd | None = None):
        super().__init__()
        if front_end is not None and (front_end.channels, front_end.size) != (vit.channels, vit.size):
            raise ValueError(
                f"the front end makes {front_end.channels} x {front_end.size}, the network takes {vit.channels} x "
                f"{vit.size}: give both the same"
            )
        self.config, self.front_end = vit, front_end
        self.network = VisionTransformer(vit)

    @torch.no_grad()
    def extract(
        self,
        batch: Inputs | Float[Tensor, "batch channels *size"],
        layer: int = -1,
        *,
        pooling: Pooling = "none",
        norm: bool = True,
    ) -> Float[Tensor, "batch *tokens dim"]:
        """Features of inputs, in evaluation mode and without gradient.

        Args:
            batch: Inputs as the front end makes them, with their padding, or only their values.
            layer: Which block's output: 0 is the first's, -1 the last's.
            pooling: ``none`` gives one vector for every patch, ``mean`` their mean over what is no padding, ``bands``
                that over time alone, ``quarters`` that in each of four equal parts, ``cls`` the token of that name.
            norm: Whether the network's last norm is applied, whatever the layer.

        Raises:
            ValueError: If there are no such features; see ``check``.
        """
        self.check(layer, pooling)
        values, valid = batch if isinstance(batch, Inputs) else (batch, None)
        training = self.training
        found = self.eval().network(values, valid=valid, hidden=True)
        self.train(training)
        states = found.hidden[1 + layer % self.config.depth]
        tokens = self.network.transformer.norm(states) if norm else states
        if pooling == "none":
            return tokens[:, self.config.prefix :]
        return pooled(tokens, pooling, self.network.grid(values), valid)

    def check(self, layer: int, pooling: Pooling) -> None:
        """Refuse features that are not to be had.

        Raises:
            ValueError: If there is no such layer or token, or images are to be pooled over parts of time.
        """
        depth = self.config.depth
        if not -depth <= layer < depth:
            raise ValueError(
                f"layer {layer} does not exist: the network has {depth}, 0 to {depth - 1} or -{depth} to -1"
            )
        if pooling == "cls" and not self.config.cls_token:
            raise ValueError("the network has no cls token: pool by mean")
        if pooling in ("bands", "quarters") and self.front_end is not None and self.front_end.kind == "image":
            raise ValueError(f"{pooling} are of what has time, and images have none: pool by mean")

    def arguments(self) -> dict[str, object]:
        """The constructor's arguments by name, for the saved configuration."""
        return {"vit": self.config, "front_end": self.front_end}

    def _save_pretrained(self, save_directory: Path) -> None:
        write_module(save_directory, self, KIND, notes=fingerprinted(self.front_end))

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> "Encoder":
        return read_encoder(fetched(model_id, [CONFIG, WEIGHTS], **options))


def unlearned(encoder: Encoder, seed: int) -> Encoder:
    """The same network with random weights, which are those of the seed; nothing else is drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Encoder(encoder.config, encoder.front_end).eval()


def read_encoder(folder: Path) -> Encoder:
    """An encoder of ours, or that of an MAE, a VideoMAE or an AST as transformers saves them.

    Raises:
        ValueError: In one line that names the folder, if it holds none, a damaged one, or one of another front end.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} is no encoder: it has no {CONFIG}; give the folder that codeword pretrain made")
    try:
        config = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if isinstance(config, dict) and config.get("model_type") in _PEERS:
        return _peer(folder, config)
    encoder = read_module(folder, KIND)
    if not isinstance(encoder, Encoder):
        raise ValueError(f"{folder} holds a {type(encoder).__name__}, not an encoder")
    check_front_end(folder, encoder.front_end)
    return encoder


def _peer(folder: Path, config: dict[str, Any]) -> Encoder:
    try:
        network = _PEERS[config["model_type"]](load_file(folder / WEIGHTS), config)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged or missing: {' '.join(str(error).split())}") from error
    encoder = Encoder(network.config)
    encoder.network = network
    return encoder.eval()
