"""``codeword data check`` and ``codeword data statistics``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from codeword.cli.common import OptionalPath, check_output, progress_bar
from codeword.recipes.names import Pretraining as Recipe


@dataclass(frozen=True)
class CheckData:
    """Say what a data set of audio, images or videos is taken for: splits, classes, files that cannot be used."""

    path: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PATH")]]
    """A folder, a table, tar shards, or one file."""
    kind: Literal["auto", "audio", "image", "video"] = "auto"
    """What it holds; auto: what most of its files are."""
    read: int = 1000
    """How many items to decode, spread evenly over all; 0: all."""
    picture: OptionalPath = None
    """A PNG file to show some items of every class in; needs the extra report."""
    overwrite: bool = False
    """Replace an existing picture."""

    def run(self) -> None:
        """Recognise, count, decode, print."""
        if self.picture is not None:
            if self.picture.suffix.lower() != ".png":
                raise ValueError(f"a picture is a .png file, got {self.picture}")
            check_output(self.picture, overwrite=self.overwrite, inputs=[self.path])
        if self.read < 0:
            raise ValueError(f"--read must be at least 0, got {self.read}")
        from codeword.evaluation.data_check import check_data

        kind = None if self.kind == "auto" else self.kind
        with progress_bar("decoding", unit=" items") as progress:
            found = check_data(self.path, kind, read=self.read or None, progress=progress)
        for line in found.lines:
            print(line)
        if self.picture is not None:
            from codeword.evaluation.data_sheet import contact_sheet, save_sheet

            save_sheet(contact_sheet(found.listing), self.picture)
            print(f"  picture: {self.picture}")
        if found.bad:
            raise ValueError(f"{len(found.bad)} files of {self.path} cannot be used, see above")


@dataclass(frozen=True)
class DataStatistics:
    """Compute mean and deviation of a data set's inputs, which pretraining normalises with: of its training items."""

    recipe: tyro.conf.Positional[Annotated[Recipe, tyro.conf.arg(metavar="RECIPE")]]
    """Whose inputs: their kind, sizes and filterbank."""
    path: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="PATH")]]
    """A folder, a table, tar shards, or one file."""
    items: int = 1000
    """How many items to read, spread evenly over all."""

    def run(self) -> None:
        """Measure and print."""
        if self.items < 1:
            raise ValueError(f"--items must be at least 1, got {self.items}")
        from codeword.data.splits import learnable
        from codeword.evaluation.data_check import open_listing
        from codeword.pretraining.front_ends import AudioFrontEnd
        from codeword.recipes.pretraining import recipe

        front_end = recipe(self.recipe).front_end
        listing = learnable(open_listing(self.path, front_end.kind))
        measured = front_end.measured(listing, items=self.items)
        found = measured.statistics if isinstance(measured, AudioFrontEnd) else measured
        for name in ("mean", "deviation"):
            value = getattr(found, name)
            print(f"{name}: {', '.join(f'{part:.6g}' for part in (value if isinstance(value, tuple) else (value,)))}")
