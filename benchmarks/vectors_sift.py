"""Eight bytes for a SIFT descriptor: error, recall and encoding speed of every family, beside FAISS in the same run.

    python -m benchmarks.vectors_sift --data DATA          # sift_{learn,base}_100k.npy, sift_query_2k.npy
    python -m benchmarks.vectors_sift --data DATA --lsq    # with FAISS LSQ, 20 minutes of one core

Codebooks are trained on the learn set (ours hold 3000 of it back to choose the round), everything else happens on
the base set. Recall is that of the true nearest neighbour among the first 1, 10, 100 of an exhaustive search of the
decoded vectors, so that no index stands between. Speeds are vectors per CPU second of one thread. FAISS LSQ is trained
on the same learn set and kept in ``runs/``; the difference of its recall from ours is paired over queries.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor

from benchmarks.record import write
from codeword.metrics.retrieval import Recall, paired_difference, recall_at
from codeword.quantizers import (
    AdditiveQuantizer,
    Beam,
    ProductQuantizer,
    Quantizer,
    Refined,
    ResidualQuantizer,
    Rotated,
    VectorQuantizer,
)
from codeword.search import FlatIndex
from codeword.training.em import train
from codeword.training.run import EMConfig

LEVELS, SIZE, RANKS = 8, 256, (1, 10, 100)
HELD = 3000  # of the learn set, to choose rounds by
LSQ_FILE = Path("runs/vectors_sift_lsq.faiss")


@dataclass(frozen=True)
class Data:
    """The three sets and the true neighbours."""

    learn: Tensor
    base: Tensor
    queries: Tensor
    truth: Tensor


def load(folder: Path) -> Data:
    learn, base, queries = (
        torch.from_numpy(np.load(folder / f"sift_{name}.npy")).float()
        for name in ("learn_100k", "base_100k", "query_2k")
    )
    return Data(learn, base, queries, neighbours(base, queries, 1))


def neighbours(base: Tensor, queries: Tensor, count: int) -> Tensor:
    index = FlatIndex(base.shape[1])
    index.add(base)
    return index.search(queries, count).ids


def levels(dim: int) -> list[VectorQuantizer]:
    return [VectorQuantizer(dim, SIZE) for _ in range(LEVELS)]


def ours(dim: int) -> dict[str, Quantizer]:
    width = dim // LEVELS
    return {
        "PQ": ProductQuantizer(levels(width)),
        "OPQ": Rotated(ProductQuantizer(levels(width))),
        "RQ trained greedily, beam 5": ResidualQuantizer(levels(dim), search=Beam(5)),
        "AQ beam 5, 2 sweeps": AdditiveQuantizer(levels(dim), search=Refined(Beam(5), sweeps=2)),
        "AQ beam 16, 2 sweeps": AdditiveQuantizer(levels(dim), search=Refined(Beam(16), sweeps=2)),
    }


def theirs(dim: int) -> dict[str, Any]:
    residual = faiss.IndexResidualQuantizer(dim, LEVELS, 8)
    residual.rq.use_beam_LUT = 1
    return {
        "faiss PQ": faiss.IndexPQ(dim, LEVELS, 8),
        "faiss OPQ": faiss.index_factory(dim, f"OPQ{LEVELS},PQ{LEVELS}x8"),
        "faiss RQ beam 5": residual,
    }


def timed(call: Callable[[], object]) -> tuple[object, dict[str, float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def judge(name: str, data: Data, encode: Callable[[], Any], decode: Callable[[Any], Tensor]) -> tuple[dict, Recall]:
    """Encode and decode the base set, and search the result."""
    codes, spent = timed(encode)
    vectors = decode(codes)
    recall = recall_at(neighbours(vectors, data.queries, max(RANKS)), data.truth, RANKS)
    row = {
        "method": name,
        "mse": float((data.base - vectors).double().square().sum(1).mean()),
        "encoded_per_cpu_second": len(data.base) / spent["cpu_seconds"],
        **{f"recall@{rank}": value for rank, value in zip(RANKS, recall.values, strict=True)},
        **{f"recall@{rank}_interval": recall.interval(rank)[1:] for rank in RANKS},
    }
    return row, recall


def run_ours(data: Data) -> tuple[list[dict], dict[str, Recall]]:
    cut = len(data.learn) - HELD
    rows, recalls, additive = [], {}, None
    for name, quantizer in ours(data.base.shape[1]).items():
        spent = {}
        if isinstance(quantizer, AdditiveQuantizer) and additive is not None:
            quantizer.load_state_dict(additive.state_dict())  # the same codebooks, another search
        else:
            report, spent = timed(
                lambda q=quantizer: train(q, data.learn[:cut], EMConfig(), validation=data.learn[cut:])
            )
            spent = {f"train_{key}": value for key, value in spent.items()} | {"steps": len(report.history)}
        additive = quantizer if isinstance(quantizer, AdditiveQuantizer) else None
        row, recalls[name] = judge(name, data, lambda q=quantizer: q.encode(data.base), quantizer.decode)
        rows.append(row | spent)
        print(row | spent, flush=True)
    return rows, recalls


def run_theirs(data: Data, indexes: dict[str, Any]) -> tuple[list[dict], dict[str, Recall]]:
    rows, recalls = [], {}
    base = data.base.numpy()
    for name, index in indexes.items():
        spent = {}
        if not index.is_trained:
            _, spent = timed(lambda i=index: i.train(data.learn.numpy()))
            spent = {f"train_{key}": value for key, value in spent.items()}
        row, recalls[name] = judge(
            name, data, lambda i=index: i.sa_encode(base), lambda codes, i=index: torch.from_numpy(i.sa_decode(codes))
        )
        rows.append(row | spent)
        print(row | spent, flush=True)
    return rows, recalls


def lsq(data: Data) -> Any:
    """FAISS LSQ with its own settings, trained on the learn set once and kept."""
    if LSQ_FILE.exists():
        return faiss.read_index(str(LSQ_FILE))
    index = faiss.IndexLocalSearchQuantizer(data.base.shape[1], LEVELS, 8)
    _, spent = timed(lambda: index.train(data.learn.numpy()))
    print("faiss LSQ", spent, flush=True)
    LSQ_FILE.parent.mkdir(exist_ok=True)
    faiss.write_index(index, str(LSQ_FILE))
    LSQ_FILE.with_suffix(".seconds").write_text(f"{spent['cpu_seconds']:.1f}")
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lsq", action="store_true", help="also FAISS LSQ, trained once and kept in runs/")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    data = load(arguments.data)
    rows, recalls = run_ours(data)
    indexes = theirs(data.base.shape[1]) | ({"faiss LSQ": lsq(data)} if arguments.lsq else {})
    more, their_recalls = run_theirs(data, indexes)
    best = "AQ beam 16, 2 sweeps"
    differences = {
        f"{best} less {name}": {f"recall@{rank}": paired_difference(recalls[best], other, rank) for rank in RANKS}
        for name, other in their_recalls.items()
    }
    if arguments.lsq and LSQ_FILE.with_suffix(".seconds").exists():
        more[-1]["train_cpu_seconds"] = float(LSQ_FILE.with_suffix(".seconds").read_text())
    variance = float((data.base - data.base.mean(0)).double().square().sum(1).mean())
    path = write("vectors_sift", rows + more, base_variance=variance, paired_differences=differences)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
