"""Four bytes for a vector of 64 independent normal numbers: how near every family comes to Shannon's bound of 0.5.

    python -m benchmarks.vectors_gaussian           # three minutes of one core
    python -m benchmarks.vectors_gaussian --lsq     # with FAISS LSQ, trained on the same vectors: ten

Trained on 2^18 vectors, of which 2^14 choose the round, and tested on 2^18 fresh ones. The bound is the distortion-rate
function of a normal source at half a bit per feature, 2^(-2 * 32 / 64). Errors are per feature; their standard error
over 2^18 vectors is 0.0002.
"""

import argparse
import time

import faiss
import torch
from torch import Tensor

from benchmarks.record import write
from codeword.quantizers import (
    AdditiveQuantizer,
    Beam,
    Greedy,
    ProductQuantizer,
    Quantizer,
    Refined,
    ResidualQuantizer,
    VectorQuantizer,
)
from codeword.training.em import train
from codeword.training.run import EMConfig

DIM, LEVELS, SIZE, COUNT, HELD = 64, 4, 256, 1 << 18, 1 << 14
BOUND = 2.0 ** (-2 * LEVELS * 8 / DIM)


def levels(dim: int = DIM) -> list[VectorQuantizer]:
    return [VectorQuantizer(dim, SIZE) for _ in range(LEVELS)]


def variants() -> dict[str, Quantizer]:
    """Quantizers by name; those that differ in the search alone share their codebooks."""
    return {
        "PQ": ProductQuantizer(levels(DIM // LEVELS)),
        "RQ greedy": ResidualQuantizer(levels(), search=Greedy()),
        "RQ beam 8": ResidualQuantizer(levels(), search=Beam(8)),
        "RQ beam 64": ResidualQuantizer(levels(), search=Beam(64)),
        "AQ beam 16, 2 sweeps": AdditiveQuantizer(levels(), search=Refined(Beam(16), sweeps=2)),
        "AQ beam 64, 4 sweeps": AdditiveQuantizer(levels(), search=Refined(Beam(64), sweeps=4)),
    }


def error(x: Tensor, decoded: Tensor) -> float:
    return float((x - decoded).double().square().mean())


def run_ours(learn: Tensor, test: Tensor) -> list[dict[str, object]]:
    rows, trained = [], {}
    for name, quantizer in variants().items():
        family, spent = type(quantizer).__name__, 0.0
        if family in trained:
            quantizer.load_state_dict(trained[family])
        else:
            start = time.process_time()
            train(quantizer, learn[HELD:], EMConfig(), validation=learn[:HELD])
            spent, trained[family] = time.process_time() - start, quantizer.state_dict()
        start = time.process_time()
        codes = quantizer.encode(test)
        seconds = time.process_time() - start
        row = {
            "method": name,
            "error": error(test, quantizer.decode(codes)),
            "tested": COUNT,
            "encoded_per_cpu_second": COUNT / seconds,
            "train_cpu_seconds": spent,
        }
        print(row, flush=True)
        rows.append(row)
    return rows


def run_lsq(learn: Tensor, test: Tensor) -> dict[str, object]:
    quantizer = faiss.LocalSearchQuantizer(DIM, LEVELS, 8)
    start = time.process_time()
    quantizer.train(learn.numpy())
    spent = time.process_time() - start
    start = time.process_time()
    codes = quantizer.compute_codes(test.numpy())
    seconds = time.process_time() - start
    row = {
        "method": "faiss LSQ",
        "error": error(test, torch.from_numpy(quantizer.decode(codes))),
        "tested": COUNT,
        "encoded_per_cpu_second": COUNT / seconds,
        "train_cpu_seconds": spent,
    }
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lsq", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    generator = torch.Generator().manual_seed(arguments.seed)
    learn, test = torch.randn(2, COUNT, DIM, generator=generator)
    rows = run_ours(learn, test)
    if arguments.lsq:
        rows.append(run_lsq(learn, test))
    print(f"wrote {write('vectors_gaussian', rows, bound=BOUND, seed=arguments.seed)}")


if __name__ == "__main__":
    main()
