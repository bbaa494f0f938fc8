"""The demo: real vectors to codes, a file, a reconstruction and a search, beside FAISS where it is installed."""

import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from codeword.codecs.vectors import VectorCodec
from codeword.data.embedded import Collection, descriptors, words
from codeword.evaluation.figures import Cloud, codebook_grid, curves, usage_bars
from codeword.evaluation.page import Page
from codeword.evaluation.peers import FAISS_FAMILIES, faiss_codes
from codeword.evaluation.toy import toy_codebooks
from codeword.functional.usage import histogram, perplexity_share
from codeword.metrics.distortion import Distortion
from codeword.metrics.retrieval import Recall, recall_at
from codeword.recipes.vectors import Family, VectorsConfig, build
from codeword.search.coded import CodedIndex
from codeword.search.flat import FlatIndex
from codeword.training.em import train
from codeword.training.run import EMConfig

LEVELS, SIZE = (2, 4, 8), 256
FAMILIES = (Family.PRODUCT, Family.RESIDUAL, Family.ADDITIVE)
_TITLES = ("data", "method", "bytes", "error / variance", "recall@1", "recall@10", "encoded per second")


class Row(NamedTuple):
    """One method on one set at one rate.

    Attributes:
        data: The set.
        method: The quantizer.
        bytes: Bytes of codes per vector.
        relative_error: Squared error over the variance.
        recall: Of the exact nearest neighbour, in codes.
        rate: Vectors encoded per second, wall clock.
        usage: Perplexity over size of every level.
    """

    data: str
    method: str
    bytes: int
    relative_error: float
    recall: Recall
    rate: float
    usage: tuple[float, ...]

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        one, ten = self.recall.values
        error, rate = f"{self.relative_error:.4f}", f"{self.rate:.0f}"
        return (self.data, self.method, str(self.bytes), error, f"{one:.3f}", f"{ten:.3f}", rate)


def run_demo(out: Path, say: Callable[[str], None]) -> None:
    """Run everything; write models, files of codes and ``report.html`` into a folder.

    Args:
        out: The folder.
        say: Called with every line for the terminal.
    """
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    sets = {"word vectors": words(), "image descriptors": descriptors()}
    rows = []
    for name, data in sets.items():
        say(f"{name}: {len(data.base)} vectors of {data.base.shape[1]} features, {len(data.queries)} queries")
        truth = _exact(data)
        for row in _rows(name, data, truth, out):
            say(
                "  "
                + "  ".join(
                    f"{cell:>{width}}" for cell, width in zip(row.cells()[1:], (12, 3, 8, 7, 7, 9), strict=True)
                )
            )
            rows.append(row)
    say("two-dimensional sets: the codebooks of each method")
    _report(rows, out / "report.html")
    say("")
    _print_table(rows, say)
    say(f"\n{out / 'report.html'} shows it all; {time.perf_counter() - start:.0f} s")


def _exact(data: Collection) -> Tensor:
    index = FlatIndex(data.base.shape[1])
    index.add(data.base)
    return index.search(data.queries, 1).ids


def _rows(name: str, data: Collection, truth: Tensor, out: Path) -> Iterator[Row]:
    for family in FAMILIES:
        for levels in LEVELS:
            yield _ours(name, data, truth, out, VectorsConfig(quantizer=family, levels=levels, size=SIZE))
    if find_spec("faiss") is not None:
        for family in FAISS_FAMILIES:
            yield _theirs(name, data, truth, family)


def _ours(name: str, data: Collection, truth: Tensor, out: Path, config: VectorsConfig) -> Row:
    """Train, write a file, read it back, decode and search: what is measured has been through the file."""
    quantizer = build(config, data.base.shape[1])
    train(quantizer, data.base, EMConfig())
    codec = VectorCodec(quantizer)
    stem = f"{name.replace(' ', '_')}_{config.quantizer.value}_{config.levels}"
    codec.save_pretrained(out / stem)
    start = time.perf_counter()
    codec.encode(data.base, out / f"{stem}.cw")
    seconds = time.perf_counter() - start
    with VectorCodec.from_pretrained(out / stem).open(out / f"{stem}.cw") as reader:
        codes = torch.from_numpy(reader.read_all())
    index = CodedIndex(quantizer)
    index.add_codes(codes)
    found = index.search(data.queries, 10).ids
    return Row(
        data=name,
        method=config.quantizer.value,
        bytes=config.levels,
        relative_error=_error(data.base, quantizer.decode(codes)),
        recall=recall_at(found, truth, (1, 10)),
        rate=len(data.base) / seconds,
        usage=_usage(codes),
    )


def _theirs(name: str, data: Collection, truth: Tensor, family: str) -> Row:
    result = faiss_codes(family, data.base, data.queries, levels=LEVELS[-1], neighbours=10)
    return Row(
        data=name,
        method=f"faiss {family}",
        bytes=LEVELS[-1],
        relative_error=_error(data.base, result.decoded),
        recall=recall_at(result.found, truth, (1, 10)),
        rate=len(data.base) / result.seconds,
        usage=_usage(result.codes),
    )


def _error(x: Tensor, decoded: Tensor) -> float:
    total = Distortion(x.shape[1])
    total.add(x, decoded)
    return total.report().relative_error


def _usage(codes: Tensor) -> tuple[float, ...]:
    return tuple(float(perplexity_share(histogram(codes[:, m], SIZE))) for m in range(codes.shape[1]))


def _print_table(rows: list[Row], say: Callable[[str], None]) -> None:
    table = [_TITLES, *(row.cells() for row in rows if row.bytes == LEVELS[-1])]
    widths = [max(len(line[column]) for line in table) for column in range(len(_TITLES))]
    for line in table:
        left, right = line[:2], line[2:]
        cells = [c.ljust(w) for c, w in zip(left, widths[:2], strict=True)]
        say("  ".join([*cells, *(c.rjust(w) for c, w in zip(right, widths[2:], strict=True))]))


def _report(rows: list[Row], path: Path) -> None:
    page = Page("Codes for real vectors", "Trained, written to files, read back and searched by codeword's demo.")
    page.heading("Eight bytes a vector")
    full = [row for row in rows if row.bytes == LEVELS[-1]]
    marked = [n for n, row in enumerate(full, 1) if not row.method.startswith("faiss")]
    page.table([_TITLES, *(row.cells() for row in full)], mark=marked)
    page.paragraph(
        "Every model is trained on the vectors it stores, as one does for a collection of this size; queries are not "
        "among them. Errors are measured on vectors decoded from the file, recall is the share of queries whose exact "
        "nearest neighbour is among the first found by a search in the codes. Bold rows are codeword's."
    )
    for name in dict.fromkeys(row.data for row in rows):
        page.heading(name.capitalize())
        of_set = [row for row in rows if row.data == name]
        page.figure(_by_rate(of_set, lambda r: r.relative_error, "error / variance", "Distortion against rate"), "")
        page.figure(_by_rate(of_set, lambda r: r.recall.values[0], "recall@1", "Search against rate"), "")
        usage = {row.method: row.usage for row in of_set if row.bytes == LEVELS[-1] and "faiss" not in row.method}
        page.figure(usage_bars(usage), "How evenly each level uses its codewords: 1 is perfectly even.")
    page.heading("Codebooks in the plane")
    page.paragraph(
        "Sixty-four codewords from the same random start, near the data. Where nothing is replaced, codewords that no "
        "point chooses stay where they fell; the best error of a row is bold."
    )
    panels = {
        name: {m: Cloud(c.points[:4000].numpy(), c.codewords.numpy(), c.error) for m, c in methods.items()}
        for name, methods in toy_codebooks().items()
    }
    page.figure(codebook_grid(panels), "Codebooks (red) on two-dimensional sets (grey); error per feature.")
    page.write(path)


def _by_rate(rows: list[Row], value: Callable[[Row], float], label: str, title: str):
    series = {}
    for method in dict.fromkeys(row.method for row in rows):
        points = [(row.bytes, value(row)) for row in rows if row.method == method]
        series[method] = ([x for x, _ in points], [y for _, y in points])
    return curves(series, x="bytes per vector", y=label, title=title)
