"""Audio models as ONNX files, for runtimes without PyTorch."""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.export import Dim

from codeword.codecs.audio.model import AudioModel
from codeword.codecs.audio.storage import fingerprint
from codeword.formats.atomic import atomic_write
from codeword.nn.fourier import MatrixFourier
from codeword.nn.spectral import SpectralDecoder, SpectralEncoder

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
_LENGTH = {"audio": 2, "codes": 1, "importance": 1}  # axes that may have any length
_PACKAGES = ("onnx", "onnxscript")
_FRAMES = 20  # of the example that is traced; any other number fits as well


class Exported(NamedTuple):
    """The files of an export.

    Attributes:
        encoder: ``audio`` (batch, 1, time), float32, any length from one sample, to ``codes`` (batch, frames, levels),
            int64, of all levels, and ``importance`` (batch, frames) where the model has one.
        decoder: ``codes`` (batch, frames, levels), -1 beyond the depth of a frame, to ``audio`` (batch, 1, time).
    """

    encoder: Path
    decoder: Path


def export_onnx(model: AudioModel, folder: Path) -> Exported:
    """Write encoder and decoder of a model, each as one file with its weights, for a batch and a length of any size.

    ::

        audio ──► encoder.onnx ──► codes, importance ──► depth of your choice ──► decoder.onnx ──► audio

    The depth of a frame at a scale l is min(floor(l p) + 1, levels), p its importance; what lies beyond it becomes -1.
    Sample rate, hop, levels, size of the codebooks and the fingerprint stand in the metadata of the files.

    Note:
        Fourier transforms become matrix products: at 1280 samples, ONNX Runtime's own are a hundred times less exact
        and take twice the time. The matrix takes 4 (length + 2) length bytes of each file, then 6.6 MB.

    Args:
        model: Its weight norm is removed. Also a causal one is exported for whole signals, without memory.
        folder: Where; made if it is not there.

    Raises:
        ValueError: If the packages of ONNX are not installed.
        WriteError: If the files cannot be written.
    """
    if any(find_spec(name) is None for name in _PACKAGES):
        raise ValueError("ONNX export needs packages that are not installed: pip install 'codeword[onnx]'")
    folder.mkdir(parents=True, exist_ok=True)
    model.remove_weight_norm()  # before the copy: PyTorch's copies of normed layers share a class with them
    prepared = copy.deepcopy(model).eval().cpu()
    for part in (prepared.encoder, prepared.decoder):
        if isinstance(part, SpectralEncoder | SpectralDecoder):
            part.fourier = MatrixFourier(part.length)
    about = {
        "sample_rate": str(model.sample_rate),
        "hop": str(model.hop),
        "levels": str(model.levels),
        "size": str(model.size),
        "model": fingerprint(prepared),
    }
    audio = {"audio": torch.zeros(2, 1, _FRAMES * model.hop - 1)}
    codes = {"codes": torch.zeros(2, _FRAMES, model.levels, dtype=torch.int64)}
    made = ["codes"] if model.importance is None else ["codes", "importance"]
    files = Exported(folder / ENCODER, folder / DECODER)
    _write(_Encoder(prepared), audio, made, files.encoder, about)
    _write(_Decoder(prepared), codes, ["audio"], files.decoder, about)
    return files


class _Encoder(nn.Module):
    def __init__(self, model: AudioModel):
        super().__init__()
        self.model = model

    def forward(self, audio: Float[Tensor, "batch 1 time"]) -> tuple[Tensor, ...]:
        whole = F.pad(audio, (0, -audio.shape[-1] % self.model.hop))
        latents, importance = self.model.analyse(whole)
        codes = self.model.quantizer.quantizer.encode(latents)
        return (codes,) if importance is None else (codes, importance)


class _Decoder(nn.Module):
    def __init__(self, model: AudioModel):
        super().__init__()
        self.model = model

    def forward(self, codes: Int[Tensor, "batch frames levels"]) -> Float[Tensor, "batch 1 time"]:
        return self.model.synthesise(self.model.quantizer.quantizer.decode(codes))


def _write(
    net: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str], path: Path, about: Mapping[str, str]
) -> None:
    """Export a network of one input; batch and length of the example stand for any."""
    ((name, given),) = example.items()
    with _quiet():
        program = torch.onnx.export(
            net,
            (given,),
            dynamo=True,
            verbose=False,
            input_names=[name],
            output_names=list(outputs),
            dynamic_shapes=({0: Dim.DYNAMIC, _LENGTH[name]: Dim.DYNAMIC},),
        )
    assert program is not None
    proto = program.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        axes, place = value.type.tensor_type.shape.dim, _LENGTH[value.name]
        axes[0].dim_param, axes[place].dim_param = "batch", "time" if value.name == "audio" else "frames"
    # Shapes in the names that PyTorch gave them, and traces that name files of this machine.
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        del node.metadata_props[:]
    for key, value in about.items():
        proto.metadata_props.add(key=f"codeword.{key}", value=value)
    with atomic_write(path) as file:
        file.write(proto.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch's exporter warns about its own parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
