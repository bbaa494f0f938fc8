"""Search in codes, encoding and decoding beside FAISS, on the same codebooks and codes: CPU time of one thread.

    python -m benchmarks.search_faiss                                  # the embedded SIFT descriptors
    python -m benchmarks.search_faiss --data DATA                      # sift_base_100k.npy, sift_query_2k.npy

FAISS trains the codebooks, 8 x 256, and ``from_faiss`` hands them to us, so both sides hold the same numbers. Both run
in turn in one process; the figure is the ratio of the medians of CPU seconds. Agreement beside a search is the share of
equal neighbour ids (the rest are ties within float32), beside encoding that of vectors with all codes equal, beside
decoding the largest difference. A call is timed as a user makes it: FAISS takes and gives packed codes, 8 bytes a
vector, ours are integers, 64 bytes a vector; our beam makes its tables of inner products in every call, FAISS keeps
them. Below a decoding stand two bounds, in place of ours: filling the memory of the vectors without reading a
codeword, that of any decoder, and PyTorch's gather with its table and its rows at hand, that of one made of its
operations. Where more codes are searched than there are vectors, the rest is drawn level by level from the same
histograms. Rows we lose: one query, where FAISS walks the codes with a table that fits the first-level cache (ours pay
off when queries share them), and decoding of product codes, which costs FAISS little more than writing the vectors.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.record import alternate, median, write
from codeword.search import CodedIndex, from_faiss, to_faiss

FIXTURE = Path(__file__).parent.parent / "tests" / "fixtures" / "sift_pd.npz"
LEVELS, BITS, K, BEAM = 8, 8, 100, 5
TRAINING, ENCODED, SEARCHED = 20_000, 100_000, (100_000, 1_000_000)
PIECE = 8_000  # vectors decoded, or encoded by beam: 4 MB, so that fresh memory is not what is measured
LARGE_PIECE = 32_000  # 16 MB, still memory that is used again


class Case(NamedTuple):
    """A quantizer on both sides."""

    name: str
    ours: Any
    faiss: Any


def load(folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Base vectors, all different, and 64 queries."""
    if folder is None:
        fixture = np.load(FIXTURE)
        base, queries = fixture["base"], fixture["query"]
    else:
        base, queries = np.load(folder / "sift_base_100k.npy"), np.load(folder / "sift_query_2k.npy")
    return np.ascontiguousarray(base, np.float32), np.ascontiguousarray(queries[:64], np.float32)


def train(base: np.ndarray) -> list[Case]:
    """Codebooks by FAISS, taken over by us."""
    sample = base[:: max(1, len(base) // TRAINING)]
    product = faiss.IndexPQ(base.shape[1], LEVELS, BITS)
    product.pq.cp.niter = 5
    residual = faiss.IndexResidualQuantizer(base.shape[1], LEVELS, BITS)
    residual.rq.train_type, residual.rq.max_beam_size, residual.rq.cp.niter = 0, 1, 5
    cases = []
    for name, index in (("PQ 8x256", product), ("RQ 8x256", residual)):
        index.train(sample)
        if name.startswith("RQ"):
            index.rq.max_beam_size = BEAM
        quantizer = from_faiss(index).quantizer
        cases.append(Case(name, quantizer, to_faiss(quantizer)))
    return cases


def many(codes: torch.Tensor, count: int) -> torch.Tensor:
    """Codes, and more with the same histogram of every level."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(codes), (count - len(codes), LEVELS), generator=generator)
    return torch.cat([codes, codes.gather(0, rows)])


def compare(
    task: str, case: Case, calls: tuple[Callable[[], object], Callable[[], object]], items: int, runs: int
) -> dict[str, object]:
    """Medians of both sides."""
    fast, slow = (median(times) for times in alternate(*calls, runs))
    return {
        "task": task,
        "quantizer": case.name,
        "ours_ms": round(fast * 1e3, 3),
        "faiss_ms": round(slow * 1e3, 3),
        "ours_million_per_second": round(items / fast / 1e6, 3),
        "ratio": round(slow / fast, 2),
    }


def search_rows(case: Case, codes: torch.Tensor, queries: np.ndarray, runs: int) -> list[dict[str, object]]:
    """Exact search with top-100, for all queries and for one."""
    index = CodedIndex(case.ours)
    index.add_codes(codes)
    theirs = to_faiss(index)
    rows = []
    for count in (len(queries), 1):
        asked, tensor = queries[:count], torch.from_numpy(queries[:count])
        found, (distances, ids) = index.search(tensor, K), theirs.search(asked, K)
        task = f"search {len(codes)} codes, {count} queries, top-{K}"
        calls = (lambda q=tensor: index.search(q, K)), (lambda q=asked: theirs.search(q, K))
        row = compare(task, case, calls, len(codes) * count, runs)
        row["ids_equal"] = round(float((found.ids.numpy() == ids).mean()), 5)
        row["largest_distance_error"] = float(np.abs(found.distances.numpy() - distances).max() / distances.max())
        rows.append(row)
    return rows


def coding_rows(case: Case, base: np.ndarray, runs: int) -> list[dict[str, object]]:
    """Encoding, and decoding of what was encoded."""
    product = case.name.startswith("PQ")
    codec = case.faiss.pq if product else case.faiss.rq
    part = np.resize(base, (ENCODED if product else PIECE, base.shape[1]))
    tensor = torch.from_numpy(part)
    codes, packed = case.ours.encode(tensor), codec.compute_codes(part)
    encode = (lambda: case.ours.encode(tensor)), (lambda: codec.compute_codes(part))
    row = compare("encode" if product else f"encode, beam {BEAM}", case, encode, len(part), runs)
    row["codes_equal"] = round(float((codes.numpy() == packed[:, :LEVELS]).all(1).mean()), 5)
    rows = [row]
    for count in (PIECE, LARGE_PIECE):
        many_codes = codes.repeat(-(-count // len(codes)), 1)[:count]
        many_bits = np.tile(packed, (-(-count // len(packed)), 1))[:count]
        rows += decoding_rows(case, many_codes, lambda bits=many_bits: codec.decode(bits), runs)
    return rows


def decoding_rows(
    case: Case, codes: torch.Tensor, theirs: Callable[[], np.ndarray], runs: int
) -> list[dict[str, object]]:
    """Decoding, and what bounds any decoder."""
    count, dim, runs = len(codes), case.ours.dim, 10 * runs
    calls = (lambda: case.ours.decode(codes)), theirs
    row = compare(f"decode, {count} at a time", case, calls, count, runs)
    row["largest_difference"] = float((case.ours.decode(codes) - torch.from_numpy(theirs())).abs().max())
    product = case.name.startswith("PQ")
    books = case.ours.codebooks()
    width = dim // LEVELS if product else dim
    table = torch.cat([book[:, width * m : width * (m + 1)] if product else book for m, book in enumerate(books)])
    places = codes + torch.arange(0, len(table), len(books[0]))
    flat = places.reshape(-1, 1).expand(-1, width)
    gather = (lambda: table.gather(0, flat)) if product else (lambda: F.embedding_bag(places, table, mode="sum"))
    fill = compare(f"bound: fill {count} vectors", case, (lambda: torch.zeros(count, dim), theirs), count, runs)
    alone = compare(f"bound: gather {count} vectors", case, (gather, theirs), count, runs)
    return [row, fill, alone]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with sift_base_100k.npy and sift_query_2k.npy")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    base, queries = load(given.data)
    rows: list[dict[str, object]] = []
    with torch.no_grad():
        for case in train(base):
            rows += coding_rows(case, base, given.runs)
            codes = case.ours.encode(torch.from_numpy(base))
            for count in SEARCHED:
                rows += search_rows(case, many(codes, count), queries, given.runs)
    print(f"{'task':44s} {'quantizer':10s} {'ours ms':>9s} {'FAISS ms':>9s} {'ratio':>6s}  agreement")
    for row in rows:
        agreement = ", ".join(f"{key} {row[key]:.3g}" for key in list(row)[6:])
        print(
            f"{row['task']:44s} {row['quantizer']:10s} {row['ours_ms']:9.2f} {row['faiss_ms']:9.2f} "
            f"{row['ratio']:6.2f}  {agreement}"
        )
    source = "embedded SIFT" if given.data is None else "SIFT of " + given.data.name
    print(f"written to {write('search_faiss', rows, data=source)}")


if __name__ == "__main__":
    main()
