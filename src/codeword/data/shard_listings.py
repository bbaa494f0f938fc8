"""Tar shards as the webdataset package knows them: ``key.jpg``, ``key.cls`` and ``key.json`` are one sample.

An item of a shard is the tar file and the byte at which the header of its media begins, so that any item is read at
once. ``write_shards`` leaves an index beside every shard; other shards are searched through, header by header.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codeword.data import audio_corpus, image_files, video_files
from codeword.data.folders import ListingError, split_of
from codeword.data.listing import BadItem, Item, Kind, Listing, classes_of
from codeword.data.tar_members import Member, TarError, members, read_member

NOTICE = "shards.json"  # what all shards of a folder have in common
FORMAT = "codeword shards"
_TARS = (".tar", ".tar.gz", ".tgz")  # compressed ones are recognised and refused
_MEDIA: Mapping[Kind, frozenset[str]] = {
    "audio": audio_corpus.EXTENSIONS,
    "image": image_files.EXTENSIONS,
    "video": video_files.EXTENSIONS,
}


def has_shards(path: Path) -> bool:
    """Whether a path is a tar file, or a folder that holds some."""
    if path.is_file():
        return path.name.endswith(_TARS)
    return any(child.name.endswith(_TARS) for child in path.iterdir())


def index_path(shard: Path) -> Path:
    """Where the index of a shard is."""
    return shard.with_suffix(".index.json")


def shard_kind(path: Path) -> Kind:
    """What shards hold, as they say or by the names in the first of them.

    Raises:
        ListingError: If that are no media.
    """
    shards = _shards(path)
    told = _read_json(shards[0].with_name(NOTICE)).get("kind")
    if told in _MEDIA:
        return told
    for member in members(shards[0]):
        for kind in ("image", "video", "audio"):
            if Path(member.name).suffix.lower() in _MEDIA[kind]:
                return kind
    raise ListingError(f"{shards[0]} holds no audio, images or videos")


def list_shards(path: Path, kind: Kind) -> Listing:
    """The samples of a tar file or of all tar files of a folder.

    Raises:
        ListingError: If there is no sample of that kind.
    """
    shards = _shards(path)
    notice = _read_json(shards[0].with_name(NOTICE))
    if notice.get("format") == FORMAT and notice.get("kind") != kind:
        raise ListingError(f"{path} holds shards of {notice.get('kind')}, not of {kind}")
    items: list[Item] = []
    bad: list[BadItem] = []
    for shard in shards:
        known = _indexed(shard)
        if known is not None:
            items += known
            continue
        _search(shard, kind, items, bad)
    if not items:
        told = "; ".join(one.reason for one in bad[:3])
        raise ListingError(f"{path} holds no sample of {kind}{told and ': '}{told}")
    # Names kept apart tell also of classes that no sample has.
    classes = notice.get("classes", ())
    found = classes_of(items)
    names = tuple(map(str, classes)) if set(found) <= set(classes) else found
    return Listing(kind, f"{len(shards)} tar shards", tuple(items), names, tuple(bad))


def index_entry(item: Item) -> dict[str, Any]:
    """What an index says of an item of a shard."""
    return {"place": item.place, **side_data(item)}


def side_data(item: Item) -> dict[str, Any]:
    """What the ``.json`` of a sample says of it; what is empty is left out."""
    told: dict[str, Any] = {"labels": list(item.labels), "split": item.split, "group": item.group, "start": item.start}
    return {
        name: value for name, value in (told | {"seconds": item.seconds}).items() if value not in ([], "", 0.0, None)
    }


def _shards(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(child for child in path.iterdir() if child.name.endswith(_TARS))


def _indexed(shard: Path) -> list[Item] | None:
    """The items by a shard's index; ``None`` where there is none, or one of another file."""
    index = _read_json(index_path(shard))
    if not shard.is_file() or index.get("format") != FORMAT or index.get("bytes") != shard.stat().st_size:
        return None
    return [_item(shard, int(entry["place"]), entry) for entry in index["items"]]


def _item(shard: Path, place: int, told: Mapping[str, Any]) -> Item:
    labels = told.get("labels", told.get("label", told.get("cls", [])))
    seconds = told.get("seconds")
    return Item(
        path=shard,
        place=place,
        labels=tuple(map(str, labels)) if isinstance(labels, list) else (str(labels),),
        split=str(told.get("split") or split_of(shard.name)),
        group=str(told.get("group", "")),
        start=float(told.get("start", 0.0)),
        seconds=None if seconds is None else float(seconds),
    )


def _search(shard: Path, kind: Kind, items: list[Item], bad: list[BadItem]) -> None:
    """Append the samples of a shard without index; those before a damaged place are kept."""
    samples: dict[str, dict[str, Member]] = {}
    try:
        for member in members(shard):
            home, _, name = member.name.rpartition("/")
            key, _, extension = name.partition(".")
            if key:  # hidden files have none
                samples.setdefault(f"{home}/{key}", {})[extension.lower()] = member
    except TarError as error:
        bad.append(BadItem(shard, str(error)))
    for key, parts in samples.items():
        media = next((part for name, part in parts.items() if f".{name.rpartition('.')[2]}" in _MEDIA[kind]), None)
        if media is None:
            bad.append(BadItem(shard, f"sample {key.strip('/')} has no {kind}: it has {', '.join(sorted(parts))}"))
            continue
        try:
            items.append(_item(shard, media.place, _told(shard, parts)))
        except (ValueError, TypeError) as error:
            bad.append(BadItem(shard, f"sample {key.strip('/')} has no readable labels: {error}"))


def _told(shard: Path, parts: Mapping[str, Member]) -> dict[str, Any]:
    """What stands beside the media of a sample."""
    told: dict[str, Any] = {}
    if "cls" in parts:
        told["cls"] = read_member(shard, parts["cls"].place).decode().strip()
    if "json" in parts:
        record = json.loads(read_member(shard, parts["json"].place))
        told |= record if isinstance(record, dict) else {"label": record}
    return told


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
