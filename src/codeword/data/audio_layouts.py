"""How audio data sets are laid out: each function reads one layout and opens no audio."""

import re
from collections.abc import Sequence
from itertools import chain, repeat
from pathlib import Path

from codeword.data.audio_corpus import EXTENSIONS, manifest
from codeword.data.audio_errors import AudioError
from codeword.data.folders import ListingError, files_below, split_of
from codeword.data.listing import Item, Listing, classes_of
from codeword.data.manifests import read_rows

_ONE_LABEL = ("label", "class", "category")
_MANY_LABELS = ("labels", "classes", "mids")


def table(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a CSV file with a header line.

    Raises:
        ListingError: In one line, if it cannot be read, or lacks one of these columns.
    """
    header, *rows = read_rows(path)
    if missing := [column for column in columns if column not in header.cells]:
        raise ListingError(f"{path} has no column {missing[0]!r}: it has {', '.join(header.cells)}")
    return [dict(zip(header.cells, chain(row.cells, repeat("")), strict=False)) for row in rows]


def split_within(name: str) -> str:
    """The split that is a word of the name of a list, such as ``eval_segments``; empty if none is."""
    return next(filter(None, map(split_of, re.findall(r"[a-z]+\d*", name.lower()))), "")


def is_esc50(home: Path) -> bool:
    """Whether a folder is ESC-50, as unpacked."""
    return (home / "meta" / "esc50.csv").is_file()


def esc50(home: Path) -> Listing:
    """ESC-50 (Piczak 2015): 5 folds; clips of one recording are a group, which the folds keep together."""
    rows = table(home / "meta" / "esc50.csv", "filename", "fold", "target", "category", "src_file")
    items = tuple(
        Item(
            path=home / "audio" / row["filename"],
            labels=(row["category"],),
            split=f"fold{row['fold']}",
            group=row["src_file"],
        )
        for row in rows
    )
    numbers = sorted({(int(row["target"]), row["category"]) for row in rows})
    return Listing("audio", "ESC-50, 5 folds", items, tuple(name for _, name in numbers))


def is_speech_commands(home: Path) -> bool:
    """Whether a folder is Speech Commands, as unpacked."""
    return all((home / f"{name}_list.txt").is_file() for name in ("validation", "testing"))


def speech_commands(home: Path) -> Listing:
    """Speech Commands (Warden 2018): a folder per word, two lists of files; speakers are groups.

    Folders whose name begins with ``_`` hold background noise, no words, and are left out.
    """
    listed = {
        line.strip(): split
        for name, split in (("validation", "val"), ("testing", "test"))
        for line in (home / f"{name}_list.txt").read_text(encoding="utf-8").splitlines()
        if line.strip()
    }
    files = [file.relative_to(home) for file in files_below(home, EXTENSIONS)]
    found = {file.as_posix() for file in files if len(file.parts) == 2 and not file.parts[0].startswith("_")}
    items = tuple(
        Item(
            path=home / name,
            labels=(Path(name).parent.name,),
            split=listed.get(name, "train"),
            group=Path(name).stem.partition("_nohash_")[0],
        )
        for name in sorted(found | listed.keys())
    )
    return Listing("audio", "Speech Commands", items, classes_of(items))


def audio_manifest(path: Path, root: Path | None) -> Listing:
    """A CSV manifest.

    Columns are those of :func:`codeword.data.audio_corpus.manifest`, and where there are: one label or several between
    ``;`` in ``label``, ``class`` or ``category``; any number in ``labels``, ``classes`` or ``mids``, between ``;`` or
    ``|``, or commas where the column has neither; ``fold`` where there is no ``split``; ``end`` where there are no
    ``seconds``.
    """
    try:
        entries = manifest(path, root=root)
    except AudioError as error:
        raise ListingError(str(error)) from error
    rows = table(path)
    one = next((name for name in _ONE_LABEL if name in rows[0]), "")
    many = next((name for name in _MANY_LABELS if name in rows[0]), "")
    between = "[;|]" if any(mark in row.get(many, "") for row in rows for mark in ";|") else ","
    items = []
    for number, (entry, row) in enumerate(zip(entries, rows, strict=True), 2):
        labels = row.get(one, "").split(";") if one else re.split(between, row.get(many, ""))
        fold, end, seconds = row.get("fold", ""), row.get("end", ""), entry.seconds
        if seconds is None and end:
            seconds = _lasting(path, number, entry.start, end)
        item = Item(
            path=Path(entry.path),
            labels=tuple(dict.fromkeys(filter(None, map(str.strip, labels)))),
            split=split_of(entry.split) or entry.split or (f"fold{fold}" if fold.isdigit() else fold),
            group=entry.group,
            start=entry.start,
            seconds=seconds,
        )
        items.append(item)
    return Listing("audio", "a CSV table of files", tuple(items), classes_of(items))


def merged(listings: Sequence[Listing]) -> Listing:
    """Lists of one layout as one data set; where their classes differ they are sorted anew."""
    first = listings[0]
    items = tuple(item for listing in listings for item in listing.items)
    bad = tuple(bad for listing in listings for bad in listing.bad)
    same = all(listing.classes == first.classes for listing in listings)
    return Listing("audio", first.layout, items, first.classes if same else classes_of(items), bad)


def _lasting(path: Path, number: int, start: float, end: str) -> float:
    try:
        seconds = float(end) - start
    except ValueError as error:
        raise ListingError(f"{path}, line {number}: {error}") from error
    if not seconds > 0:
        raise ListingError(f"{path}, line {number}: the end comes after the start, got {start} to {end}")
    return seconds
