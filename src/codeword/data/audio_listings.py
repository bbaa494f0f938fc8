"""Audio data sets recognised by what lies on disk, their headers read, what cannot be used set aside."""

import os
from dataclasses import replace
from pathlib import Path

from codeword.data import audioset
from codeword.data.audio_corpus import EXTENSIONS, AudioEntry, scan
from codeword.data.audio_layouts import audio_manifest, esc50, is_esc50, is_speech_commands, speech_commands
from codeword.data.folders import ListingError, list_folder
from codeword.data.listing import BadItem, Item, Listing
from codeword.data.shard_listings import has_shards, list_shards
from codeword.data.tar_members import is_tar

_KNOWN = "a folder of audio, tar shards, one recording, a .json list or a .csv table"
_SPARE_SECONDS = 1.0  # a file this much longer than a segment holds more than the segment


def list_audio(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | None = None,
    index: str | os.PathLike[str] | None = None,
) -> Listing:
    """What an audio data set holds; every header is read (not in tar shards), nothing is decoded.

    Recognised are ESC-50 and Speech Commands as unpacked; AudioSet by its JSON lists or its CSV files of segments, or a
    folder with them; a CSV table of files; a folder per class, also within folders of splits; a folder of tar
    shards, or one; any other folder of audio; one recording.

    Args:
        path: A folder, a recording, or a ``.json`` or ``.csv`` list.
        root: Where the paths of a list begin, absolute ones too; by default at the list's folder, and absolute ones
            where they say.
        labels: Names and numbers of the classes of AudioSet: a CSV file of index,mid,display_name; by default the one
            beside the list.
        index: A JSONL file that keeps what the headers say, so that they are read once (``audio_corpus.scan``).

    Raises:
        ListingError: In one line, if it is none of these, or a list cannot be understood.
    """
    path, home = Path(path), None if root is None else Path(root)
    names = None if labels is None else Path(labels)
    return _checked(_of_folder(path, home, names) if path.is_dir() else _of_file(path, home, names), index)


def _of_folder(path: Path, root: Path | None, labels: Path | None) -> Listing:
    if is_esc50(path):
        return esc50(path)
    if is_speech_commands(path):
        return speech_commands(path)
    if segments := sorted(path.glob("*_segments.csv")):
        return audioset.segments(segments, root or path, labels)
    if lists := list(filter(audioset.is_list, path.glob("*.json"))):
        return audioset.lists(lists, root, labels)
    if has_shards(path):  # only now: what was unpacked beside its archive is taken as it lies there
        return list_shards(path, "audio")
    return list_folder(path, "audio", EXTENSIONS)


def _of_file(path: Path, root: Path | None, labels: Path | None) -> Listing:
    kind = path.suffix.lower()
    if path.is_file() and has_shards(path):
        return list_shards(path, "audio")
    if path.is_file() and kind in EXTENSIONS:
        return Listing("audio", "one recording", (Item(path=path),))
    if not path.is_file() or kind not in (".json", ".csv"):
        raise ListingError(f"{path} is {'no list' if path.is_file() else 'missing'}: give {_KNOWN}")
    if kind == ".json":
        return audioset.lists([path], root, labels)
    if path.name == "esc50.csv" and is_esc50(path.parent.parent):
        return esc50(path.parent.parent)
    if audioset.is_segments(path):
        return audioset.segments([path], root or path.parent, labels)
    return audio_manifest(path, root)


def _checked(listing: Listing, index: str | os.PathLike[str] | None) -> Listing:
    """The items whose file can be read and lasts until they begin; those of tar shards are not looked at."""
    paths = dict.fromkeys(str(item.path) for item in listing.items if not is_tar(item.path))
    corpus = scan([AudioEntry(path=path) for path in paths], index=index)
    seconds = {clip.entry.path: clip.seconds for clip in corpus.clips}
    bad = [*listing.bad, *(BadItem(Path(path), reason) for path, reason in corpus.bad)]
    items = []
    for listed in listing.items:
        if is_tar(listed.path):
            items.append(listed)
            continue
        if (lasts := seconds.get(str(listed.path))) is None:
            continue
        item = _cut(listed, lasts) if listing.layout == audioset.SEGMENTS else listed
        if lasts <= item.start or item.seconds == 0:
            bad.append(BadItem(item.path, f"{item.path} lasts {lasts:.3f} s: nothing is there from {item.start} s on"))
        else:
            items.append(item)
    return replace(listing, items=tuple(items), bad=tuple(bad))


def _cut(item: Item, lasts: float) -> Item:
    """A segment of a recording: all of its file, unless that lasts longer and must be the whole recording."""
    whole = item.seconds is not None and lasts > item.seconds + _SPARE_SECONDS
    return item if whole else replace(item, start=0.0, seconds=None)
