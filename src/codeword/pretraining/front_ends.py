"""From files to inputs of a network, for audio, images and video alike; what an encoder has to know of its inputs.

::

    Item ──read──► recording, image or clip ──augment──► changed ──finish──► values, normalised; what is no padding
            ▲ where it begins                    ▲ crops, gains ...
            └── drawn from (seed, sample, clip)  └── drawn from (seed, sample, view)
"""

import hashlib
import json
import math
import os
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from codeword.data.audio_samples import AudioSample, AudioSampleConfig, MelStatistics, normalized, read_sample
from codeword.data.audio_samples import statistics as mel_statistics
from codeword.data.channel_statistics import channel_statistics
from codeword.data.epoch_order import Window
from codeword.data.image_files import read_image
from codeword.data.listing import BadItem, Item, Kind, Listing
from codeword.data.video_files import ClipConfig, read_clip
from codeword.data.visual_augment import IMAGENET_DEVIATION, IMAGENET_MEAN, fitted, grey, normalized_channels
from codeword.nn.patches import grid_of
from codeword.pretraining.samples import Inputs
from codeword.quantizers.config import describe, register

# What augmentations of a kind take and give: an AudioSample, or pixels (channels, *positions).
Raw = Any
Augmentation = Callable[[Raw, torch.Generator], Raw]
F = TypeVar("F", bound="FrontEnd")
V = TypeVar("V", bound="VisualFrontEnd")


class View(NamedTuple):
    """A view of a sample, as a network takes it.

    Attributes:
        values: Normalised.
        valid: Which places of the first axis are no padding; ``None`` if all are.
    """

    values: Float[Tensor, "channels *size"]
    valid: Bool[Tensor, " frames"] | None = None


@dataclass(frozen=True, kw_only=True)
class FrontEnd(ABC):
    """The contract of a front end: items of one kind become inputs of one size.

    Attributes:
        kind: What it reads.
    """

    kind: ClassVar[Kind]

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of an input."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, ...]:
        """Of an input along every axis."""

    @abstractmethod
    def read(self, item: Item, generator: torch.Generator | None) -> Raw:
        """What augmentations take.

        Args:
            item: What to read.
            generator: Draws where in a longer recording or video it begins; ``None``: always at the same place.

        Raises:
            ValueError: In one line that names the file, if it cannot be read.
        """

    @abstractmethod
    def finish(self, raw: Raw) -> View:
        """The view of what was read and perhaps augmented: brought to its size, and normalised."""

    @abstractmethod
    def measured(self: F, listing: Listing, *, items: int = 1000) -> F:
        """The same with mean and deviation of a data set, of which training items only should be given.

        Args:
            listing: The data set.
            items: So many are read, evenly spread; those that cannot be are passed over.

        Raises:
            ValueError: If there is nothing to measure.
        """

    def samples(
        self,
        listing: Listing,
        patch: tuple[int, ...],
        *,
        augment: Sequence[Augmentation] = (),
        seed: int = 0,
        repeats: int = 1,
        workers: int = 0,
    ) -> "FileSamples":
        """The samples of a listing; see ``FileSamples``."""
        return FileSamples(self, listing, patch, tuple(augment), seed, repeats, workers)

    def readable(self, listing: Listing, *, workers: int = 0) -> Listing:
        """The items that can be read, the others named among what was left out.

        Every item is decoded as far as an input without augmentation needs it; ``codeword data check`` decodes all.

        Args:
            listing: What to read.
            workers: Threads that read; 0 reads in this one.
        """
        with _mapping(workers) as each:
            reasons = list(each(self._fault, listing.items))
        items = tuple(item for item, reason in zip(listing.items, reasons, strict=True) if not reason)
        bad = tuple(BadItem(item.path, reason) for item, reason in zip(listing.items, reasons, strict=True) if reason)
        return replace(listing, items=items, bad=listing.bad + bad)

    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of all that it says of itself."""
        return hashlib.sha256(json.dumps(describe(self), sort_keys=True).encode()).hexdigest()

    def _fault(self, item: Item) -> str:
        try:
            self.read(item, None)
        except (ValueError, OSError) as error:
            return " ".join(str(error).split())
        return ""


@register
@dataclass(frozen=True, kw_only=True)
class AudioFrontEnd(FrontEnd):
    """Recordings to log-mels, (frames, bins).

    Without augmentation they are taken from their beginning.

    Attributes:
        sample: How long, and which filterbank.
        statistics: What values are normalised with.
    """

    kind: ClassVar[Kind] = "audio"

    sample: AudioSampleConfig
    statistics: MelStatistics

    @property
    def channels(self) -> int:
        return 1

    @property
    def size(self) -> tuple[int, ...]:
        return self.sample.frames, self.sample.mel.bins

    def read(self, item: Item, generator: torch.Generator | None) -> AudioSample:
        return read_sample(item, self.sample, generator)

    def finish(self, raw: AudioSample) -> View:
        return View(*normalized(raw, self.statistics))

    def measured(self, listing: Listing, *, items: int = 1000) -> "AudioFrontEnd":
        return replace(self, statistics=mel_statistics(listing, self.sample, clips=items))


@dataclass(frozen=True, kw_only=True)
class VisualFrontEnd(FrontEnd):
    """What images and videos share: what no augmentation has cut to size is the middle, resized.

    Attributes:
        channels: 1 for grey, 3 for colour.
        height: In pixels.
        width: In pixels.
        mean: Of every channel, or one for all; black is 0 and white 1.
        deviation: Likewise.
    """

    channels: int = 3
    height: int = 224
    width: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    deviation: tuple[float, ...] = IMAGENET_DEVIATION

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"{self.kind}s have 1 channel or 3, got {self.channels}")
        if min(self.size) < 1:
            raise ValueError(f"sizes are 1 or more, got {self.size}")
        if not len(self.mean) == len(self.deviation) in (1, self.channels) or not min(self.deviation) > 0:
            raise ValueError(
                f"{self.channels} channels have as many means and deviations above 0, or one for all: got {self.mean} "
                f"and {self.deviation}"
            )

    def shown(self, raw: Shaped[Tensor, "channels *positions"]) -> Float[Tensor, "channels *size"]:
        """What is normalised."""
        return fitted(raw, self.height, self.width)

    def finish(self, raw: Shaped[Tensor, "channels *positions"]) -> View:
        return View(normalized_channels(self.shown(raw), self.mean, self.deviation))

    def measured(self: V, listing: Listing, *, items: int = 1000) -> V:
        found = channel_statistics(listing, lambda item: self.shown(self.read(item, None)), items=items)
        return replace(self, mean=found.mean, deviation=found.deviation)


@register
@dataclass(frozen=True, kw_only=True)
class ImageFrontEnd(VisualFrontEnd):
    """Images to pixels, (height, width)."""

    kind: ClassVar[Kind] = "image"

    @property
    def size(self) -> tuple[int, ...]:
        return self.height, self.width

    def read(self, item: Item, generator: torch.Generator | None) -> Shaped[Tensor, "channels height width"]:
        return read_image(item, channels=self.channels)


@register
@dataclass(frozen=True, kw_only=True)
class VideoFrontEnd(VisualFrontEnd):
    """Videos to clips, (frames, height, width), of which all frames are cut alike.

    Without augmentation a clip is from the middle of the video. The last frame of a video that is shorter than a clip
    is repeated; this is no padding.

    Attributes:
        clip: Which frames.
        background: ``removed``: of every pixel its mean over the frames of the clip is subtracted, so that what rests
            is 0 and only what changes is seen; mean and deviation are then those of the differences.
    """

    kind: ClassVar[Kind] = "video"

    clip: ClipConfig = field(default_factory=ClipConfig)
    background: Literal["kept", "removed"] = "kept"

    @property
    def size(self) -> tuple[int, ...]:
        return self.clip.frames, self.height, self.width

    def read(self, item: Item, generator: torch.Generator | None) -> Shaped[Tensor, "channels frames height width"]:
        where = 0.5 if generator is None else float(torch.rand((), generator=generator, dtype=torch.float64))
        frames = read_clip(item, self.clip, where=where).frames
        return frames if self.channels == 3 else grey(frames)

    def shown(self, raw: Shaped[Tensor, "channels *positions"]) -> Float[Tensor, "channels *size"]:
        frames = super().shown(raw)
        return frames if self.background == "kept" else frames - frames.mean(1, keepdim=True)


@dataclass(frozen=True, eq=False)
class FileSamples:
    """Samples that are read from their files whenever they are asked for.

    View v of sample n is drawn from (seed, n, v) alone: where in a longer recording or video it begins, and all that
    augmentations draw. Without augmentations nothing is drawn, and all views are alike. A patch is no padding if any of
    its frames is none.

    Attributes:
        front_end: What reads them.
        listing: Which; of the kind of the front end.
        patch: Size of a patch along every axis.
        augment: What is done to a view, in this order, before it is normalised; objects that ``describe`` knows.
        seed: Of the draws.
        repeats: So many views in a row, from a multiple of it on, begin at the same place, which is decoded once where
            they are asked for together ("repeated augmentation", Hoffer et al. 2020; VideoMAE has 2 or 4 of a clip).
        workers: Threads that read; 0 reads in the one that asks. What is read does not depend on it.

    Raises:
        ValueError: If the listing is of another kind, sizes are no multiples of patches, or an augmentation mixes in
            what an item does not hold.
    """

    front_end: FrontEnd
    listing: Listing
    patch: tuple[int, ...]
    augment: Sequence[Augmentation] = ()
    seed: int = 0
    repeats: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        grid_of(self.front_end.size, self.patch)
        if self.listing.kind != self.front_end.kind:
            raise ValueError(
                f"{type(self.front_end).__name__} reads {self.front_end.kind}, the listing is of {self.listing.kind}: "
                f"take the front end of {self.listing.kind}"
            )
        if mixing := [type(part).__name__ for part in self.augment if getattr(part, "mixing", False)]:
            raise ValueError(
                f"{mixing[0]} mixes in what a sample does not hold, and tokens would be made of that: it is for the "
                "encoder's input only"
            )
        if self.repeats < 1 or self.workers < 0:
            raise ValueError(f"repeats are 1 or more and workers 0 or more: got {self.repeats} and {self.workers}")

    @property
    def grid(self) -> tuple[int, ...]:
        """Patches along every axis."""
        return grid_of(self.front_end.size, self.patch)

    def __len__(self) -> int:
        return len(self.listing)

    def window(self, size: int) -> Window:
        """An order in which files are read mostly in sequence, for ``Order``."""
        return Window.of(self.listing.items, size)

    def inputs(self, numbers: Sequence[int], views: Sequence[int]) -> Inputs:
        """Views of samples, read now.

        Raises:
            ValueError: In one line that names the file, if one cannot be read: an AudioError, ImageError, VideoError or
                TarError.
        """
        rows: dict[tuple[int, int], list[int]] = {}
        for row, (number, view) in enumerate(zip(numbers, views, strict=True)):
            rows.setdefault((number, view // self.repeats), []).append(row)
        with _mapping(self.workers) as each:
            read = list(each(self._views, rows, [[views[row] for row in own] for own in rows.values()]))
        placed = dict(zip(chain.from_iterable(rows.values()), chain.from_iterable(read), strict=True))
        found = [placed[row] for row in range(len(placed))]
        values = torch.stack([view.values for view in found])
        valid = [view.valid for view in found if view.valid is not None]
        return Inputs(values, self._patches(torch.stack(valid)) if valid else None)

    def configuration(self) -> Mapping[str, object]:
        return {
            "front end": describe(self.front_end),
            "patch": list(self.patch),
            "augment": [describe(part) for part in self.augment],
            "seed": self.seed,
            "repeats": self.repeats,
            "items": self._checksum,
        }

    def _views(self, part: tuple[int, int], views: list[int]) -> list[View]:
        """Views of a part of an item, decoded once."""
        number, clip = part
        item = self.listing.items[number]
        if not self.augment:
            return [self.front_end.finish(self.front_end.read(item, None))] * len(views)
        raw = self.front_end.read(item, self._generator(f"{number} {clip} place"))
        made = []
        for view in views:
            changed, generator = raw, self._generator(f"{number} {view}")
            for change in self.augment:
                changed = change(changed, generator)
            made.append(self.front_end.finish(changed))
        return made

    def _generator(self, key: str) -> torch.Generator:
        return torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {key}".encode()))

    def _patches(self, valid: Bool[Tensor, "batch frames"]) -> Bool[Tensor, "batch patches"]:
        """Which patches hold a frame that is no padding."""
        first = valid.unflatten(1, (self.grid[0], self.patch[0])).any(-1)
        return first.repeat_interleave(math.prod(self.grid[1:]), 1)

    @cached_property
    def _checksum(self) -> str:
        """Of names, places, parts and sizes of all files; the folder they lie in may be another one."""
        paths = {item.path for item in self.listing.items}
        home = os.path.commonpath([path.absolute().parent for path in paths]) if paths else ""
        sizes = {path: path.stat().st_size if path.is_file() else -1 for path in paths}
        told = {path: (os.path.relpath(path.absolute(), home), size) for path, size in sizes.items()}
        parts = [[*told[item.path], item.place, item.start, item.seconds] for item in self.listing.items]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Any]]:
    """``map``, in threads if there are workers."""
    if workers < 0:
        raise ValueError(f"workers are threads that read files, 0 or more: got {workers}")
    if not workers:
        yield map
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="samples") as pool:
        yield pool.map
