"""codeword: learn discrete codes by vector quantization, from a matrix of vectors to audio, images and video.

Names are imported on first use, so that ``codeword --help`` answers before PyTorch is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codeword.quantizers import *  # noqa: F403
    from codeword.types import Quantized as Quantized

__version__ = "0.1.0"

_QUANTIZERS = (
    "AdditiveQuantizer", "Beam", "BinaryQuantizer", "ChannelsFirst", "Cosine", "DepthDropout", "Directional",
    "Euclidean", "FromData", "Gradient", "Greedy", "KMeans", "Keep", "MovingAverage", "NoiseSubstitution",
    "Normalized", "ProductQuantizer", "Projected", "Quantizer", "Refined", "ReplaceUnused", "ResidualQuantizer",
    "ReviveDead", "Rotated", "Rotation", "ScalarQuantizer", "SetBeam", "SimVQ", "StraightThrough", "Uniform",
    "VectorQuantizer", "load", "seed", "update",
)  # fmt: skip
_HOME = {"Quantized": "codeword.types"} | dict.fromkeys(_QUANTIZERS, "codeword.quantizers")


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'codeword' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return ["__version__", *sorted(_HOME)]
