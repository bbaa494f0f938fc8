"""A corpus: audio files found in a folder or named by a manifest, their headers read once, bad ones set aside."""

import csv
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from codeword.data.audio_errors import AudioError
from codeword.data.audio_files import AudioInfo, audio_info
from codeword.formats.atomic import atomic_write

EXTENSIONS = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64"}
    | {".m4a", ".mp4", ".aac", ".webm", ".mka", ".g722", ".wma"}
)
# What columns of a manifest may be called besides their own name.
_NAMES = {"path": ("path", "wav", "file", "filename", "audio"), "kind": ("kind",), "group": ("group", "speaker")}
_HEADERS_AT_ONCE = 16  # reading a header waits for the disk, not for the processor


@dataclass(frozen=True, kw_only=True)
class AudioEntry:
    """A file, or a part of one, that a corpus should have.

    Attributes:
        path: The file.
        kind: What it is (speech, music): training draws from all kinds alike.
        group: What must not be split between training and test: a speaker, a track, a kit.
        split: ``train``, ``val``, ``test`` ...; empty where nothing says.
        start: Where the part begins, in seconds.
        seconds: How long it is; ``None``: to the end of the file.
    """

    path: str
    kind: str = ""
    group: str = ""
    split: str = ""
    start: float = 0.0
    seconds: float | None = None


class AudioClip(NamedTuple):
    """An entry whose header was read.

    Attributes:
        entry: The entry.
        rate: Frames per second of the file.
        channels: Channels of the file.
        first: First frame of the part.
        frames: Frames of the part.
    """

    entry: AudioEntry
    rate: int
    channels: int
    first: int
    frames: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.frames / self.rate


class BadFile(NamedTuple):
    """A file that was skipped.

    Attributes:
        path: The file.
        reason: Why, in one line.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Corpus:
    """Clips ready to be drawn from, and the files that were skipped.

    ``first + second`` joins two corpora.

    Attributes:
        clips: In the order in which they were named or sorted.
        bad: Files that are missing or no audio.
    """

    clips: tuple[AudioClip, ...]
    bad: tuple[BadFile, ...] = ()

    def __len__(self) -> int:
        return len(self.clips)

    def __add__(self, other: "Corpus") -> "Corpus":
        return Corpus(self.clips + other.clips, self.bad + other.bad)

    @property
    def seconds(self) -> float:
        """Duration of all clips."""
        return sum(clip.seconds for clip in self.clips)

    def only(self, *, split: str | None = None, kind: str | None = None) -> "Corpus":
        """The clips of one split, one kind, or both.

        Raises:
            ValueError: If there are none; it names what there is.
        """
        wanted = {"split": split, "kind": kind}
        clips = self.clips
        for name, value in wanted.items():
            there = sorted({getattr(clip.entry, name) for clip in clips})
            if value is not None and value not in there:
                raise ValueError(f"no clip has {name} {value!r}: there are {', '.join(map(repr, there)) or 'none'}")
            clips = tuple(clip for clip in clips if value is None or getattr(clip.entry, name) == value)
        return Corpus(clips, self.bad)

    def with_splits(self, shares: Mapping[str, float], seed: int = 0) -> "Corpus":
        """The same clips, each group as a whole given to a split by the hash of its name.

        A group stays where it is when others come or go.

        Args:
            shares: Share of the groups of every split, such as ``{"train": 0.9, "val": 0.1}``.
            seed: Another one gives another division.
        """
        names, total = list(shares), sum(shares.values())
        if not names or min(shares.values()) < 0 or not total > 0:
            raise ValueError(f"shares of splits are numbers >= 0, not all zero: got {dict(shares)}")
        return Corpus(tuple(_placed(clip, names, shares, total, seed) for clip in self.clips), self.bad)

    def report(self) -> str:
        """Hours and clips of every kind and split, and the bad files with their count, in lines."""
        count = Counter((clip.entry.kind, clip.entry.split) for clip in self.clips)
        lines = []
        for (kind, split), number in sorted(count.items()):
            hours = sum(c.seconds for c in self.clips if (c.entry.kind, c.entry.split) == (kind, split)) / 3600
            name = " ".join(filter(None, (kind, split))) or "all"
            lines.append(f"{name}: {number} clips, {hours:.2f} hours")
        if self.bad:
            lines.append(f"{len(self.bad)} files skipped")
            lines += [f"  {bad.reason}" for bad in self.bad]
        return "\n".join(lines)


def open_corpus(
    source: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None, index: Path | None = None
) -> Corpus:
    """The corpus of a folder, or of a CSV manifest.

    Args:
        source: A folder, or a ``.csv`` file.
        root: Of a manifest, see ``manifest``.
        index: See ``scan``.

    Raises:
        AudioError: In one line, if there is no such folder or manifest, or no audio in it.
    """
    path = Path(source)
    if path.is_dir():
        return scan(folder(path), index=index)
    return scan(manifest(path, root=root), index=index)


def folder(path: str | os.PathLike[str], *, kind: str = "", pattern: str = "**/*") -> list[AudioEntry]:
    """All audio files below a folder, sorted, each folder a group.

    Args:
        path: The folder.
        kind: What they are.
        pattern: Which files, of those whose extension is one of audio.

    Raises:
        AudioError: If there is no such folder, or no audio in it.
    """
    home = Path(path)
    if not home.is_dir():
        raise AudioError(f"{home} is no directory: give a folder of audio files, or a .csv manifest")
    found = sorted(file for file in home.glob(pattern) if file.suffix.lower() in EXTENSIONS and file.is_file())
    if not found:
        raise AudioError(f"{home} holds no audio: looked for {pattern} with one of {', '.join(sorted(EXTENSIONS))}")
    return [AudioEntry(path=str(file), kind=kind, group=file.parent.relative_to(home).as_posix()) for file in found]


def manifest(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> list[AudioEntry]:
    """The entries of a CSV file with a header line.

    Columns are ``path`` (also ``wav``, ``file``, ``filename``, ``audio``) and, where there are, ``kind``, ``group``
    (also ``speaker``), ``split``, ``start`` and ``seconds``; others are ignored.

    Args:
        path: The CSV file.
        root: Where its paths begin, absolute ones too; by default at the manifest's folder, and absolute ones where
            they say.
        columns: Which column to take for ``path``, ``kind`` ..., where they are called otherwise.

    Raises:
        AudioError: In one line, if it is missing, no CSV with such columns, or empty; it names the line.
    """
    path = Path(path)
    if not path.exists():
        raise AudioError(f"{path} does not exist: give a folder of audio files, or a .csv manifest")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        kind = "a sound" if path.suffix.lower() in EXTENSIONS else "not text in UTF-8"
        raise AudioError(f"{path} is {kind}, no manifest: give a folder of audio files, or a .csv manifest") from error
    except OSError as error:
        raise AudioError(f"{path} is no manifest: {error}: give a folder of audio files, or a .csv manifest") from error
    rows = csv.DictReader(text.splitlines())
    found = _columns(path, rows.fieldnames or [], columns or {})
    entries = [_entry(path, number, row, found, root) for number, row in enumerate(rows, 2)]
    if not entries:
        raise AudioError(f"{path} names no files: it has only a header line")
    return entries


def scan(entries: Iterable[AudioEntry], *, index: str | os.PathLike[str] | None = None) -> Corpus:
    """Read the headers of all files, in parallel, and set aside those that cannot be used.

    Args:
        entries: From ``folder``, ``manifest`` or a preset.
        index: A JSONL file that keeps what was read; files whose size and time of change are the same are not opened
            again. It is made where it is missing.
    """
    entries = list(entries)
    paths = list(dict.fromkeys(entry.path for entry in entries))
    known: dict[str, dict[str, object]] = {} if index is None else _load_index(Path(index))
    with ThreadPoolExecutor(_HEADERS_AT_ONCE) as pool:
        read = dict(zip(paths, pool.map(_header, paths, map(known.get, paths)), strict=True))
    if index is not None and any(known.get(path) != line for path, line in read.items()):
        lines = (json.dumps(line) for line in (known | read).values())
        with atomic_write(index) as file:
            file.write(("\n".join(lines) + "\n").encode())
    clips: list[AudioClip] = []
    bad: dict[str, BadFile] = {}
    for entry in entries:
        try:
            clips.append(_clip(entry, read[entry.path]))
        except AudioError as error:
            bad.setdefault(entry.path, BadFile(entry.path, str(error)))
    return Corpus(tuple(clips), tuple(bad.values()))


def _placed(clip: AudioClip, names: Sequence[str], shares: Mapping[str, float], total: float, seed: int) -> AudioClip:
    entry = clip.entry
    key = f"{seed}\0{entry.kind}\0{entry.group or entry.path}"
    left = zlib.crc32(key.encode()) / 2**32 * total
    chosen = names[-1]
    for name in names:
        left -= shares[name]
        if left < 0:
            chosen = name
            break
    return clip._replace(entry=replace(entry, split=chosen))


def _columns(path: Path, header: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    fields = ("path", "kind", "group", "split", "start", "seconds")
    for field, column in given.items():
        if field not in fields or column not in header:
            raise AudioError(f"{path}: no column {column!r} for {field!r}: it has {', '.join(header)}")
    found = {}
    for field in fields:
        names = [name for name in _NAMES.get(field, (field,)) if name in header]
        if field in given or names:
            found[field] = given.get(field) or names[0]
    if "path" not in found:
        raise AudioError(f"{path} has no column 'path': it has {', '.join(header) or 'no header line'}")
    return found


def _entry(
    path: Path,
    number: int,
    row: Mapping[str, str | None],
    columns: Mapping[str, str],
    root: str | os.PathLike[str] | None,
) -> AudioEntry:
    values = {field: (row[column] or "").strip() for field, column in columns.items()}
    if not values["path"]:
        raise AudioError(f"{path}, line {number}: the column {columns['path']!r} is empty")
    try:
        start = float(values.get("start") or 0.0)
        seconds = float(values["seconds"]) if values.get("seconds") else None
    except ValueError as error:
        raise AudioError(f"{path}, line {number}: {error}") from error
    if not start >= 0 or not (seconds is None or seconds >= 0):
        raise AudioError(f"{path}, line {number}: start and seconds are 0 or more, got {start} and {seconds}")
    file = path.parent / values["path"] if root is None else Path(root) / values["path"].lstrip("/")
    names = {field: values.get(field, "") for field in ("kind", "group", "split")}
    return AudioEntry(path=str(file), start=start, seconds=seconds, **names)


def _header(path: str, known: Mapping[str, object] | None) -> dict[str, object]:
    """A line of the index: the old one where the file is as it was."""
    state: dict[str, object]
    try:
        status = Path(path).stat()
        state = {"path": path, "size": status.st_size, "changed": status.st_mtime_ns}
    except OSError:
        state = {"path": path, "size": -1, "changed": 0}
    same = known is not None and all(known.get(key) == value for key, value in state.items())
    if known is not None and same and state["size"] != -1:
        return dict(known)
    try:
        return state | audio_info(path)._asdict()
    except AudioError as error:
        return state | {"error": str(error)}


def _clip(entry: AudioEntry, line: Mapping[str, object]) -> AudioClip:
    if "error" in line:
        raise AudioError(str(line["error"]))
    info = AudioInfo(*(int(str(line[name])) for name in AudioInfo._fields))
    first = round(entry.start * info.rate)
    if first > info.frames or (entry.start and first == info.frames):
        raise AudioError(f"{entry.path} lasts {info.seconds:.3f} s: nothing starts at {entry.start} s")
    rest = info.frames - first
    frames = rest if entry.seconds is None else min(round(entry.seconds * info.rate), rest)
    return AudioClip(entry, info.rate, info.channels, first, frames)


def _load_index(path: Path) -> dict[str, dict[str, object]]:
    if not path.exists():
        return {}
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {line["path"]: line for line in lines}
    except (ValueError, TypeError, KeyError) as error:
        raise AudioError(f"{path} is no index of audio files: remove it, or name another file") from error
