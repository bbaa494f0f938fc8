"""Lists of AudioSet: JSON as AST, AudioMAE and BRIDLE use it, and the CSV files of segments that are published.

::

    train.json                    {"data": [{"wav": "a.wav", "labels": "/m/09x0r,/m/04rlf"}, ...]}, or the list alone
    balanced_train_segments.csv   --PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
    class_labels_indices.csv      index,mid,display_name: beside them, for names and numbers of classes
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from codeword.data.audio_corpus import EXTENSIONS
from codeword.data.audio_layouts import merged, split_within, table
from codeword.data.folders import ListingError, files_below
from codeword.data.listing import BadItem, Item, Listing, classes_of

SEGMENTS = "AudioSet, CSV files of segments"

_TITLES = ("index", "mid", "display_name")
_IDENTIFIER = 11  # characters of what YouTube calls a video
_HEAD = 4096  # bytes of a JSON file that tell what it is


class _Row(NamedTuple):
    """A line of a list: file or recording, identifiers of its classes, and which part of which recording it is."""

    name: str
    labels: tuple[str, ...]
    start: float = 0.0
    seconds: float | None = None
    group: str = ""


def is_segments(path: Path) -> bool:
    """Whether a CSV file is one of segments: comments, then rows without a header."""
    return path.name.endswith("_segments.csv") or _head(path).startswith(b"#")


def is_list(path: Path) -> bool:
    """Whether a JSON file names audio as ``wav``."""
    return b'"wav"' in _head(path)


def segments(paths: Iterable[Path], root: Path, labels: Path | None) -> Listing:
    """CSV files of segments, with the files below ``root`` whose name begins with the recording, or ``Y`` and it."""
    files: dict[str, list[Path]] = {}
    for path in files_below(root, EXTENSIONS):
        files.setdefault(path.stem[:_IDENTIFIER], []).append(path)
    return merged([_segments(path, files, root, labels) for path in paths])


def lists(paths: Iterable[Path], root: Path | None, labels: Path | None) -> Listing:
    """JSON lists; their paths begin at ``root``, absolute ones too, else at the list's folder.

    Raises:
        ListingError: In one line, if one is no such list, or two are of the same split.
    """
    paths = sorted(paths)
    twice = [split for split, count in Counter(split_within(path.stem) for path in paths).items() if count > 1]
    if twice:
        raise ListingError(f"{paths[0].parent} holds several lists of split {twice[0]!r}: give one of the .json files")
    return merged([_list(path, root, labels) for path in paths])


def _segments(path: Path, files: Mapping[str, list[Path]], root: Path, labels: Path | None) -> Listing:
    def find(name: str) -> tuple[Path, str]:
        found = _found(name, files)
        return (found, "") if found else (root / name, f"no audio file below {root} is called {name}*")

    return _listed(path, SEGMENTS, _segment_rows(path), labels, find)


def _listed(
    path: Path, layout: str, rows: Sequence[_Row], labels: Path | None, find: Callable[[str], tuple[Path, str]]
) -> Listing:
    """A list with the files of its rows, and why there is none."""
    names, split = _class_names(path, labels, rows), split_within(path.stem)
    items: list[Item] = []
    bad: list[BadItem] = []
    for row in rows:
        file, fault = find(row.name)
        if fault := fault or _unknown(row, names, path):
            bad.append(BadItem(file, fault))
            continue
        told = tuple(names[label] for label in row.labels)
        items.append(Item(path=file, labels=told, split=split, group=row.group, start=row.start, seconds=row.seconds))
    return Listing("audio", layout, tuple(items), tuple(names.values()), tuple(bad))


def _segment_rows(path: Path) -> list[_Row]:
    rows = []
    for number, fields in enumerate(csv.reader(_text(path).splitlines(), skipinitialspace=True), 1):
        if not fields or fields[0].startswith("#"):
            continue
        try:
            name, start, end, mids = fields
            begins, ends = float(start), float(end)
        except ValueError as error:
            raise ListingError(f'{path}, line {number}: expected YTID, start, end, "mids": got {fields}') from error
        if not 0 <= begins < ends:
            raise ListingError(f"{path}, line {number}: the end comes after the start, got {start} to {end}")
        rows.append(_Row(name, _identifiers(mids), begins, ends - begins, name))
    return rows


def _found(name: str, files: Mapping[str, list[Path]]) -> Path | None:
    for begin in (name, "Y" + name):
        for path in files.get(begin[:_IDENTIFIER], ()):
            if path.stem.startswith(begin):
                return path
    return None


def _list(path: Path, root: Path | None, labels: Path | None) -> Listing:
    def find(name: str) -> tuple[Path, str]:
        return (path.parent / name if root is None else root / name.lstrip("/")), ""

    return _listed(path, "an AudioSet JSON list", _list_rows(path), labels, find)


def _list_rows(path: Path) -> list[_Row]:
    try:
        content: object = json.loads(_text(path))
    except ValueError as error:
        raise ListingError(f"{path} is no JSON: {error}") from error
    data = cast(Mapping[str, object], content).get("data") if isinstance(content, dict) else content
    if not isinstance(data, list) or not data:
        raise ListingError(f'{path} lists no audio: expected [{{"wav": ..., "labels": ...}}, ...], or that as "data"')
    return [_list_row(path, number, entry) for number, entry in enumerate(cast(list[object], data))]


def _list_row(path: Path, number: int, entry: object) -> _Row:
    fields = cast(Mapping[str, object], entry) if isinstance(entry, dict) else {}
    wav, labels = fields.get("wav"), fields.get("labels", "")
    if isinstance(labels, list):
        labels = ",".join(map(str, cast(list[object], labels)))
    if not isinstance(wav, str) or not wav or not isinstance(labels, str):
        raise ListingError(f'{path}, entry {number}: expected "wav" with a path and "labels", got {str(entry)[:80]}')
    return _Row(wav, _identifiers(labels))


def _unknown(row: _Row, names: Mapping[str, str], path: Path) -> str:
    """Why a row cannot be used: the first of its classes that has no number."""
    label = next((label for label in row.labels if label not in names), None)
    return "" if label is None else f"its class {label!r} ({path.name}) is not among the {len(names)} that have numbers"


def _class_names(path: Path, labels: Path | None, rows: Iterable[_Row]) -> dict[str, str]:
    """Names of the classes by their identifiers, in the order of their numbers.

    From the given table, or else from that of those beside the list that knows most of its labels; where there is none,
    identifiers are the names.
    """
    if labels is not None:
        return _names(labels)
    used = {label for row in rows for label in row.labels}
    beside = [
        other for other in sorted(path.parent.glob("*.csv")) if b",".join(map(str.encode, _TITLES)) in _head(other)
    ]
    if beside:
        return min(map(_names, beside), key=lambda names: len(used - names.keys()))
    return {name: name for name in classes_of([Item(path=path, labels=tuple(used))])}


def _names(path: Path) -> dict[str, str]:
    rows = table(path, *_TITLES)
    if not all(row["index"].isdigit() for row in rows):
        raise ListingError(f"{path}: the column 'index' holds the numbers of the classes")
    rows = sorted(rows, key=lambda row: int(row["index"]))
    times = Counter(row["display_name"] for row in rows)
    return {
        row["mid"]: row["display_name"] if times[row["display_name"]] == 1 else f"{row['display_name']} ({row['mid']})"
        for row in rows
    }


def _identifiers(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(str.strip, text.split(",")))))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ListingError(f"{path} cannot be read: {error}: give a file in UTF-8") from error
