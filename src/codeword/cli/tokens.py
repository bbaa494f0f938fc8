"""``codeword tokens`` and ``codeword evaluate tokens``."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from codeword.cli.common import ModelFolder, OptionalPath, check_folder, check_output, progress_bar, report_left_out

if TYPE_CHECKING:
    from codeword.data.listing import Kind, Listing
    from codeword.metrics.tokens import TokenReport
    from codeword.pretraining.front_ends import FileSamples, FrontEnd
    from codeword.pretraining.tokenizer import Tokenizer

Data = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="DATA")]]
_ALL = 0  # items that stand for all of a data set


@dataclass(frozen=True)
class Tokens:
    """Write the tokens of a data set to .cw shards: codes of every patch, by the names of the items."""

    model: ModelFolder
    """Folder of a pretrained encoder, or of a tokenizer."""
    data: Data
    """A folder, a table or tar shards; see codeword data check."""
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
    """Where the shards go; the same command goes on with an interrupted one."""
    shard: int = 4096
    """Items of a shard."""
    batch: int = 64
    """Items that are tokenized at a time."""
    workers: int = 2
    """Threads that read files."""

    def run(self) -> None:
        """Tokenize shard by shard."""
        from codeword.evaluation.data_check import open_listing
        from codeword.pretraining.token_files import names_of, write_token_files

        _check_counts(self, "shard", "batch")
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"{self.out} is a file: give the name of a folder")
        check_folder(self.out)
        tokenizer, front_end = _opened(self.model)
        listing = front_end.readable(open_listing(self.data, front_end.kind), workers=self.workers).not_empty()
        samples = front_end.samples(listing, tokenizer.patch, workers=self.workers)
        with progress_bar("tokens", unit=" items") as progress:
            done = write_token_files(
                tokenizer,
                samples,
                names_of(listing, self.data),
                self.out,
                front_end=front_end.fingerprint(),
                shard=self.shard,
                batch=self.batch,
                progress=progress,
            )
        kept = f", {done.kept} of them kept" if done.kept else ""
        sizes, patches = tokenizer.quantizer.sizes, " x ".join(map(str, samples.grid))
        print(
            f"{self.out}: tokens of {len(samples)} items in {done.shards} shards{kept}, {done.file_bytes} bytes; "
            f"{patches} patches of {len(sizes)} codes each, codebooks of {', '.join(map(str, sizes))}"
        )
        report_left_out(listing.bad, self.data)


@dataclass(frozen=True)
class EvaluateTokens:
    """Report how tokens use their codebooks, what levels share, and whether places of patches tell codes."""

    model: ModelFolder
    """Folder of a pretrained encoder, or of a tokenizer."""
    data: Data
    """A folder, a table or tar shards, best of items that pretraining has not seen."""
    beside: tuple[Path, ...] = ()
    """Tokenizers to compare with, such as those of iterations before."""
    items: int = 2000
    """How many items, spread evenly over all; 0: all."""
    out: OptionalPath = None
    """JSON file for all figures."""
    usage: OptionalPath = None
    """PNG file of how often every codeword is used; needs the extra report."""
    picture: OptionalPath = None
    """PNG file in which patches that share a code have one colour; needs the extra report."""
    shown: int = 3
    """Items in that picture."""
    batch: int = 64
    """Items that are tokenized at a time."""
    workers: int = 2
    """Threads that read files."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        """Tokenize, count, print, draw."""
        from codeword.evaluation.data_check import open_listing
        from codeword.evaluation.tokens import evaluate_tokens, write_reports

        self._check()
        reports: dict[str, TokenReport] = {}
        listings: dict[Kind, Listing] = {}
        opened = {model: _opened(model) for model in (*self.beside, self.model)}
        for _, front_end in opened.values():
            if front_end.kind not in listings:
                some = _some(open_listing(self.data, front_end.kind), self.items)
                listings[front_end.kind] = front_end.readable(some, workers=self.workers).not_empty()
        for model, (tokenizer, front_end) in opened.items():
            samples = front_end.samples(listings[front_end.kind], tokenizer.patch, workers=self.workers)
            with progress_bar("tokens", unit=" items") as progress:
                report = evaluate_tokens(tokenizer, samples, batch=self.batch, progress=progress)
            reports[str(model)] = report
            print(f"{model}: {report.table()}\n")
        if self.out is not None:
            write_reports(reports, self.out)
        self._draw(reports, tokenizer, samples)
        bad = {one.path: one for listing in listings.values() for one in listing.bad}
        report_left_out(tuple(bad.values()), self.data, "the others are counted")

    def _check(self) -> None:
        _check_counts(self, "items", "shown", "batch")
        for path in (self.out, self.usage, self.picture):
            if path is None:
                continue
            if path is not self.out and path.suffix.lower() != ".png":
                raise ValueError(f"a picture is a .png file, got {path}")
            check_output(path, overwrite=self.overwrite, inputs=(self.model, self.data, *self.beside))

    def _draw(self, reports: "dict[str, TokenReport]", tokenizer: "Tokenizer", samples: "FileSamples") -> None:
        if self.usage is None and self.picture is None:
            return
        from codeword.evaluation.data_check import spread
        from codeword.evaluation.data_sheet import save_sheet
        from codeword.evaluation.tokens import tokenized
        from codeword.evaluation.tokens_figures import token_figure, usage_figure

        if self.usage is not None:
            short = {Path(name).name: report for name, report in reports.items()}
            save_sheet(usage_figure(short if len(short) == len(reports) else reports), self.usage)
        if self.picture is not None:
            some = tokenized(tokenizer, samples, spread(len(samples), self.shown))
            save_sheet(token_figure(some, samples.front_end.kind), self.picture)


def _opened(model: Path) -> "tuple[Tokenizer, FrontEnd]":
    from codeword.pretraining.storage import load_tokenizer

    tokenizer, front_end = load_tokenizer(model)
    if front_end is None:
        raise ValueError(f"{model} does not say what its inputs are made of, so that no file can become one")
    return tokenizer, front_end


def _some(listing: "Listing", items: int) -> "Listing":
    from codeword.evaluation.data_check import spread

    if items == _ALL:
        return listing
    return replace(listing, items=tuple(listing.items[place] for place in spread(len(listing), items)))


def _check_counts(verb: Tokens | EvaluateTokens, *names: str) -> None:
    for name in names:
        least = _ALL if name == "items" else 1
        if getattr(verb, name) < least:
            raise ValueError(f"--{name} must be at least {least}, got {getattr(verb, name)}")
