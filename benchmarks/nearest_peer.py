"""Forward and training step beside vector-quantize-pytorch, on the same codebooks: CPU time, codes, memory.

    python benchmarks/nearest_peer.py

Both libraries run in turn in one process; the figure is the ratio of the medians of CPU seconds. Extra memory is how
far the resident set of a process of its own rises during the call, less what the call returns and, in training, the
gradient of its input; Linux only.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from vector_quantize_pytorch import ResidualVQ, VectorQuantize

import codeword
from benchmarks.record import alternate, median, write

CASES = {  # rows, dim, size, levels
    "16384x64x1024": (16384, 64, 1024, 1),
    "16384x256x1024": (16384, 256, 1024, 1),
    "65536x8x1024": (65536, 8, 1024, 1),
    "residual 8, 16384x64x1024": (16384, 64, 1024, 8),
}


def ours(dim: int, size: int, levels: int, tables: torch.Tensor) -> codeword.Quantizer:
    """Our quantizer, moving averages, with given codewords."""
    parts = [codeword.VectorQuantizer(dim, size, learning=codeword.MovingAverage(0.8)) for _ in range(levels)]
    for part, table in zip(parts, tables, strict=True):
        part.codebook.assign(table)
    return parts[0] if levels == 1 else codeword.ResidualQuantizer(parts)


def peer(dim: int, size: int, levels: int, tables: torch.Tensor) -> torch.nn.Module:
    """The peer's quantizer, with its defaults and the same codewords."""
    if levels == 1:
        module = VectorQuantize(dim=dim, codebook_size=size)
        books = [module._codebook]
    else:
        module = ResidualVQ(dim=dim, codebook_size=size, num_quantizers=levels)
        books = [layer._codebook for layer in module.layers]
    for book, table in zip(books, tables, strict=True):
        book.embed.data.copy_(table[None])
        book.embed_avg.data.copy_(table[None])
    return module


def step(module: torch.nn.Module, x: torch.Tensor, upstream: torch.Tensor) -> None:
    """One training forward and backward, from the gradient that a network would hand down."""
    x.grad = None
    out = module(x[None])
    torch.autograd.backward([out[0], out[2].sum()], [upstream[None], torch.ones(())])


def compare(name: str, runs: int) -> dict[str, object]:
    """One case: agreement of codes, then evaluation and training in turn."""
    rows, dim, size, levels = CASES[name]
    torch.manual_seed(0)
    x, upstream = torch.randn(rows, dim), torch.randn(rows, dim)
    tables = torch.stack([torch.randn(size, dim) * 0.7**level for level in range(levels)])
    mine, theirs = ours(dim, size, levels, tables).eval(), peer(dim, size, levels, tables).eval()
    with torch.no_grad():
        same = (mine(x).codes.reshape(rows, -1) == theirs(x[None])[1].reshape(rows, -1)).float().mean().item()
        fast, slow = alternate(lambda: mine(x), lambda: theirs(x[None]), runs)
    mine.train(), theirs.train()
    grown = x.clone().requires_grad_()
    fast_step, slow_step = alternate(
        lambda: step(mine, grown, upstream), lambda: step(theirs, grown, upstream), max(3, runs // 2)
    )
    memory = {
        f"{mode}_{who}_extra_mb": extra_memory(name, who, mode)
        for mode in ("eval", "train")
        for who in ("ours", "peer")
    }
    return {
        "case": name,
        "codes_equal": same,
        "eval_ms": median(fast) * 1e3,
        "peer_eval_ms": median(slow) * 1e3,
        "eval_ratio": median(slow) / median(fast),
        "train_ms": median(fast_step) * 1e3,
        "peer_train_ms": median(slow_step) * 1e3,
        "train_ratio": median(slow_step) / median(fast_step),
        **memory,
    }


def extra_memory(name: str, who: str, mode: str) -> float:
    """Megabytes that a forward (and backward) adds to the high-water mark; the median of five fresh processes."""
    command = [sys.executable, "-m", "benchmarks.nearest_peer", "--measure", name, who, mode]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(5)]
    return statistics.median(float(run) for run in runs)


def measure(name: str, who: str, mode: str) -> float:
    """Run in the fresh process: a few rows warm up, then all of them."""
    rows, dim, size, levels = CASES[name]
    x = torch.randn(rows, dim, requires_grad=mode == "train")
    upstream = torch.randn(rows, dim)
    tables = torch.stack([torch.randn(size, dim) * 0.7**level for level in range(levels)])
    module = (ours if who == "ours" else peer)(dim, size, levels, tables).train(mode == "train")
    few = torch.randn(64, dim, requires_grad=mode == "train")
    run = (lambda v, g: step(module, v, g)) if mode == "train" else (lambda v, _: module(v[None]))
    with torch.set_grad_enabled(mode == "train"):
        run(few, upstream[:64])
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = resident("VmRSS")
        run(x, upstream)
    returned = rows * (4 * dim + 8 * levels) + (4 * rows * dim if mode == "train" else 0)
    return resident("VmHWM") - before - returned / 2**20


def resident(field: str) -> float:
    """Megabytes of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.measure:
        print(measure(*args.measure))
        return
    rows = []
    for name in CASES:
        rows.append(compare(name, args.runs))
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in rows[-1].items()})
    print(write("nearest_peer", rows))


if __name__ == "__main__":
    main()
