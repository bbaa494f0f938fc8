"""Tables that name files: CSV with the columns path, label, split, group, start, seconds."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from codeword.data.folders import ListingError
from codeword.data.listing import BadItem, Item, Kind, Listing, classes_of

_NAMES = {
    "path": ("path", "file", "filename", "image", "video"),
    "label": ("label", "labels", "class"),
    "split": ("split",),
    "group": ("group",),
    "place": ("place",),
    "start": ("start",),
    "seconds": ("seconds",),
}
PATH_NAMES = _NAMES["path"]
_BETWEEN = ";"  # labels of one file


class Row(NamedTuple):
    """A line of a table.

    Attributes:
        number: Of the line, from 1.
        cells: What is in it.
    """

    number: int
    cells: list[str]


def read_rows(path: Path) -> list[Row]:
    """The lines of a CSV file that hold something.

    Raises:
        ListingError: If it is missing, no text in UTF-8, or empty.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file)
            rows = [Row(lines.line_num, [cell.strip() for cell in cells]) for cells in lines if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ListingError(f"{path} is no CSV table: {error}") from error
    if not rows:
        raise ListingError(f"{path} is an empty table: a header line and a line for every file are needed")
    return rows


def list_manifest(path: Path, kind: Kind) -> Listing:
    """The files that a table names; relative paths begin at its folder.

    Columns are ``path`` (also ``file``, ``filename``, ``image``, ``video``) and, where there are, ``label`` (several
    between semicolons), ``split``, ``group``, ``start``, ``seconds`` and ``place``; others are ignored. Files that do
    not exist, and lines that make no sense, are named among what was left out.

    Raises:
        ListingError: If it is no table, has no column ``path``, or names nothing.
    """
    header, *rows = read_rows(path)
    titles = [title.lower() for title in header.cells]
    columns = {
        name: titles.index(found)
        for name, known in _NAMES.items()
        if (found := next(filter(titles.__contains__, known), ""))
    }
    if "path" not in columns:
        raise ListingError(f"{path} has no column 'path': its first line is {', '.join(header.cells)}")
    if not rows:
        raise ListingError(f"{path} names no files: it has only a header line")
    items: list[Item] = []
    bad: list[BadItem] = []
    for row in rows:
        values = {name: row.cells[column] for name, column in columns.items() if column < len(row.cells)}
        try:
            items.append(_item(path, values))
        except ValueError as error:
            file = values.get("path")
            bad.append(BadItem(path.parent / file if file else path, f"{error} ({path.name}, line {row.number})"))
    return Listing(kind, "a CSV table of files", tuple(items), classes_of(items), tuple(bad))


def _item(table: Path, values: Mapping[str, str]) -> Item:
    if not values.get("path"):
        raise ValueError("no path is given")
    file = table.parent / values["path"]
    if not file.is_file():
        raise ValueError("it does not exist")
    start, seconds = _number(values, "start"), _number(values, "seconds")
    place = values.get("place") or "0"
    if not place.isdecimal():
        raise ValueError(f"place must be a whole number, got {place!r}")
    return Item(
        path=file,
        place=int(place),
        labels=tuple(label.strip() for label in values.get("label", "").split(_BETWEEN) if label.strip()),
        split=values.get("split", ""),
        group=values.get("group", ""),
        start=start or 0.0,
        seconds=seconds,
    )


def _number(values: Mapping[str, str], name: str) -> float | None:
    text = values.get(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise ValueError(f"{name} must be a number of seconds, got {text!r}")
    return number
