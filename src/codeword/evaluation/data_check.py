"""What a data set is taken for, how its classes and splits are filled, and which of its files cannot be used."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from codeword.data.folders import ListingError, files_below
from codeword.data.image_arrays import holds_many
from codeword.data.image_files import EXTENSIONS as IMAGES
from codeword.data.image_listings import list_images
from codeword.data.listing import BadItem, Item, Kind, Listing
from codeword.data.manifests import PATH_NAMES, read_rows
from codeword.data.shard_listings import has_shards, shard_kind
from codeword.data.video_files import EXTENSIONS as VIDEOS
from codeword.data.video_listings import list_videos
from codeword.evaluation.data_looks import look

Progress = Callable[[float, float | None], None]
_TOLD = 20  # classes, sizes and bad files that are named one by one
_KINDS: tuple[Kind, ...] = ("image", "video", "audio")


class DataCheck(NamedTuple):
    """What was found.

    Attributes:
        listing: What is left of the data set without what cannot be used.
        lines: All findings as text.
        bad: What cannot be used.
    """

    listing: Listing
    lines: tuple[str, ...]
    bad: tuple[BadItem, ...]


def recognise(path: Path) -> Kind:
    """What kind of data a path holds, by the names of its files; by the greater number where it holds several.

    Raises:
        ListingError: If it holds none.
    """
    if not path.exists():
        raise ListingError(
            f"{path} does not exist: give a folder, a table, a tar file or one image, video or recording"
        )
    if has_shards(path):
        return shard_kind(path)
    counts: Counter[Kind] = Counter(filter(None, map(_kind_of, _names(path))))
    if not counts:
        raise ListingError(
            f"{path} holds no audio, images or videos that are known by their names: give a folder or a table of "
            "files, or say with --kind what it is"
        )
    return max(_KINDS, key=lambda kind: counts[kind])


def open_listing(path: Path, kind: Kind) -> Listing:
    """The listing of a data set of a kind."""
    if kind == "audio":
        from codeword.data.audio_listings import list_audio

        return list_audio(path)
    return list_images(path) if kind == "image" else list_videos(path)


def check_data(
    path: Path, kind: Kind | None = None, *, read: int | None = 1000, progress: Progress | None = None
) -> DataCheck:
    """Recognise a data set, count what is in it, and decode some of it.

    Args:
        path: What ``list_images``, ``list_videos`` or ``list_audio`` take.
        kind: What it holds; by default what most of its files are.
        read: How many items are decoded, spread evenly over all; ``None``: all.
        progress: Called with the items decoded and to be decoded.

    Raises:
        ValueError: If it is not recognised.
    """
    listing = open_listing(path, recognise(path) if kind is None else kind)
    chosen = spread(len(listing), len(listing) if read is None else read)
    sizes: Counter[str] = Counter()
    bad = list(listing.bad)
    unusable: set[int] = set()
    for number, place in enumerate(chosen, 1):
        item = listing.items[place]
        try:
            sizes[look(listing.kind, item)] += 1
        except (ValueError, OSError) as error:
            bad.append(BadItem(item.path, " ".join(str(error).split())))
            unusable.add(place)
        if progress is not None:
            progress(number, len(chosen))
    items = tuple(item for place, item in enumerate(listing.items) if place not in unusable)
    usable = Listing(listing.kind, listing.layout, items, listing.classes, tuple(bad))
    lines = [
        f"{path}: {listing.kind}, {listing.layout}",
        *_tables(path, listing),
        *_counts(listing),
        *_leaks(listing.items),
        f"  decoded: {len(chosen)} of {len(listing)}{', evenly spread' if len(chosen) < len(listing) else ''}",
        *(f"    {count} of {size}" for size, count in sizes.most_common(_TOLD)),
        *_more(len(sizes), "sizes"),
        f"  cannot be used: {len(bad) or 'nothing'}",
        *(f"    {one}" for one in bad[:_TOLD]),
        *_more(len(bad), "files"),
    ]
    return DataCheck(usable, tuple(lines), tuple(bad))


def spread(count: int, wanted: int) -> list[int]:
    """At most so many numbers below ``count``, with even gaps."""
    wanted = min(count, wanted)
    return [(2 * number + 1) * count // (2 * wanted) for number in range(wanted)]


def _kind_of(name: str) -> Kind | None:
    suffix = Path(name).suffix.lower()
    if suffix in IMAGES or holds_many(Path(name)):
        return "image"
    if suffix in VIDEOS:
        return "video"
    from codeword.data.audio_corpus import EXTENSIONS

    return "audio" if suffix in EXTENSIONS else None


def _names(path: Path) -> Iterator[str]:
    """Names of the files of a data set; of a table, what its column of paths says, or all that stands in it."""
    if path.is_dir():
        found = [str(file) for file in files_below(path, ("",))]
        yield from found
    elif path.suffix.lower() == ".csv":
        rows = read_rows(path)
        if "youtube_id" in rows[0].cells:
            yield "clip.mp4"
        # A group or a label may be called like a file.
        columns = [place for place, name in enumerate(rows[0].cells) if name.lower() in PATH_NAMES]
        chosen = columns or range(max(len(row.cells) for row in rows))
        for cell in (row.cells[place] for row in rows for place in chosen if place < len(row.cells)):
            yield from (cell, *cell.rsplit(maxsplit=1)[:1])  # a list may have a label behind a space
    elif path.suffix.lower() == ".json":  # a list of AudioSet or of its kind
        yield "clip.wav"
    else:
        yield str(path)


def _tables(path: Path, listing: Listing) -> Iterator[str]:
    """Tables that lie in a folder whose layout does not know them."""
    found = sorted(file.name for file in path.glob("*.csv")) if path.is_dir() else []
    if found and not listing.classes:
        yield f"  not looked at: {', '.join(found[:_TOLD])}; a table of files is given in place of its folder"


def _counts(listing: Listing) -> Iterator[str]:
    splits = sorted({item.split for item in listing.items})
    groups = len({item.group for item in listing.items} - {""})
    classes = f", {len(listing.classes)} classes" if listing.classes else ", without classes"
    yield f"  items: {len(listing)}{classes}{f', {groups} groups' if groups else ''}"
    for split in splits:
        part = listing.only(split)
        counts = part.counts()
        filled = [count for count in counts.values() if count]
        of_classes = (
            f", {len(filled)} classes of {min(filled)} to {max(filled)}, median {median(filled):g}" if filled else ""
        )
        yield f"  {split or 'no split'}: {len(part)}{of_classes}"
        missing = [name for name, count in counts.items() if not count]
        if filled and missing:
            named = ", ".join(missing[:_TOLD]) + (" ..." if len(missing) > _TOLD else "")
            yield f"    without {len(missing)} class{'es' * (len(missing) > 1)}: {named}"
    unlabelled = sum(not item.labels for item in listing.items)
    if listing.classes and unlabelled:
        yield f"  without a label: {unlabelled}"
    for name, count in list(listing.counts().items())[:_TOLD]:
        yield f"    {name}: {count}"
    yield from _more(len(listing.classes), "classes")


def _leaks(items: Sequence[Item]) -> Iterator[str]:
    """Groups and items that several splits share."""
    groups: dict[str, set[str]] = defaultdict(set)
    parts: dict[tuple[Path, int, float], set[str]] = defaultdict(set)
    for item in items:
        parts[item.path, item.place, item.start].add(item.split)
        if item.group:
            groups[item.group].add(item.split)
    for what, shared in (("groups", groups), ("items", parts)):
        leaks = [(name, splits) for name, splits in shared.items() if len(splits) > 1]
        if leaks:
            name, splits = leaks[0]
            told = f"{name if isinstance(name, str) else name[0]} in {' and '.join(sorted(splits))}"
            yield f"  warning: {len(leaks)} {what} are in several splits, such as {told}"


def _more(count: int, what: str) -> Iterator[str]:
    if count > _TOLD:
        yield f"    and {count - _TOLD} more {what}"
