"""The tokens of a corpus as files, for whoever wants to train on them: ``.cw`` shards in a folder.

::

    samples ──tokenizer──► codes (samples, patches, levels) ──► tokens-00000-of-00003.cw, tokens-00001-of-00003.cw, ...
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from codeword.data.listing import Listing
from codeword.formats.atomic import atomic_write
from codeword.formats.errors import FormatError
from codeword.formats.tokens import TokenHeader, TokenReader, write_tokens
from codeword.pretraining.samples import Samples
from codeword.pretraining.tokenizer import Tokenizer

Progress = Callable[[float, float | None], object]


class Written(NamedTuple):
    """What ``write_token_files`` did.

    Attributes:
        shards: Files in the folder.
        kept: How many of them had been there already.
        file_bytes: Of all of them.
    """

    shards: int
    kept: int
    file_bytes: int


def write_token_files(
    tokenizer: Tokenizer,
    samples: Samples,
    names: Sequence[str],
    folder: Path,
    *,
    front_end: str | None = None,
    shard: int = 4096,
    batch: int = 64,
    progress: Progress | None = None,
) -> Written:
    """Write the tokens of view 0 of all samples.

    A shard appears whole or not at all, and those that are there and intact are not made again: an interrupted call
    goes on where it stopped.

    Args:
        tokenizer: Set to evaluation.
        samples: Of what.
        names: One for every sample, no two alike.
        folder: Where; made if it is not there.
        front_end: Fingerprint of what makes the inputs.
        shard: Samples of a file.
        batch: Samples that are tokenized at a time.
        progress: Called with the samples done and all samples.

    Raises:
        ValueError: In one line, if names are not one for every sample, or the folder holds other files of tokens.
    """
    if not len(names) == len(set(names)) == len(samples) or not names:
        raise ValueError(f"{len(samples)} samples need a name each, got {len(set(names))} different names")
    folder.mkdir(parents=True, exist_ok=True)
    shards = -(-len(samples) // shard)
    paths = [folder / f"tokens-{number:05d}-of-{shards:05d}.cw" for number in range(shards)]
    if others := sorted(set(folder.glob("*.cw")) - set(paths)):
        raise ValueError(f"{others[0]} is no part of these {shards} shards: remove it, or name another folder")
    header = TokenHeader(
        tokenizer=tokenizer.fingerprint(),
        front_end=front_end,
        dim=tokenizer.quantizer.dim,
        sizes=tokenizer.quantizer.sizes,
        grid=samples.grid,
        padding=False,
        first=0,
        samples=0,
    )
    kept = 0
    for number, path in enumerate(paths):
        first, stop = number * shard, min((number + 1) * shard, len(samples))
        mine, own = replace(header, first=first, samples=stop - first), names[first:stop]
        if _is_there(path, mine, own):
            kept += 1
        else:
            found = []
            for codes in tokens_of(tokenizer, samples, range(first, stop), batch=batch):
                found.append(codes.int().numpy())
                if progress is not None:
                    progress(first + sum(map(len, found)), len(samples))
            whole = np.concatenate(found)
            with atomic_write(path) as file:
                write_tokens(file, replace(mine, padding=bool((whole < 0).any())), own, whole)
        if progress is not None:
            progress(stop, len(samples))
    return Written(shards, kept, sum(path.stat().st_size for path in paths))


def tokens_of(
    tokenizer: Tokenizer, samples: Samples, numbers: Sequence[int], *, batch: int = 64
) -> Iterator[Int[Tensor, "batch patches levels"]]:
    """Tokens of view 0 of some samples, batch by batch; sets the tokenizer to evaluation."""
    tokenizer.eval()
    device = next(iter(tokenizer.state_dict().values())).device
    for start in range(0, len(numbers), batch):
        some = list(numbers[start : start + batch])
        x, valid = samples.inputs(some, [0] * len(some))
        yield tokenizer.encode(x.to(device), None if valid is None else valid.to(device)).cpu()


def names_of(listing: Listing, root: Path) -> tuple[str, ...]:
    """A name for every item: its path below a folder, with its place or start where a file may hold many."""
    return tuple(
        (item.path.relative_to(root) if item.path.is_relative_to(root) else item.path).as_posix()
        + (f"#{item.place}" if item.place else "")
        + (f"@{item.start}" if item.start else "")
        for item in listing.items
    )


class TokenFiles:
    """Tokens by name, read from the shards of a folder.

    Args:
        path: A folder that ``write_token_files`` has filled, or one file of it.
        tokenizer: Fingerprint of the tokenizer that is expected to have made them; ``None`` takes any.

    Attributes:
        grid: Patches along every axis.
        sizes: Codewords of every level.
        tokenizer: Fingerprint of the tokenizer that made them.

    Raises:
        ValueError: In one line, if there are none, some are missing, they are of several tokenizers, or of another one.
    """

    def __init__(self, path: Path, *, tokenizer: str | None = None):
        self._paths = sorted(path.glob("*.cw")) if path.is_dir() else [path]
        if not self._paths:
            raise ValueError(f"{path} holds no .cw file: codeword tokens makes them")
        headers = [_header(file) for file in self._paths]
        self._first = headers[0].first if path.is_file() else 0
        self.grid, self.sizes, self.tokenizer = headers[0].grid, headers[0].sizes, headers[0].tokenizer
        if tokenizer is not None and tokenizer != self.tokenizer:
            raise ValueError(
                f"{path} holds tokens of the tokenizer {self.tokenizer[:12]}, not of {tokenizer[:12]}: make them again"
            )
        end = self._first
        for file, header in zip(self._paths, headers, strict=True):
            if _of_what(header) != _of_what(headers[0]):
                raise ValueError(f"{file} holds tokens of another tokenizer or front end than {self._paths[0]}")
            if header.first != end:
                raise ValueError(f"{file} begins with sample {header.first}, expected {end}: a shard is missing")
            end += header.samples
        self._ends = np.cumsum([header.samples for header in headers])
        if path.is_dir() and not self._paths[-1].stem.endswith(f"-of-{len(self._paths):05d}"):
            raise ValueError(
                f"{path} has {len(self._paths)} shards, the last is {self._paths[-1].name}: some are missing"
            )
        self._places: dict[str, int] | None = None

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def names(self) -> tuple[str, ...]:
        """Of all samples, in order; the first look reads through all files."""
        return tuple(self._numbers())

    def codes(self, name: str) -> Int[Tensor, "patches levels"]:
        """Tokens of a sample; -1 in padding.

        Raises:
            ValueError: If there is no such sample.
        """
        place = self._numbers().get(name)
        if place is None:
            raise ValueError(
                f"there is no sample {name!r} among {len(self)}, the first is {next(iter(self._numbers()))!r}"
            )
        shard = int(np.searchsorted(self._ends, place, side="right"))
        start = place - (int(self._ends[shard - 1]) if shard else 0)
        with TokenReader(self._paths[shard]) as reader:
            return torch.from_numpy(reader.read(start, start + 1).codes[0])

    def __iter__(self) -> Iterator[tuple[str, Int[Tensor, "patches levels"]]]:
        """All samples in order, with their names."""
        for path in self._paths:
            with TokenReader(path) as reader:
                for names, codes in reader:
                    yield from zip(names, torch.from_numpy(codes), strict=True)

    def _numbers(self) -> dict[str, int]:
        if self._places is None:
            names: list[str] = []
            for path in self._paths:
                with TokenReader(path) as reader:
                    names += reader.names()
            self._places = {name: number for number, name in enumerate(names)}
        return self._places


def _header(path: Path) -> TokenHeader:
    try:
        with TokenReader(path) as reader:
            return reader.header
    except FormatError as error:
        raise FormatError(f"{path}, {error.where}", error.problem) from error


def _of_what(header: TokenHeader) -> TokenHeader:
    return replace(header, padding=False, first=0, samples=0)


def _is_there(path: Path, wanted: TokenHeader, names: Sequence[str]) -> bool:
    """Whether a shard is there and intact; one of something else is refused."""
    if not path.exists():
        return False
    found = replace(_header(path), padding=False)
    for name, value in wanted.to_fields().items():
        if found.to_fields()[name] != value:
            raise ValueError(
                f"{path} was made with another {name} ({found.to_fields()[name]}, now {value}): remove it, or name "
                "another folder"
            )
    try:
        with TokenReader(path) as reader:
            there = [name for part in reader for name in part.names]
    except FormatError:
        return False  # cut off or damaged after it was written: made again
    if there != list(names):
        raise ValueError(f"{path} holds the tokens of other samples: remove it, or name another folder")
    return True
