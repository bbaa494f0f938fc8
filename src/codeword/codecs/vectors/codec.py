"""A trained quantizer with what files need: entropy tables and a fingerprint."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from safetensors.numpy import load_file, save_file
from torch import Tensor

from codeword.data.vectors import VectorSource
from codeword.entropy.tables import CodeTables
from codeword.formats.atomic import atomic_write
from codeword.formats.salvage import SalvageReport
from codeword.formats.vector_payload import VectorHeader
from codeword.formats.vectors import VectorCodesReader, VectorCodesWriter
from codeword.quantizers import Quantizer, load
from codeword.quantizers.config import Plain, describe

TABLES = "tables.safetensors"
_CHUNK = 65536  # vectors encoded, and stored, at a time

Progress: TypeAlias = Callable[[int], object]
Coding: TypeAlias = Literal["packed", "ranged"]


class SalvagedVectors(NamedTuple):
    """What is left of a damaged file: zeros where a vector was lost, and what was lost."""

    vectors: Float[Tensor, "count dim"]
    report: SalvageReport


class VectorCodec:
    """Vectors to ``.cw`` files and back.

    ::

        vectors ──► quantizer.encode ──► codes ──► packed, or range-coded by the tables ──► chunks of a .cw file
        vectors ◄── quantizer.decode ◄── codes ◄──────────────────────────────────────────────────┘

    Args:
        quantizer: A trained quantizer.
        tables: Frequencies of its codes, for range coding; without them codes are packed.
    """

    def __init__(self, quantizer: Quantizer, tables: CodeTables | None = None):
        self.quantizer, self.tables = quantizer.eval(), tables

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of what turns codes into vectors: structure and tables, not search or statistics."""
        digest = hashlib.sha256(json.dumps(_structure(describe(self.quantizer)), sort_keys=True).encode())
        for name, value in sorted(self.quantizer.state_dict().items()):
            if name.rpartition(".")[2] in _DECODING:
                digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def coding(self) -> Coding:
        """How codes are stored by default: range-coded where the model has tables."""
        return "packed" if self.tables is None else "ranged"

    def learn_tables(self, source: VectorSource | Tensor) -> None:
        """Count the codes of training vectors, for range coding."""
        self.tables = CodeTables.from_codes(np.concatenate(list(self._codes(source))), self.quantizer.sizes)

    def encode(
        self,
        source: VectorSource | Tensor,
        path: Path,
        *,
        coding: Coding | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Write the codes of all vectors to a file; the file appears when it is whole.

        Returns:
            The size of the file in bytes.

        Raises:
            ValueError: If a dimension does not fit, a row is not finite, or range coding is asked of a model without
                tables.
        """
        dim = source.shape[1] if isinstance(source, Tensor) else source.dim
        if dim != self.quantizer.dim:
            raise ValueError(f"the model quantizes vectors of {self.quantizer.dim} features, the data has {dim}")
        coding = coding or self.coding
        if coding == "ranged" and self.tables is None:
            raise ValueError("this model has no entropy tables: store its codes packed, or train it with tables")
        header = VectorHeader(
            dim=dim,
            sizes=self.quantizer.sizes,
            num_vectors=len(source),
            model=self.fingerprint,
            payload=coding,
            variable_depth=False,
        )
        tables = self.tables if coding == "ranged" else None
        with atomic_write(path) as file, VectorCodesWriter(file, header, tables=tables) as writer:
            for codes in self._codes(source):
                writer.write(codes)
                if progress is not None:
                    progress(len(codes))
        return path.stat().st_size

    def open(self, path: Path) -> VectorCodesReader:
        """Open a file of codes of this model.

        Raises:
            FormatError: If the header is damaged, or this is no file of vector codes.
            ValueError: If another model wrote it.
        """
        reader = VectorCodesReader(path, tables=self.tables)
        if reader.header.model != self.fingerprint:
            reader.close()
            raise ValueError(
                f"{path} was written by model {reader.header.model[:12]}, this one is {self.fingerprint[:12]}: "
                "decode it with the model that encoded it"
            )
        return reader

    def decode(self, reader: VectorCodesReader) -> Iterator[Float[Tensor, "_ dim"]]:
        """Vectors of a file, chunk by chunk.

        Raises:
            FormatError: At the first damaged chunk.
        """
        for codes in reader:
            yield self._vectors(codes)

    def salvage(self, reader: VectorCodesReader) -> SalvagedVectors:
        """Vectors of a damaged file."""
        codes, report = reader.salvage()
        return SalvagedVectors(self._vectors(codes), report)

    def save_pretrained(self, folder: Path) -> None:
        """Write the quantizer and its tables to a folder."""
        self.quantizer.save_pretrained(folder)
        if self.tables is not None:
            save_file(self.tables.arrays(), folder / TABLES)

    @classmethod
    def from_pretrained(cls, folder: Path) -> "VectorCodec":
        """Read what ``save_pretrained`` wrote.

        Raises:
            ValueError: If the folder holds no model, or a damaged one.
        """
        path = Path(folder) / TABLES
        return cls(load(folder), CodeTables.from_arrays(load_file(path)) if path.is_file() else None)

    def _vectors(self, codes: np.ndarray) -> Tensor:
        with torch.no_grad():
            return self.quantizer.decode(torch.from_numpy(codes))

    def _codes(self, source: VectorSource | Tensor) -> Iterator[np.ndarray]:
        chunks = source.split(_CHUNK) if isinstance(source, Tensor) else source.chunks(_CHUNK)
        for chunk in chunks:
            yield self.quantizer.encode(chunk).numpy()


_DECODING = {"table", "transform", "rotation", "mean", "deviation", "weight", "bias"}
_TRAINING = {"learning", "seeding", "revival", "search", "dropout", "estimator"}


def _structure(config: Plain) -> Plain:
    """A configuration without what only training and encoding use."""
    if isinstance(config, list):
        return [_structure(part) for part in config]
    if isinstance(config, dict):
        return {key: _structure(value) for key, value in config.items() if key not in _TRAINING}
    return config
