"""How fast training excerpts come: from files of every format, from a cache, beside reading whole files.

    python -m benchmarks.audio_loader                     # about two minutes of one core

Speech at 16 kHz in excerpts of 1 s, music at 44.1 kHz in excerpts of 0.38 s (those of VRVQ), from files of one minute
made of the recordings in ``tests/fixtures``. ``whole`` is the common loop: draw a file, read it, crop it, with nothing
done to the excerpt; ``DataLoader`` is PyTorch's around that loop, with one worker process, its CPU time counted, its
start and end too. Figures are medians over turns, in which every method takes its turn.
"""

import argparse
import gc
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from benchmarks.record import median, write
from codeword.data.audio_augment import vrvq_augmentations
from codeword.data.audio_cache import ClipCache
from codeword.data.audio_corpus import Corpus, folder, scan
from codeword.data.audio_excerpts import ExcerptConfig, Excerpts, Salience
from codeword.data.audio_files import read_audio
from codeword.data.audio_writer import AudioWriter

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures"
SETS = {16000: (["ru_0001"], 1.0), 44100: (["ambi_choir", "loop_amen", "perc_bell"], 0.38)}
FILES, SECONDS, BATCH = 12, 60, 32


class Whole(IterableDataset):
    """The loop that most training scripts have."""

    def __init__(self, corpus: Corpus, config: ExcerptConfig) -> None:
        super().__init__()
        self.corpus, self.config = corpus, config

    def __iter__(self) -> Iterator[Tensor]:
        generator = np.random.default_rng(0)
        while True:
            clip = self.corpus.clips[generator.integers(len(self.corpus))]
            audio, _ = soundfile.read(clip.entry.path, dtype="float32", always_2d=True)
            start = generator.integers(len(audio) - self.config.samples + 1)
            part = audio[start : start + self.config.samples].mean(1)
            yield torch.from_numpy(part)[None]

    def batches(self) -> Iterator[Tensor]:
        examples = iter(self)
        while True:
            yield torch.stack(list(islice(examples, self.config.batch)))


def make(home: Path, rate: int, suffix: str) -> Corpus:
    """Files of one minute, each from another place of the recordings."""
    place = home / f"{rate}_{suffix}"
    place.mkdir()
    parts = [read_audio(FIXTURES / f"{name}.flac").mean(0).numpy() for name in SETS[rate][0]]
    long = np.resize(np.concatenate(parts), rate * SECONDS)
    for number in range(FILES):
        with AudioWriter(place / f"{number}.{suffix}", rate=rate, channels=1) as writer:
            writer.write(torch.from_numpy(np.roll(long, number * rate * 5))[None])
    return scan(folder(place))


def cpu() -> float:
    """CPU seconds of this process and of the children that have ended."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def spent(batches: Callable[[], Iterator[Tensor]], count: int) -> tuple[float, float]:
    """CPU and wall seconds of ``count`` batches, start and end of workers included."""
    gc.collect()
    start, begin = cpu(), time.perf_counter()
    iterator = batches()
    for _ in islice(iterator, count):
        pass
    wall = time.perf_counter() - begin
    del iterator  # the worker of a DataLoader ends, so that its time is counted
    return cpu() - start, wall


def methods(corpus: Corpus, config: ExcerptConfig, cache: ClipCache) -> dict[str, Callable[[], Iterator[Tensor]]]:
    full = replace(config, salience=Salience(), augment=vrvq_augmentations())
    whole = Whole(corpus, config)
    return {
        "excerpts": lambda: Excerpts(corpus, config).batches(),
        "excerpts, salient and augmented": lambda: Excerpts(corpus, full).batches(),
        "cache": lambda: Excerpts(corpus, config, source=cache).batches(),
        "cache, salient and augmented": lambda: Excerpts(corpus, full, source=cache).batches(),
        "excerpts, 2 threads": lambda: Excerpts(corpus, config, workers=2).batches(),
        "whole": whole.batches,
        "DataLoader": lambda: iter(DataLoader(whole, config.batch, num_workers=1)),
    }


def measure(home: Path, rate: int, suffix: str, turns: int) -> list[dict[str, object]]:
    corpus = make(home, rate, suffix)
    config = ExcerptConfig(rate=rate, seconds=SETS[rate][1], batch=BATCH, salience=None)
    begin = cpu()
    cache = ClipCache(home / f"cache_{rate}_{suffix}", corpus, rate, workers=1)
    built = FILES * SECONDS / (cpu() - begin)
    calls = methods(corpus, config, cache)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(turns):
        for name, batches in calls.items():
            slow = name in ("whole", "DataLoader")
            count = 2 if slow else 8
            times[name].append(tuple(value / count for value in spent(batches, count)))
    rows = []
    for name, values in times.items():
        seconds, wall = (median([pair[which] for pair in values]) for which in (0, 1))
        row = {
            "format": suffix,
            "rate": rate,
            "method": name,
            "excerpts_per_cpu_second": BATCH / seconds,
            "audio_seconds_per_cpu_second": BATCH * config.seconds / seconds,
            "excerpts_per_wall_second": BATCH / wall,
        }
        rows.append(row | ({"cache_built_at_audio_seconds_per_cpu_second": built} if name == "cache" else {}))
        print(row, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        rows = [
            row
            for rate in SETS
            for suffix in ("wav", "flac", "ogg")
            for row in measure(Path(home), rate, suffix, arguments.turns)
        ]
    settings = {"files": FILES, "seconds_of_a_file": SECONDS, "batch": BATCH, "turns": arguments.turns}
    path = write("audio_loader", rows, **settings, seconds_of_an_excerpt={str(r): s for r, (_, s) in SETS.items()})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
