"""codeword: learn discrete codes by vector quantization, from a matrix of vectors to audio, images and video.

Names are imported on first use, so that ``codeword --help`` answers before PyTorch is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codeword.quantizers.base import Quantizer as Quantizer
    from codeword.quantizers.base import load as load
    from codeword.types import Quantized as Quantized

__version__ = "0.1.0"

_HOME = {
    "Quantized": "codeword.types",
    "Quantizer": "codeword.quantizers.base",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'codeword' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
