"""A trained quantizer with what files need: entropy tables and a fingerprint."""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from codeword.codecs.folders import DECODING, decoding
from codeword.codecs.vectors.counter import CodeCounter
from codeword.codecs.vectors.storage import read_codec, write_codec
from codeword.data.vectors import VectorSource, check_scale
from codeword.entropy.tables import CodeTables
from codeword.formats.atomic import atomic_write
from codeword.formats.errors import FormatError
from codeword.formats.salvage import SalvageReport
from codeword.formats.vector_payload import VectorHeader
from codeword.formats.vectors import VectorCodesReader, VectorCodesWriter
from codeword.quantizers import Quantizer
from codeword.quantizers.config import describe

_CHUNK = 65536  # vectors stored in one chunk of a file
_STEP = 8192  # vectors encoded or decoded at a time

Progress: TypeAlias = Callable[[int, int], object]
"""Called with the vectors done and all vectors."""

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
        """SHA-256, in hexadecimal, of what turns codes into vectors, which is neither search nor statistics."""
        digest = hashlib.sha256(json.dumps(decoding(describe(self.quantizer)), sort_keys=True).encode())
        for name, value in sorted(self.quantizer.state_dict().items()):
            if name.rpartition(".")[2] in DECODING:
                digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @property
    def coding(self) -> Coding:
        """How codes are stored by default, range-coded where the model has tables."""
        return "packed" if self.tables is None else "ranged"

    def learn_tables(self, source: VectorSource | Tensor) -> None:
        """Count the codes of training vectors, for range coding; codebooks too large for tables get none."""
        counter = CodeCounter(self.quantizer.sizes)
        for codes in self._codes(source):
            counter.add(codes)
        self.tables = counter.tables()

    def warm_up(self) -> None:
        """Encode one vector: the first call imports and sets up, which is no part of a measured speed."""
        self.quantizer.encode(torch.zeros(1, self.quantizer.dim))

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
        dim = self._check_dim(source)
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
        done = 0
        with atomic_write(path) as file, VectorCodesWriter(file, header, tables=tables, chunk_rows=_CHUNK) as writer:
            for codes in self._codes(source):
                writer.write(codes)
                done += len(codes)
                if progress is not None:
                    progress(done, len(source))
        return path.stat().st_size

    @contextmanager
    def open(self, path: Path) -> Generator[VectorCodesReader, None, None]:
        """Open a file of codes of this model, for a ``with`` block; damage found in the block is told with the path.

        Raises:
            FormatError: If the header is damaged, or this is no file of vector codes.
            ValueError: If another model wrote it, or this one lacks the tables it needs.
        """
        if not path.exists() or path.is_dir():
            state = "is a folder" if path.is_dir() else "does not exist"
            raise ValueError(f"{path} {state}: give a file of codes, as codeword encode writes it")
        try:
            with VectorCodesReader(path, tables=self.tables) as reader:
                self._check_header(reader.header, path)
                yield reader
        except FormatError as error:
            raise FormatError(f"{path}, {error.where}", error.problem) from error

    def decode(self, reader: VectorCodesReader) -> Iterator[Float[Tensor, "_ dim"]]:
        """Vectors of a file, part by part.

        Raises:
            FormatError: At the first damaged chunk.
        """
        for codes in reader:
            for start in range(0, len(codes), _STEP):  # a chunk of wide vectors would be large
                yield self._vectors(codes[start : start + _STEP])

    def salvage(self, reader: VectorCodesReader) -> SalvagedVectors:
        """Vectors of a damaged file."""
        codes, report = reader.salvage()
        return SalvagedVectors(self._vectors(codes), report)

    def save_pretrained(self, folder: Path) -> None:
        """Write the quantizer and its tables to a folder, which appears whole or not at all.

        Raises:
            WriteError: If there is no room or no permission.
        """
        write_codec(Path(folder), self.quantizer, self.tables, self.fingerprint)

    @classmethod
    def from_pretrained(cls, folder: Path) -> "VectorCodec":
        """Read what ``save_pretrained`` wrote.

        Raises:
            ValueError: If the folder holds no model, or a damaged one.
        """
        stored = read_codec(Path(folder))
        codec = cls(stored.quantizer, stored.tables)
        if stored.fingerprint not in (None, codec.fingerprint):
            raise ValueError(f"{folder} is a damaged model, its weights are not those saved: restore or train it again")
        return codec

    def _check_dim(self, source: VectorSource | Tensor) -> int:
        dim = source.shape[1] if isinstance(source, Tensor) else source.dim
        if dim != self.quantizer.dim:
            name = "the data" if isinstance(source, Tensor) else source.path
            raise ValueError(
                f"{name} has vectors of {dim} features, the model takes {self.quantizer.dim}: "
                "give data like that it was trained on"
            )
        return dim

    def _check_header(self, header: VectorHeader, path: Path) -> None:
        if header.model != self.fingerprint:
            raise ValueError(
                f"{path} was written by model {header.model[:12]}, this one is {self.fingerprint[:12]}: "
                "give the model that encoded it"
            )
        if header.sizes != self.quantizer.sizes or header.dim != self.quantizer.dim:
            raise FormatError("header", f"codes of sizes {list(header.sizes)} do not fit the model they name")
        if header.payload == "ranged" and self.tables is None:
            raise ValueError(f"{path} is range-coded, and the model lacks its entropy tables: restore its folder")

    def _vectors(self, codes: Int64[ndarray, "_ levels"]) -> Tensor:
        with torch.no_grad():
            return self.quantizer.decode(torch.from_numpy(codes))

    def _codes(self, source: VectorSource | Tensor) -> Iterator[Int64[ndarray, "_ levels"]]:
        name = "data" if isinstance(source, Tensor) else str(source.path)
        chunks = source.split(_STEP) if isinstance(source, Tensor) else source.chunks(_STEP)
        for chunk in chunks:
            check_scale(chunk, name=name)
            yield self.quantizer.encode(chunk).numpy()
