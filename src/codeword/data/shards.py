"""Data sets of any kind as tar shards, which are read in order as fast as a disk goes and at any place.

    listing ──► of every split, in a drawn order ──► split-000000.tar: 000000000.jpg  .cls  .json, 000000001.jpg ...
                                                     split-000000.index.json: where every sample begins

The webdataset package reads them as well; ``list_images``, ``list_videos`` and ``list_audio`` list them as they list
folders, and reading an item of a shard is reading any item.
"""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from codeword.data.image_arrays import holds_many
from codeword.data.image_files import image_bytes, read_image
from codeword.data.listing import Item, Listing
from codeword.data.shard_listings import FORMAT, NOTICE, has_shards, index_entry, index_path, side_data
from codeword.data.tar_members import is_tar, named_member
from codeword.formats.atomic import atomic_write


def write_shards(listing: Listing, folder: Path | str, per_shard: int = 1000, *, seed: int | None = 0) -> Listing:
    """Write all items of a listing into tar files, a set of them for every split.

    Files are copied as they are; images of IDX and CIFAR files become PNG files.

    Args:
        listing: What to write.
        folder: An existing or a new one, without shards.
        per_shard: Samples of one tar file, at most.
        seed: Of the order within a split, so that a reader who mixes neighbours alone mixes classes; ``None`` keeps the
            order of the listing.

    Returns:
        The same items, in the order in which they were written, at their new places.

    Raises:
        ValueError: If there are shards already, or several items are parts of one file.
    """
    folder = Path(folder)
    if per_shard < 1:
        raise ValueError(f"a shard holds at least 1 sample, got {per_shard}")
    _check_whole(listing)
    folder.mkdir(parents=True, exist_ok=True)
    if has_shards(folder):
        raise ValueError(f"{folder} holds tar files already: give a new folder")
    numbers = {name: number for number, name in enumerate(listing.classes)}
    written: list[Item] = []
    for split in sorted({item.split for item in listing.items}):
        own = [item for item in listing.items if item.split == split]
        if seed is not None:
            own = [own[place] for place in np.random.default_rng(seed).permutation(len(own))]
        for start in range(0, len(own), per_shard):
            shard = folder / f"{split or 'shard'}-{start // per_shard:06d}.tar"
            written += _write_shard(shard, own[start : start + per_shard], len(written), numbers)
    notice = {"format": FORMAT, "kind": listing.kind, "layout": listing.layout, "classes": list(listing.classes)}
    _write_json(folder / NOTICE, notice)
    count = len({item.path for item in written})
    return replace(listing, layout=f"{count} tar shards", items=tuple(written), bad=())


def _check_whole(listing: Listing) -> None:
    """Refuse files that would be copied once for each of their parts."""
    files = Counter(item.path for item in listing.items if not is_tar(item.path) and not holds_many(item.path))
    path, times = max(files.items(), key=lambda found: found[1], default=(None, 0))
    if times > 1:
        raise ValueError(f"{times} items are parts of {path}: cut it into a file for each before writing shards")
    if not listing.items:
        raise ValueError("there is nothing to write: the listing has no items")


def _write_shard(shard: Path, items: Sequence[Item], first: int, numbers: Mapping[str, int]) -> list[Item]:
    written: list[Item] = []
    with atomic_write(shard) as output, tarfile.open(fileobj=output, mode="w:", format=tarfile.USTAR_FORMAT) as tar:
        for number, item in enumerate(items, first):
            extension, data = _media(item)
            place = tar.offset
            _add(tar, f"{number:09d}{extension}", data)
            if len(item.labels) == 1:
                _add(tar, f"{number:09d}.cls", str(numbers[item.labels[0]]).encode())
            _add(tar, f"{number:09d}.json", json.dumps(side_data(item)).encode())
            written.append(replace(item, path=shard, place=place))
    entries = [index_entry(item) for item in written]
    _write_json(index_path(shard), {"format": FORMAT, "bytes": shard.stat().st_size, "items": entries})
    return written


def _media(item: Item) -> tuple[str, bytes]:
    """Extension and bytes of what is to be stored."""
    if is_tar(item.path):
        name, data = named_member(item.path, item.place)
        return Path(name).suffix.lower(), data
    if holds_many(item.path):
        return ".png", image_bytes(read_image(item))
    return item.path.suffix.lower(), item.path.read_bytes()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _write_json(path: Path, record: Mapping[str, object]) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(record).encode())
