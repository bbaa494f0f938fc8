"""A contact sheet of a data set: some items of its classes, so that eyes may find what counts do not."""

from pathlib import Path

from matplotlib.figure import Figure

from codeword.data.listing import Item, Listing
from codeword.evaluation.data_check import spread
from codeword.evaluation.data_looks import show
from codeword.formats.atomic import atomic_write

_ROWS, _COLUMNS = 16, {"image": 10, "video": 3, "audio": 5}
_CELLS = {"image": (0.8, 0.8), "video": (2.8, 0.8), "audio": (1.7, 0.9)}  # inches
_MARGIN = 1.3  # inches for names of classes


def contact_sheet(listing: Listing) -> Figure:
    """Items in rows: of classes, evenly spread over all, or of splits where there are no classes.

    Videos show frames from begin to end, recordings their spectrogram.
    """
    rows, columns = _rows(listing), _COLUMNS[listing.kind]
    wide, high = _CELLS[listing.kind]
    size = (_MARGIN + wide * columns, 0.5 + high * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(f"{len(listing)} items: {listing.layout}", fontsize=8)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, items) in zip(axes, rows, strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=7)
        for axis in line:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis, place in zip(line, spread(len(items), columns), strict=False):
            try:
                pixels = show(listing.kind, items[place]).permute(1, 2, 0).numpy()
            except (ValueError, OSError):
                axis.text(0.5, 0.5, "cannot\nbe read", ha="center", va="center", fontsize=6, color="#c0392b")
                continue
            colours = "magma" if listing.kind == "audio" else "gray"
            axis.imshow(pixels, cmap=colours, vmin=0, vmax=255, aspect="auto" if listing.kind == "audio" else "equal")
    return figure


def save_sheet(sheet: Figure, path: Path) -> None:
    """Write a sheet as PNG."""
    with atomic_write(path) as file:
        sheet.savefig(file, format="png", dpi=160)


def _rows(listing: Listing) -> list[tuple[str, list[Item]]]:
    """Names of rows with all items that belong there."""
    if listing.classes:
        names = [listing.classes[place] for place in spread(len(listing.classes), _ROWS)]
        rows = [(name, [item for item in listing.items if name in item.labels]) for name in names]
    else:
        splits = sorted({item.split for item in listing.items})
        rows = [(split or "all", [item for item in listing.items if item.split == split]) for split in splits]
    return [(f"{_cut(name)}\n{len(items)}", items) for name, items in rows]


def _cut(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}\N{HORIZONTAL ELLIPSIS}"
