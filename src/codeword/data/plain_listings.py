"""What any kind of data set may be: tar shards, a table of files, one file, a folder."""

from pathlib import Path

from codeword.data.folders import ListingError, list_folder
from codeword.data.listing import Item, Kind, Listing
from codeword.data.manifests import list_manifest
from codeword.data.shard_listings import has_shards, list_shards


def list_plain(path: Path, kind: Kind, extensions: frozenset[str], known: str) -> Listing:
    """What lies there, once no layout of its own kind was recognised.

    Args:
        path: What there is.
        kind: What it should hold.
        extensions: Of files of this kind.
        known: What could be given instead, in words.

    Raises:
        ListingError: If it is nothing of that.
    """
    if not path.exists():
        raise ListingError(f"{path} does not exist: give {known}")
    if has_shards(path):
        return list_shards(path, kind)
    if path.is_dir():
        return list_folder(path, kind, extensions)
    if path.suffix.lower() == ".csv":
        return list_manifest(path, kind)
    if path.suffix.lower() in extensions:
        return Listing(kind, f"one {kind}", (Item(path=path),))
    raise ListingError(f"{path} is no {kind} that is known by its name: give {known}")
