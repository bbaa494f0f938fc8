"""Indexes in files: one safetensors file each, tensors and a JSON header, written whole or not at all."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from codeword.formats.atomic import atomic_write
from codeword.quantizers.base import Quantizer
from codeword.quantizers.config import Plain, build, describe
from codeword.quantizers.storage import put_weights, weights
from codeword.search.shortlist import Metric

FORMAT, VERSION, _KEY = "codeword index", 1, "codeword"


class Saved(NamedTuple):
    """An index as it lies in a file.

    Attributes:
        path: Where it was found.
        header: What is not a tensor: kind, metric, the configuration of quantizers.
        tensors: The rest by name.
    """

    path: Path
    header: Mapping[str, Plain]
    tensors: Mapping[str, Tensor]

    @property
    def metric(self) -> Metric:
        """The metric of the index.

        Raises:
            ValueError: If it is none.
        """
        metric = self.header.get("metric")
        if metric not in ("l2", "ip"):
            raise ValueError(f"{self.path} has the metric {metric!r}, but there are 'l2' and 'ip'")
        return "l2" if metric == "l2" else "ip"

    def tensor(self, name: str) -> Tensor:
        """A tensor that must be there.

        Raises:
            ValueError: If it is not.
        """
        if name not in self.tensors:
            raise ValueError(f"{self.path} lacks the tensor {name!r}: it is damaged or was not written by save()")
        return self.tensors[name]

    def quantizer(self, name: str) -> Quantizer:
        """A quantizer that must be there.

        Raises:
            ValueError: If it is not, or its weights do not fit.
        """
        model = build(self.header.get(name))
        if not isinstance(model, Quantizer):
            raise ValueError(f"{self.path} describes no quantizer under {name!r}, but a {type(model).__name__}")
        prefix = f"{name}."
        given = {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}
        try:
            put_weights(model, given)
        except RuntimeError as error:
            raise ValueError(f"the weights of the {name} in {self.path} do not fit its description: {error}") from error
        return model.eval()


def write(
    path: str | os.PathLike[str],
    header: Mapping[str, Plain],
    tensors: Mapping[str, Tensor],
    **quantizers: Quantizer,
) -> None:
    """Write an index; what was at ``path`` stays until the new file is complete.

    Args:
        path: The file.
        header: Plain values, among them the kind of index.
        tensors: Tensors by name.
        quantizers: Quantizers by name, stored as description and weights.
    """
    described = {name: describe(quantizer) for name, quantizer in quantizers.items()}
    text = json.dumps({"format": FORMAT, "version": VERSION, **header, **described})
    kept = {f"{name}.{key}": value for name, q in quantizers.items() for key, value in weights(q).items()}
    stored = {key: value.detach().cpu().contiguous() for key, value in (dict(tensors) | kept).items()}
    data = save(stored, {_KEY: text})
    with atomic_write(path) as file:
        file.write(data)


def read(path: str | os.PathLike[str]) -> Saved:
    """Read what ``write`` has written.

    Raises:
        ValueError: If the file is missing, damaged, foreign, or of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no index at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY, "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no index, or is damaged: {error}") from error
    try:
        header = json.loads(text)
    except json.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} holds tensors, but no index: was it written by save()?")
    if header.get("version") != VERSION:
        raise ValueError(f"{path} is an index of version {header.get('version')}; this codeword reads {VERSION}")
    return Saved(path, header, tensors)
