"""Data sets of images, recognised by how their files lie: folders, IDX pairs, CIFAR batches, tables, tar shards."""

import re
from collections.abc import Iterator
from pathlib import Path

from codeword.data.folders import ListingError, split_of
from codeword.data.image_arrays import ImageError, cifar_batch, idx_array, idx_shape, is_cifar, is_idx, read_pickle
from codeword.data.image_files import EXTENSIONS
from codeword.data.listing import BadItem, Item, Listing, classes_of
from codeword.data.plain_listings import list_plain

_KNOWN = "a folder of images, IDX or CIFAR files, tar shards, or a .csv table with a column path"
_IMAGES = re.compile(r"images([-.]idx)3(-ubyte)")
# Where the CIFAR versions keep the names of their classes.
_NAMES = ("batches.meta.txt", "fine_label_names.txt")
_PICKLED = (("batches.meta", b"label_names"), ("meta", b"fine_label_names"))


def list_images(path: Path | str) -> Listing:
    """What a data set of images holds, without decoding any.

    Args:
        path: A folder per class, perhaps below ``train``, ``val`` and ``test``; a plain folder; a folder of IDX pairs
            as of MNIST and Fashion-MNIST, of CIFAR-10 or CIFAR-100 batches, or of tar shards; a ``.csv`` table with
            the columns path, label, split, group; or one such file.

    Raises:
        ListingError: If it is none of these.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(file for file in path.glob("*") if file.is_file())
    if images := list(filter(_is_images, files)):
        return _idx(images)
    if batches := list(filter(is_cifar, files)):
        return _cifar(batches[0].parent, batches)
    return list_plain(path, "image", EXTENSIONS, _KNOWN)


def _is_images(path: Path) -> bool:
    return is_idx(path) and bool(_IMAGES.search(path.name))


def _idx(files: list[Path]) -> Listing:
    items: list[Item] = []
    bad: list[BadItem] = []
    for file in files:
        try:
            items += _idx_items(file)
        except ImageError as error:
            bad.append(BadItem(file, str(error)))
    if not items:
        raise ListingError("; ".join(one.reason for one in bad) or f"{files[0]} holds no images")
    return Listing("image", f"IDX, {len(files)} files of images", tuple(items), classes_of(items), tuple(bad))


def _idx_items(file: Path) -> Iterator[Item]:
    count = idx_shape(file)[0]
    split = next(filter(None, map(split_of, file.name.split("-"))), "")
    partner = _partner(file)
    if partner is None:
        yield from (Item(path=file, place=place, split=split) for place in range(count))
        return
    labels = idx_array(partner)
    if labels.shape != (count,):
        raise ImageError(
            f"{file} holds {count} images, and {partner.name} {labels.shape} labels: they do not belong together"
        )
    yield from (
        Item(path=file, place=place, labels=(str(label),), split=split) for place, label in enumerate(labels.tolist())
    )


def _partner(file: Path) -> Path | None:
    """The labels of a file of images, compressed or not; ``None`` where there are none."""
    name = _IMAGES.sub(r"labels\g<1>1\g<2>", file.name).removesuffix(".gz")
    return next((found for end in ("", ".gz") if (found := file.with_name(name + end)).is_file()), None)


def _cifar(folder: Path, batches: list[Path]) -> Listing:
    names = _class_names(folder)
    items: list[Item] = []
    bad: list[BadItem] = []
    for batch in batches:
        try:
            labels = cifar_batch(batch).labels
        except ImageError as error:
            bad.append(BadItem(batch, str(error)))
            continue
        if names and max(labels) >= len(names):
            bad.append(BadItem(batch, f"it has a class of number {max(labels)}, and {folder} tells of {len(names)}"))
            continue
        split = "test" if batch.name.startswith("test") else "train"
        items += [
            Item(path=batch, place=place, labels=(names[label] if names else str(label),), split=split)
            for place, label in enumerate(labels)
        ]
    if not items:
        raise ListingError("; ".join(one.reason for one in bad))
    return Listing("image", f"CIFAR, {len(batches)} batches", tuple(items), names or classes_of(items), tuple(bad))


def _class_names(folder: Path) -> tuple[str, ...]:
    for name in _NAMES:
        if (folder / name).is_file():
            return tuple((folder / name).read_text(encoding="utf-8").split())
    for name, key in _PICKLED:
        if (folder / name).is_file():
            found = read_pickle(folder / name).get(key, [])
            return tuple(one.decode() if isinstance(one, bytes) else str(one) for one in found)
    return ()
