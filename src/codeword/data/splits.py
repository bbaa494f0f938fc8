"""Which items of a data set are learned from, and which are held back to validate on."""

from dataclasses import replace

from codeword.data.listing import Listing

_HELD_SHARE, _HELD_MOST = 0.05, 1000


def learnable(listing: Listing) -> Listing:
    """The items that are neither for validation nor for test."""
    return replace(listing, items=tuple(item for item in listing.items if item.split not in ("test", "val")))


def divided(listing: Listing) -> tuple[Listing, Listing]:
    """Items to learn from and items to validate on: those for validation, or else some others, whole groups together.

    Raises:
        ValueError: If there are fewer than two.
    """
    free = list(learnable(listing).items)
    held = [item for item in listing.items if item.split == "val"]
    if not held:
        groups: dict[str, int] = {}
        for number, item in enumerate(free):
            groups.setdefault(item.group or f" {number}", len(groups))
        every = max(2, len(groups) // max(1, min(_HELD_MOST, round(_HELD_SHARE * len(groups)))))
        chosen = [groups[item.group or f" {number}"] % every == every - 1 for number, item in enumerate(free)]
        held = [item for item, kept in zip(free, chosen, strict=True) if kept]
        free = [item for item, kept in zip(free, chosen, strict=True) if not kept]
    if not free or not held:
        raise ValueError(f"{len(listing)} {listing.kind} items are too few: one at least is held back to validate on")
    return replace(listing, items=tuple(free)), replace(listing, items=tuple(held), bad=())
