"""Data sets of videos, recognised by how their files lie: folders, tables, lists, Kinetics, tar shards."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from codeword.data.folders import ListingError, files_below, split_of
from codeword.data.listing import BadItem, Item, Listing, classes_of
from codeword.data.manifests import Row, read_rows
from codeword.data.plain_listings import list_plain
from codeword.data.video_files import EXTENSIONS

_KNOWN = "a folder of videos, tar shards, a .csv table with a column path, or a folder in the layout of Kinetics"
_KINETICS = ("label", "youtube_id", "time_start", "time_end", "split")


def list_videos(path: Path | str) -> Listing:
    """What a data set of videos holds, without decoding any.

    Args:
        path: A folder per class, perhaps below ``train``, ``val`` and ``test``; a plain folder; a folder of tar
            shards; a ``.csv`` table with the columns path, label, split, group, start, seconds; a ``.csv`` table of
            Kinetics (label, youtube_id, time_start, time_end, split) beside its folders, or the folder of both; a
            ``.csv`` list without a header whose lines are a path and a label, as VideoMAE reads them, or a folder of
            such lists, one for each split; or one video.

    Raises:
        ListingError: If it is none of these.
    """
    path = Path(path)
    if tables := list(filter(_is_kinetics, [path] if path.is_file() else sorted(path.glob("*.csv")))):
        return _kinetics(tables[0].parent, tables)
    if lists := list(filter(_is_list, [path] if path.is_file() else sorted(path.glob("*.csv")))):
        return _lists(lists)
    return list_plain(path, "video", EXTENSIONS, _KNOWN)


def _is_kinetics(table: Path) -> bool:
    """By the header line, or by a first line of such cells."""
    if table.suffix.lower() != ".csv":
        return False
    try:
        cells = read_rows(table)[0].cells
    except ListingError:
        return False
    return "youtube_id" in cells or (len(cells) >= 5 and cells[2].isdecimal() and cells[3].isdecimal())


def _is_list(table: Path) -> bool:
    """By a first line that names a video."""
    if table.suffix.lower() != ".csv":
        return False
    try:
        return Path(_path_and_label(read_rows(table)[0])[0]).suffix.lower() in EXTENSIONS
    except ListingError:
        return False


def _path_and_label(row: Row) -> tuple[str, str]:
    """Of a line with a comma, or a space, between them; the label may be missing."""
    name, *label = row.cells if len(row.cells) > 1 else row.cells[0].rsplit(maxsplit=1)
    return name, label[0] if label else ""


def _lists(tables: Sequence[Path]) -> Listing:
    """Paths begin at the folder of their list, whose name is the split."""
    items: list[Item] = []
    bad: list[BadItem] = []
    for table in tables:
        for row in read_rows(table):
            name, label = _path_and_label(row)
            file = table.parent / name
            if file.is_file():
                items.append(Item(path=file, labels=(label,) if label else (), split=split_of(table.stem)))
            else:
                bad.append(BadItem(file, f"it does not exist ({table.name}, line {row.number})"))
    if not items:
        raise ListingError(f"none of the {len(bad)} videos of {tables[0]} exists: the first is {bad[0].path}")
    return Listing("video", f"{len(tables)} lists of paths and labels", tuple(items), classes_of(items), tuple(bad))


def _kinetics(folder: Path, tables: Sequence[Path]) -> Listing:
    """Videos called ``ID_START_END`` with six digits each, in folders that are called like their split."""
    files: dict[tuple[str, str], Path] = {}
    for file in files_below(folder, EXTENSIONS):
        home = file.relative_to(folder).parts[0]
        files.setdefault((split_of(home), file.stem), file)
    items: list[Item] = []
    bad: list[BadItem] = []
    for table in tables:
        for row, (label, name, split) in _clips(table):
            found = files.get((split_of(split), name)) if split else None
            if found is None:
                told = f"no video {name} below {split}*" if split else "the line makes no sense"
                bad.append(BadItem(folder / split / f"{name}.mp4", f"{told} ({table.name}, line {row.number})"))
                continue
            labels = (label,) if label else ()
            items.append(Item(path=found, labels=labels, split=split_of(split), group=name.rsplit("_", 2)[0]))
    if not items:
        raise ListingError(f"{folder} has none of the {len(bad)} videos of {', '.join(table.name for table in tables)}")
    return Listing("video", f"Kinetics, {len(tables)} tables", tuple(items), classes_of(items), tuple(bad))


def _clips(table: Path) -> Iterator[tuple[Row, tuple[str, str, str]]]:
    """Label, name and split of every line; an empty split where the line makes no sense."""
    rows = read_rows(table)
    columns = {name: place for place, name in enumerate(_KINETICS)}
    if "youtube_id" in rows[0].cells:
        columns = {name: rows[0].cells.index(name) for name in _KINETICS if name in rows[0].cells}
        rows = rows[1:]
    for row in rows:
        cells = {name: row.cells[place] for name, place in columns.items() if place < len(row.cells)}
        begin, end = cells.get("time_start", ""), cells.get("time_end", "")
        if begin.isdecimal() and end.isdecimal():
            split = cells.get("split") or split_of(table.stem)
            yield row, (cells.get("label", ""), f"{cells['youtube_id']}_{int(begin):06d}_{int(end):06d}", split)
        else:
            yield row, ("", " ".join(row.cells), "")
