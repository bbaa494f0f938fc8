"""What a file or a folder of ours is, and whether it is intact."""

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from safetensors import SafetensorError, safe_open

from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.storage import SPEECH, located, read_tables
from codeword.codecs.folders import read_frame_tables
from codeword.codecs.image.codec import ImageCodec
from codeword.codecs.image.storage import PHOTOS
from codeword.codecs.image.storage import located as located_image
from codeword.codecs.sound import kilobits
from codeword.codecs.speech.codec import SpeechCodec
from codeword.codecs.speech.storage import KIND as SPEECH_MODEL
from codeword.codecs.speech.storage import located as located_speech
from codeword.codecs.vectors import VectorCodec
from codeword.entropy.frames import FrameTables
from codeword.entropy.tables import TOTAL, CodeTables
from codeword.evaluation.encoder_inspection import INSPECTED
from codeword.evaluation.indexing import read_index
from codeword.formats.audio import KIND as AUDIO
from codeword.formats.audio_inspection import AudioInspection, inspect_audio
from codeword.formats.audio_payload import AudioHeader
from codeword.formats.container import MAGIC
from codeword.formats.errors import FormatError
from codeword.formats.fields import short_fingerprint
from codeword.formats.image import KIND as IMAGE
from codeword.formats.image import ImageFileReader
from codeword.formats.image_payload import ImageHeader
from codeword.formats.inspection import inspect
from codeword.formats.speech import KIND as SPEECH_FILE
from codeword.formats.speech import SpeechFileReader
from codeword.formats.tokens import KIND as TOKENS
from codeword.formats.tokens import TokenHeader
from codeword.quantizers import Quantizer
from codeword.search import CodedIndex, FlatIndex, InvertedIndex
from codeword.training import checkpoint

_NO_CHECKSUM = "complete and readable (files of this kind carry no checksum)"
_SPANS = 60  # values that a row of depths is summed up in
_OURS = "give a model folder, a .cw file, an index or a checkpoint"


class PathReport(NamedTuple):
    """What ``inspect_path`` found.

    Attributes:
        lines: The findings as text.
        intact: Whether every checksum holds.
    """

    lines: tuple[str, ...]
    intact: bool


def inspect_path(path: Path, tables: FrameTables | None = None) -> PathReport:
    """Read a ``.cw`` file, a model, an index or a checkpoint whole and describe it.

    Args:
        path: The file or folder.
        tables: Those of the model of a range-coded audio file, to tell its depths; those of the model that comes with
            the package are found without.

    Raises:
        ValueError: If it is none of these; a damaged header counts as none.
    """
    path = located_speech(located_image(located(path)))
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{path} is a folder without config.json, not a model of codeword: {_OURS}")
        kind = str(_json((path / "config.json").read_text(errors="replace")).get("format")).removeprefix("codeword ")
        if kind in INSPECTED:
            return _whole(chain(INSPECTED[kind](path), [f"  bytes: {_bytes(path)}", f"  intact: {_NO_CHECKSUM}"]))
        of_media = {AUDIO: _audio_model, IMAGE: _image_model, SPEECH_MODEL: _speech_model}
        return _whole(of_media.get(kind, _model)(path))
    if not path.is_file():
        raise ValueError(f"{path} {'is no regular file' if path.exists() else 'does not exist'}: {_OURS}")
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":  # safetensors: a length, then a JSON header
        return _whole(_tensors(path))
    if head[:1] == MAGIC[:1] or path.suffix == ".cw":
        return _container(path, tables)
    begins = f"starts with {head[:8]!r}" if head else "is empty"
    raise ValueError(f"{path} is no file of codeword, it {begins}: {_OURS}")


def _whole(lines: Iterator[str]) -> PathReport:
    return PathReport(tuple(lines), True)


def _container(path: Path, tables: FrameTables | None) -> PathReport:
    try:
        found = inspect(path)
        described = [f"{name}: {value}" for name, value in found.header.items()]
        if found.kind == AUDIO:
            tables = tables or _shipped_tables(AudioHeader.from_fields(found.header).tables)
            described = list(_audio(inspect_audio(path, tables), 8 * found.payload_bytes / 1000))
        if found.kind == IMAGE:
            tables = tables or _shipped_tables(ImageHeader.from_fields(found.header).tables)
            described = list(_image(path, tables, found.file_bytes))
        if found.kind == SPEECH_FILE:
            described = list(_speech(path, found.file_bytes))
        if found.kind == TOKENS:
            described = list(_tokens(TokenHeader.from_fields(found.header)))
    except FormatError as error:
        raise FormatError(f"{path}, {error.where}", error.problem) from error
    lines = [
        f"{path}: codeword container version {found.version}, kind {found.kind}",
        *(f"  {line}" for line in described),
        f"  items: {found.items} in {found.num_chunks} chunk{'s' * (found.num_chunks != 1)}",
        f"  bytes: {found.file_bytes} (header {found.header_bytes}, payload {found.payload_bytes})",
    ]
    if found.items:
        whole = 8 * found.file_bytes / found.items
        lines.append(f"  rate: {found.bits_per_item:.3f} bits per item, {whole:.3f} with headers and checksums")
    lines += [
        f"  intact: {'yes, every checksum holds' if found.intact else 'no'}",
        *(f"  problem: {problem}" for problem in found.problems),
        *(f"  lost: items {start} to {stop - 1}" for start, stop in found.missing),
    ]
    return PathReport(tuple(lines), found.intact)


def _shipped_tables(wanted: str | None) -> FrameTables | None:
    """Those with this fingerprint, of a model that comes with the package."""
    shipped = (read_tables(Path(SPEECH)), read_frame_tables(located_image(Path(PHOTOS))))
    return next((tables for tables in shipped if tables and wanted == short_fingerprint(tables.fingerprint())), None)


def _audio(found: AudioInspection, payload_kbits: float) -> Iterator[str]:
    header = found.header
    channels = {1: "1 channel"}.get(header.channels, f"{header.channels} channels, {header.channel_mode}")
    frame_rate = header.sample_rate / header.hop
    yield f"model: {header.model}"
    yield f"length: {found.seconds:.3f} seconds at {header.sample_rate} Hz, {channels}"
    yield f"frames: {frame_rate:.3f} per second, of {header.hop} samples"
    depth = "variable depth" if header.depth is None else f"constant depth {header.depth}"
    yield f"levels: {_short(header.sizes)}, {depth}"
    yield "payload: packed" if header.tables is None else f"payload: range-coded with tables {header.tables}"
    if found.seconds:
        yield f"kbps: {found.kbps:.3f} in the file, {payload_kbits / found.seconds:.3f} of it codes"
    if found.depth_per_second is None or found.shares is None or found.level_kbps is None:
        yield "depths: coded with tables of the model, which were not given"
        return
    for level, (size, share, kbps) in enumerate(zip(header.sizes, found.shares, found.level_kbps, strict=True)):
        yield f"level {level}: {math.log2(size):.2f} bits, in {100 * share:.1f} % of frames, {kbps:.3f} kbps packed"
    yield from _depths(found.depth_per_second)


def _speech(path: Path, file_bytes: int) -> Iterator[str]:
    with SpeechFileReader(path) as reader:
        header, samples = reader.header, reader.num_samples or 0
    yield f"model: {header.model}, tables {header.tables}"
    seconds = samples / header.sample_rate
    yield f"length: {seconds:.3f} seconds at {header.sample_rate} Hz, 1 channel"
    if samples:
        yield f"kbps: {kilobits(file_bytes, seconds):.3f} in the file"
    yield f"frames: {header.sample_rate / header.lines:.3f} per second, of {header.lines} lines"
    yield f"envelope: {_short(header.sizes)}"


def _tokens(header: TokenHeader) -> Iterator[str]:
    padding = ", some of them padding" if header.padding else ""
    yield f"samples: {header.samples}, from number {header.first} of a data set on, each with its name"
    yield f"patches: {' x '.join(map(str, header.grid))} = {header.patches} of a sample{padding}"
    yield f"levels: {_short(header.sizes)}, {math.fsum(map(math.log2, header.sizes)):g} bits a patch at fixed width"
    yield f"tokenizer: {header.tokenizer}"
    yield f"front end: {header.front_end or 'not said'}"


def _depths(per_second: Float64[np.ndarray, " seconds"]) -> Iterator[str]:
    """At most 60 means, over as many seconds each as that takes."""
    span = max(-(-len(per_second) // _SPANS), 1)
    spans = [per_second[start : start + span] for start in range(0, len(per_second), span)]
    means = [f"{part[known].mean():.1f}" if (known := np.isfinite(part)).any() else "lost" for part in spans]
    for start in range(0, len(means), 10):
        yield f"depth from second {start * span} on, every {span}: {' '.join(means[start : start + 10])}"


def _tensors(path: Path) -> Iterator[str]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, list(file.keys())
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or was cut off: {error}; restore it or make it again") from error
    if checkpoint.FORMAT in metadata:
        return _checkpoint(path)
    record = _json(metadata.get("codeword"))
    if record.get("format") == "codeword index":
        return _index(path)
    if (path.parent / "config.json").is_file():
        raise ValueError(f"{path} is a part of the model {path.parent}: inspect the folder")
    raise ValueError(f"{path} holds {len(names)} tensors, but was not written by codeword: {_OURS}")


def _json(text: str | None) -> dict[str, object]:
    try:
        found = json.loads(text or "{}")
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _index(path: Path) -> Iterator[str]:
    index, size = read_index(path), path.stat().st_size
    kinds = {FlatIndex: "exact vectors", CodedIndex: "codes", InvertedIndex: "codes in inverted lists"}
    yield f"{path}: index of {kinds[type(index)]}, metric {index.metric}"
    if isinstance(index, FlatIndex):
        yield f"  vectors: {len(index)} of {index.dim} features"
    else:
        yield f"  vectors: {len(index)} of {index.quantizer.dim} features"
        yield from _quantizer(index.quantizer)
    if isinstance(index, InvertedIndex):
        yield f"  lists: {index.size}, of {'residuals' if index.by_residual else 'the vectors themselves'}"
    rate = f", {8 * size / len(index):.3f} bits per vector with the codebooks" if len(index) else ""
    yield f"  bytes: {size}{rate}"
    yield f"  intact: {_NO_CHECKSUM}"


def _checkpoint(path: Path) -> Iterator[str]:
    state = checkpoint.load_checkpoint(path)
    stages, history = state.get("stages"), state.get("history")
    if isinstance(stages, dict) and isinstance(history, list):
        yield f"{path}: interrupted training in closed form; the same command goes on from here"
        yield f"  stages begun: {len(stages)}"
        if history:
            stage, number, error, *_ = history[-1]
            yield f"  last step: {stage}, step {number}, squared error {error:.6g}"
    else:
        yield f"{path}: checkpoint of a training run"
        for name, value in state.items():
            if value is None or isinstance(value, bool | int | float | str):
                yield f"  {name}: {value}"
        yield f"  parts: {', '.join(state)}"
    yield f"  bytes: {path.stat().st_size}"
    yield f"  intact: {_NO_CHECKSUM}"


def _model(path: Path) -> Iterator[str]:
    codec = VectorCodec.from_pretrained(path)
    parts = [file for file in sorted(path.iterdir()) if file.suffix in (".json", ".safetensors")]
    yield f"{path}: model for vectors of {codec.quantizer.dim} features"
    yield from _quantizer(codec.quantizer)
    if codec.tables is None:
        yield "  entropy tables: none, codes are packed"
    else:
        yield f"  entropy tables: yes, {_expected_bits(codec.tables):.3f} bits per vector on data like that of training"
    yield f"  bytes: {sum(file.stat().st_size for file in parts)} ({', '.join(file.name for file in parts)})"
    yield f"  fingerprint: {codec.fingerprint}"
    kept = (path / "codec.json").is_file()
    yield f"  intact: {'yes, the fingerprint is the one it was saved with' if kept else _NO_CHECKSUM}"


def _audio_model(path: Path) -> Iterator[str]:
    codec = AudioCodec.open(path)
    model, quantizer = codec.model, codec.model.quantizer.quantizer
    yield f"{path}: audio model for {model.sample_rate} Hz, {sum(p.numel() for p in model.parameters()):,} parameters"
    yield f"  layout: {model.layout}"
    yield f"  frames: {model.frame_rate:g} per second of {model.hop} samples"
    yield f"  levels: {_short(quantizer.sizes)}, {'constant' if model.importance is None else 'variable'} depth"
    yield f"  rates: {model.frame_rate * math.log2(model.size) / 1000:.3f} kbps a level, packed"
    yield f"  entropy tables: {'none, codes are packed' if codec.tables is None else 'yes, codes are range-coded'}"
    yield f"  bytes: {_bytes(path)}"
    yield f"  fingerprint: {short_fingerprint(codec.fingerprint)}"
    yield f"  intact: {_NO_CHECKSUM}"


def _image(path: Path, tables: FrameTables | None, file_bytes: int) -> Iterator[str]:
    with ImageFileReader(path, tables=tables) as reader:
        header = reader.header
        yield f"model: {header.model}"
        colours = "grey" if header.channels == 1 else "colour"
        yield f"image: {header.width} x {header.height} pixels, {colours}"
        yield f"latents: {header.columns} x {header.rows}, one for {header.step} x {header.step} pixels"
        depth = "variable depth" if header.depth is None else f"constant depth {header.depth}"
        yield f"levels: {_short(header.sizes)}, {depth}"
        yield "payload: packed" if header.tables is None else f"payload: range-coded with tables {header.tables}"
        yield f"bits per pixel: {8 * file_bytes / (header.width * header.height):.4f}"
        known = header.tables is None or (tables and header.tables == short_fingerprint(tables.fingerprint()))
        if not known:
            yield "depths: coded with tables of the model, which were not given"
            return
        with suppress(FormatError):  # of a damaged file only the intact part is counted
            depths = np.concatenate([np.count_nonzero(rows >= 0, axis=2).reshape(-1) for rows in reader])
            yield f"depths: {depths.mean():.3f} levels on the average, {depths.min()} to {depths.max()}"


def _image_model(path: Path) -> Iterator[str]:
    codec = ImageCodec.open(path)
    model = codec.model
    colours = "grey" if model.channels == 1 else "colour"
    yield f"{path}: image model, {colours}, {sum(p.numel() for p in model.parameters()):,} parameters"
    yield f"  layout: {model.layout}"
    yield f"  latents: one for {model.step} x {model.step} pixels"
    yield f"  levels: {_short(model.quantizer.sizes)}, {'constant' if model.importance is None else 'variable'} depth"
    yield f"  rates: up to {model.quantizer.bits_per_vector / model.step**2:.4f} bits per pixel, packed"
    yield f"  entropy tables: {'none, codes are packed' if codec.tables is None else 'yes, codes are range-coded'}"
    yield f"  bytes: {_bytes(path)}"
    yield f"  fingerprint: {short_fingerprint(codec.fingerprint)}"
    yield f"  intact: {_NO_CHECKSUM}"


def _speech_model(path: Path) -> Iterator[str]:
    codec = SpeechCodec.open(path)
    model, tables = codec.model, codec.tables
    yield f"{path}: speech model for {model.sample_rate} Hz, {sum(p.numel() for p in model.parameters()):,} parameters"
    yield f"  frames: {model.sample_rate / model.hop:g} per second of {model.hop} lines in {tables.bands.count} bands"
    yield f"  envelope: {_short(tables.sizes)}, {model.quantizer.bits_per_vector:g} bits a frame at fixed width"
    yield f"  bytes: {_bytes(path)}"
    yield f"  fingerprint: {short_fingerprint(codec.fingerprint)}, tables {short_fingerprint(tables.fingerprint())}"
    yield f"  intact: {_NO_CHECKSUM}"


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def _quantizer(quantizer: Quantizer) -> Iterator[str]:
    yield f"  quantizer: {type(quantizer).__name__}"
    yield f"  sizes: {_short(quantizer.sizes)}"
    yield f"  rate: {quantizer.bits_per_vector:g} bits per vector at fixed width, {32 * quantizer.dim} as float32"


def _short(sizes: tuple[int, ...]) -> str:
    alike = len(set(sizes)) == 1
    return f"{len(sizes)} x {sizes[0]}" if alike else ", ".join(map(str, sizes))


def _expected_bits(tables: CodeTables) -> float:
    """Entropy of codes that occur as often as the tables say."""
    shares = [counts / TOTAL for counts in tables.levels]
    return float(-sum((share * np.log2(share)).sum() for share in shares))
