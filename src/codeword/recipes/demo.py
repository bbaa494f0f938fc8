"""The demo: real vectors to codes, a file, a reconstruction and a search, beside FAISS where it is installed."""

import statistics
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
from codeword.evaluation.peers import FAISS_FAMILIES, FaissCodes
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
_UNSEEN = 5  # every fifth stored vector is kept from training, and so is every twentieth of the rest, to choose by
_TITLES = (
    "data", "method", "bytes", "MSE / variance", "of unseen", "recall@1", "recall@10", "encoded per second"
)  # fmt: skip


class Row(NamedTuple):
    """One method on one set at one rate.

    Attributes:
        data: The set.
        method: The quantizer.
        bytes: Bytes of codes per vector.
        error: Squared error over the variance, of all stored vectors.
        unseen: That of the stored vectors that training did not see.
        recall: Of the exact nearest neighbour, in codes.
        rate: Vectors encoded per second of wall-clock time, the median of three.
        usage: Perplexity over size of every level.
    """

    data: str
    method: str
    bytes: int
    error: float
    unseen: float
    recall: Recall
    rate: float
    usage: tuple[float, ...]

    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        one, ten = self.recall.values
        numbers = (f"{self.error:.4f}", f"{self.unseen:.4f}", f"{one:.3f}", f"{ten:.3f}", f"{self.rate:.0f}")
        return (self.data, self.method, str(self.bytes), *numbers)


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
        say(f"\n{name}: {len(data.base)} vectors of {data.base.shape[1]} features, {len(data.queries)} queries")
        say(_line(_TITLES[1:]))
        for row in _rows(name, data, _exact(data), out):
            say(_line(row.cells()[1:]))
            rows.append(row)
    say("two-dimensional sets: the codebooks of each method")
    _report(rows, out / "report.html")
    say(f"{out / 'report.html'} shows it all; {time.perf_counter() - start:.0f} s")


def _line(cells: tuple[str, ...]) -> str:
    widths = (11, 5, 14, 9, 8, 9, 18)
    return "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _split(base: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What trains, what chooses, what only judges."""
    places = torch.arange(len(base))
    unseen = places % _UNSEEN == _UNSEEN - 1
    chooses = ~unseen & (places % 20 == 0)
    return base[~unseen & ~chooses], base[chooses], base[unseen]


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
    learned, chooses, _ = _split(data.base)
    quantizer = build(config, data.base.shape[1])
    train(quantizer, learned, EMConfig(), validation=chooses)
    codec = VectorCodec(quantizer.eval())
    stem = f"{name.replace(' ', '_')}_{config.quantizer.value}_{config.levels}"
    codec.save_pretrained(out / stem)
    codec.encode(data.base, out / f"{stem}.cw")
    with VectorCodec.from_pretrained(out / stem).open(out / f"{stem}.cw") as reader:
        codes = torch.from_numpy(reader.read_all())
    index = CodedIndex(quantizer)
    index.add_codes(codes)
    decoded = quantizer.decode(codes)
    return Row(
        data=name,
        method=config.quantizer.value,
        bytes=config.levels,
        error=_error(data.base, decoded),
        unseen=_error(_split(data.base)[-1], _split(decoded)[-1]),
        recall=recall_at(index.search(data.queries, 10).ids, truth, (1, 10)),
        rate=len(data.base) / median_seconds(lambda: quantizer.encode(data.base)),
        usage=_usage(codes),
    )


def _theirs(name: str, data: Collection, truth: Tensor, family: str) -> Row:
    learned, chooses, unseen = _split(data.base)
    coder = FaissCodes(family, torch.cat([learned, chooses]), levels=LEVELS[-1])
    codes = coder.encode(data.base)
    decoded = coder.decode(codes)
    return Row(
        data=name,
        method=f"faiss {family}",
        bytes=LEVELS[-1],
        error=_error(data.base, decoded),
        unseen=_error(unseen, _split(decoded)[-1]),
        recall=recall_at(coder.search(data.base, data.queries, 10), truth, (1, 10)),
        rate=len(data.base) / median_seconds(lambda: coder.encode(data.base)),
        usage=_usage(codes),
    )


def median_seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of a call, the median of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _error(x: Tensor, decoded: Tensor) -> float:
    total = Distortion(x.shape[1])
    total.add(x, decoded)
    return total.report().relative_error


def _usage(codes: Tensor) -> tuple[float, ...]:
    return tuple(float(perplexity_share(histogram(codes[:, m], SIZE))) for m in range(codes.shape[1]))


def _report(rows: list[Row], path: Path) -> None:
    page = Page("Codes for real vectors", "Trained, written to files, read back and searched by codeword's demo.")
    page.heading("Eight bytes a vector")
    full = [row for row in rows if row.bytes == LEVELS[-1]]
    marked = [n for n, row in enumerate(full, 1) if not row.method.startswith("faiss")]
    page.table([_TITLES, *(row.cells() for row in full)], mark=marked)
    page.paragraph(
        "Models are trained on four fifths of the vectors that they store; errors of the other fifth stand apart. "
        "With so few vectors a model learns much by heart: the error of unseen vectors is what a larger collection "
        "would have. Errors are measured on vectors decoded from the file, recall is the share of queries whose exact "
        "nearest neighbour is among the first found by a search in the codes. Bold rows are codeword's; FAISS trains "
        "with its defaults on the same vectors."
    )
    for name in dict.fromkeys(row.data for row in rows):
        page.heading(name.capitalize())
        of_set = [row for row in rows if row.data == name]
        page.figure(
            _by_rate(of_set, lambda r: r.unseen, "MSE / variance, unseen vectors", "Distortion against rate"),
            "Error of vectors kept from training, over bytes per vector.",
        )
        page.figure(
            _by_rate(of_set, lambda r: r.recall.values[0], "recall@1", "Search against rate"),
            "How often the nearest neighbour is found first, over bytes per vector.",
        )
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
