"""What folders say about the files in them: the same rules for images and videos."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from codeword.data.listing import BadItem, Item, Kind, Listing, classes_of

_SPLIT = re.compile(r"(train|val|dev|test|t10k|eval)(ing|id|idation|uation)?(?![a-z])", re.IGNORECASE)
_FOLD = re.compile(r"fold[-_ ]?(\d+)(?![a-z\d])", re.IGNORECASE)
_NAMES = {"dev": "val", "t10k": "test", "eval": "test"}


class ListingError(ValueError):
    """A data set that is not recognised or says something impossible; one line that names the file."""


def files_below(folder: Path, extensions: Iterable[str]) -> list[Path]:
    """All files with one of some extensions, also behind links, in a fixed order; hidden ones are left out."""
    found: list[Path] = []
    visited: set[str] = set()
    wanted = tuple(extensions)
    for home, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(home)
        if real in visited:  # a link that leads back
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        found += [Path(home, name) for name in names if name.lower().endswith(wanted) and not name.startswith(".")]
    return sorted(found)


def split_of(name: str) -> str:
    """The split that the name of a folder or a file begins with, such as ``val`` for ``validation_288px``.

    ``eval`` and ``evaluation`` are ``test``; ``fold3`` and ``fold_03`` are ``fold3``.
    """
    if fold := _FOLD.match(name):
        return f"fold{int(fold[1])}"
    found = _SPLIT.match(name)
    return "" if found is None else _NAMES.get(found[1].lower(), found[1].lower())


def list_folder(folder: Path, kind: Kind, extensions: Iterable[str]) -> Listing:
    """Files by folders: of classes, of splits with classes, of splits, or plain.

    The first folders are splits if all that hold files are called like one (``train``, ``val``, ``test``, ``fold1``
    ...), and classes otherwise; a class may have folders of its own. Files beside folders of classes have no class:
    they are named among what was left out.

    Raises:
        ListingError: If there is no such file.
    """
    files = files_below(folder, extensions)
    if not files:
        raise ListingError(f"{folder} holds no {kind}: looked for {', '.join(sorted(extensions))} in it and below")
    places = [file.relative_to(folder).parts for file in files]
    firsts = {parts[0] for parts in places if len(parts) > 1}
    depth = 1 if firsts and all(map(split_of, firsts)) else 0
    labelled = {parts[:depth] for parts in places if len(parts) > depth + 1}
    items: list[Item] = []
    bad: list[BadItem] = []
    for file, parts in zip(files, places, strict=True):
        home, inside = parts[:depth], parts[depth:]
        if not inside or (home in labelled and len(inside) == 1):
            bad.append(BadItem(file, f"it lies beside the folders of {'classes' if inside else 'splits'}"))
        elif not file.stat().st_size:
            bad.append(BadItem(file, "it is empty (0 bytes)"))
        else:
            label = inside[:1] if home in labelled else ()
            items.append(Item(path=file, labels=label, split=split_of(home[0]) if home else ""))
    classes = _classes(items, [folder.joinpath(*home) for home in labelled])
    return Listing(kind, _layout(depth, bool(labelled), firsts), tuple(items), classes, tuple(bad))


def _classes(items: list[Item], homes: list[Path]) -> tuple[str, ...]:
    """Those of the items, and those whose folder is empty."""
    empty = {child.name for home in homes for child in home.iterdir() if child.is_dir() and not any(child.iterdir())}
    named = [Item(path=Path(), labels=(name,)) for name in empty if not name.startswith(".")]
    return classes_of([*items, *named])


def _layout(depth: int, labelled: bool, firsts: set[str]) -> str:
    inner = "a folder per class" if labelled else "a plain folder"
    return f"{inner}, below {', '.join(sorted(firsts))}" if depth else inner
