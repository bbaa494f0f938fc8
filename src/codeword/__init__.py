"""codeword: learn discrete codes by vector quantization, from a matrix of vectors to a layer inside a network.

Names are imported on first use, so that ``codeword --help`` answers before PyTorch is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codeword.functional.tokens import delay_levels as delay_levels
    from codeword.functional.tokens import flatten_levels as flatten_levels
    from codeword.functional.tokens import undelay_levels as undelay_levels
    from codeword.functional.tokens import unflatten_levels as unflatten_levels
    from codeword.quantizers import *  # noqa: F403
    from codeword.types import Quantized as Quantized
    from codeword.types import Selected as Selected

__version__ = "0.1.0"

_QUANTIZERS = (
    "AdditiveQuantizer", "Beam", "BinaryQuantizer", "ChannelsFirst", "Codebook", "Cosine", "Cube", "DepthDropout",
    "DirectionAverage", "Directional", "EntropyLoss", "Euclidean", "FromData", "Gradient", "Greedy", "HalfStep",
    "KMeans", "Keep", "MovingAverage", "NoiseSubstitution", "Normalized", "ProductQuantizer", "Projected", "Quantizer",
    "Refined", "ReplaceUnused", "ResidualQuantizer", "ReviveDead", "Rotated", "Rotation", "ScalarQuantizer", "SetBeam",
    "SimVQ", "Sphere", "StraightThrough", "Symmetric", "Uniform", "UnitScale", "VectorQuantizer",
    "from_vector_quantize_pytorch", "load", "seed", "update",
)  # fmt: skip
_TOKENS = ("delay_levels", "flatten_levels", "undelay_levels", "unflatten_levels")
_HOME = (
    dict.fromkeys(_QUANTIZERS, "codeword.quantizers")
    | dict.fromkeys(_TOKENS, "codeword.functional.tokens")
    | dict.fromkeys(("Quantized", "Selected"), "codeword.types")
)
__all__ = ["__version__", *_HOME]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'codeword' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
