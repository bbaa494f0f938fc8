"""What a data set holds, before anything of it is decoded: the same words for audio, images and video."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["audio", "image", "video"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One recording, image or clip.

    Attributes:
        path: The file.
        place: Which one, of a file that holds many; of a tar file, the byte where its header begins.
        labels: Names of its classes; none where nothing says.
        split: ``train``, ``val``, ``test``, ``fold1`` ...; empty where nothing says.
        group: What must not be divided between splits: a speaker, a film, a kit.
        start: Where it begins in the file, in seconds.
        seconds: How long it is; ``None``: to the end of the file.
    """

    path: Path
    place: int = 0
    labels: tuple[str, ...] = ()
    split: str = ""
    group: str = ""
    start: float = 0.0
    seconds: float | None = None


class BadItem(NamedTuple):
    """What was left out.

    Attributes:
        path: The file.
        reason: Why, in one line.
    """

    path: Path
    reason: str

    def __str__(self) -> str:
        """Path and reason, and the path only once."""
        return self.reason if self.reason.startswith(str(self.path)) else f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class Listing:
    """The items of a data set.

    Attributes:
        kind: What they are.
        layout: What was recognised, in words, such as ``a folder per class``.
        items: In a fixed order.
        classes: Names of all classes, of which labels are some; in the order of their numbers.
        bad: What was left out.
    """

    kind: Kind
    layout: str
    items: tuple[Item, ...]
    classes: tuple[str, ...] = ()
    bad: tuple[BadItem, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def only(self, *splits: str) -> "Listing":
        """The items of some splits; classes stay as they are, also those that these items lack.

        Raises:
            ValueError: If there are none; it names what there is.
        """
        items = tuple(item for item in self.items if item.split in splits)
        if not items:
            there = sorted({item.split for item in self.items})
            if there in ([], [""]):
                wanted = ", ".join(splits)
                raise ValueError(f"no item of split {wanted}: the data names none, so ask for '', which all items have")
            raise ValueError(f"no item of split {', '.join(splits)}: there are {', '.join(map(repr, there))}")
        return replace(self, items=items)

    def not_empty(self) -> "Listing":
        """The same listing.

        Raises:
            ValueError: If it has no items; it names the first of what was left out.
        """
        if not self.items:
            why = f": {self.bad[0]}" if self.bad else ""
            raise ValueError(f"none of {len(self.bad)} {self.kind} items can be read{why}")
        return self

    def targets(self) -> list[tuple[int, ...]]:
        """Numbers of the classes of every item."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        return [tuple(numbers[label] for label in item.labels) for item in self.items]

    def counts(self) -> Counter[str]:
        """Items of every class; 0 where a class has none."""
        counts = Counter(dict.fromkeys(self.classes, 0))
        counts.update(label for item in self.items for label in item.labels)
        return counts


def left_out(bad: Sequence[BadItem], most: int = 5) -> list[str]:
    """Lines that name what was left out, the first of many."""
    more = [f"  left out: {len(bad) - most} more"] if len(bad) > most else []
    return [*(f"  left out: {one}" for one in bad[:most]), *more]


def classes_of(items: Sequence[Item]) -> tuple[str, ...]:
    """All labels, sorted by name; by number, if all are numbers."""
    names = {label for item in items for label in item.labels}
    digits = len(max(names, key=len, default="")) if all(name.isdigit() for name in names) else 0
    return tuple(sorted(names, key=lambda name: name.rjust(digits)))
