"""What a file or a folder of ours is, and whether it is intact."""

from pathlib import Path
from typing import NamedTuple

from codeword.codecs.vectors import VectorCodec
from codeword.formats.inspection import inspect
from codeword.search import load_index


class PathReport(NamedTuple):
    """What ``inspect_path`` found.

    Attributes:
        lines: The findings as text.
        intact: Whether every checksum holds.
    """

    lines: tuple[str, ...]
    intact: bool


def inspect_path(path: Path) -> PathReport:
    """Read a ``.cw`` file, a model or an index whole and describe it.

    Raises:
        ValueError: If it is none of these; a damaged header counts as none.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(9)
        return _index(path) if head[8:] == b"{" else _file(path)  # safetensors: a length, then a JSON header
    if (path / "config.json").is_file():
        return _model(path)
    raise ValueError(f"{path} is a folder without config.json: not a model of codeword")


def _file(path: Path) -> PathReport:
    found = inspect(path)
    rate = f"{found.bits_per_item:.3f} bits each" if found.items else "none"
    whole = f"{8 * found.file_bytes / found.items:.3f} with headers and checksums" if found.items else ""
    lines = [
        f"{path}: codeword container version {found.version}, kind {found.kind}",
        *(f"  {name}: {value}" for name, value in found.header.items()),
        f"  items: {found.items} in {found.num_chunks} chunks, {rate}{', ' + whole if whole else ''}",
        f"  bytes: {found.file_bytes} ({found.header_bytes} header, {found.payload_bytes} payload)",
        f"  intact: {'yes' if found.intact else 'no'}",
        *(f"  problem: {problem}" for problem in found.problems),
        *(f"  lost: items {start} to {stop - 1}" for start, stop in found.missing),
    ]
    return PathReport(tuple(lines), found.intact)


def _index(path: Path) -> PathReport:
    index = load_index(path)
    lines = (f"{path}: {type(index).__name__} of {len(index)} vectors", f"  metric: {index.metric}")
    return PathReport(lines, True)


def _model(path: Path) -> PathReport:
    codec = VectorCodec.from_pretrained(path)
    quantizer = codec.quantizer
    parameters = sum(table.numel() for table in quantizer.state_dict().values())
    lines = [
        f"{path}: model {type(quantizer).__name__} for vectors of {quantizer.dim} features",
        f"  sizes: {list(quantizer.sizes)}, {quantizer.bits_per_vector:g} bits per vector",
        f"  numbers stored: {parameters}",
        f"  entropy tables: {'yes' if codec.tables is not None else 'no'}",
        f"  fingerprint: {codec.fingerprint}",
    ]
    return PathReport(tuple(lines), True)
