"""The tables of docs/results.md and of the README, written from results/*.json.

python -m benchmarks.tables            # writes both
python -m benchmarks.tables --check    # exit status 1 if one of them is not what the results say
"""

from typing import Any

from benchmarks.audio_tables import (
    audio_coding,
    audio_robustness,
    audio_shipped,
    audio_speed,
    audio_training,
    audio_variable,
    beside_audio,
)
from benchmarks.codec_tables import (
    beside_codecs,
    image_compositions,
    image_estimators,
    image_estimators_grey,
    image_files,
    image_shipped,
    speech_files,
    speech_methods,
    speech_shipped,
)
from benchmarks.pages import ROOT, read, source, table
from benchmarks.pretraining_tables import (
    pretraining_again,
    pretraining_baselines,
    pretraining_few,
    pretraining_probes,
    pretraining_speed,
)

PAGE, README = ROOT / "docs/results.md", ROOT / "README.md"
OPEN, CLOSE = "<!-- measured: benchmarks/tables.py -->\n", "<!-- end of measured -->"
TABLE2_METHODS = {"ours": "closed form", "nsvq": "NSVQ", "straight": "straight-through", "kmeans": "MiniBatchKMeans"}


def toy_table2() -> str:
    result = read("toy_table2")

    def cell(row: dict[str, Any], method: str) -> str:
        measured = f"{1e3 * row[method]['test']:.4g}" if method in row else "-"
        published = row["published"].get(method)
        return f"{measured} ({1e3 * published:.4g})" if published else measured

    rows = [[row["set"], str(row["bits"]), *(cell(row, method) for method in TABLE2_METHODS)] for row in result["rows"]]
    wins = "; ".join(f"{pair} in {count}" for pair, count in result["wins"].items())
    seeds = [row[method]["seeds"] for row in result["rows"] for method in TABLE2_METHODS if method in row]
    count = str(max(seeds)) if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    return (
        f"Mean squared error per feature, times 1000, on a million fresh points; seeds per cell: {count}; in brackets "
        "the paper's figure (Vali and Bäckström 2022, Table 2).\n\n"
        + table(["set", "bits", *TABLE2_METHODS.values()], rows)
        + f"\n{wins}. {source(result)}"
    )


def vectors_gaussian() -> str:
    result = read("vectors_gaussian")
    rows = [
        [row["method"], f"{row['error']:.4f}", f"{row['tested']:,}", f"{row['encoded_per_cpu_second']:,.0f}"]
        for row in result["rows"]
    ]
    return (
        "Squared error over variance of normal vectors of 64 features at half a bit a feature, tested on vectors that "
        f"no training saw; no code of this rate can have less than {result['bound']}.\n\n"
        + table(["codes", "error", "tested on", "encoded per CPU second"], rows)
        + f"\n{source(result)}"
    )


def vectors_sift() -> str:
    result = read("vectors_sift")
    rows = [
        [
            row["method"],
            f"{row['mse'] / 1e3:.2f}k",
            *(f"{row[f'recall@{rank}']:.3f}" for rank in (1, 10, 100)),
            f"{row['encoded_per_cpu_second']:,.0f}",
        ]
        for row in result["rows"]
    ]
    paired = "".join(
        f"- {pair}: {', '.join(f'{k} {d:+.4f} [{low:+.4f}, {high:+.4f}]' for k, (d, low, high) in found.items())}\n"
        for pair, found in result["paired_differences"].items()
    )
    return (
        "Squared error of 100,000 SIFT descriptors in eight bytes each, codebooks trained on 100,000 others; recall of "
        "the nearest neighbour among the first 1, 10 and 100 of an exhaustive search, 2000 queries.\n\n"
        + table(["codes", "MSE", "recall@1", "recall@10", "recall@100", "encoded per CPU second"], rows)
        + f"\nDifferences of recall, paired over queries, with 95 % intervals:\n\n{paired}\n{source(result)}"
    )


def vectors_toy_icassp() -> str:
    result = read("vectors_toy_icassp")
    families = ("additive", "residual", "product")
    rows = [
        [
            row["data"],
            str(row["bits"]),
            *(f"{row[f]:.4g} ({p:.4g})" for f, p in zip(families, row["published"], strict=True)),
        ]
        for row in result["rows"]
    ]
    return (
        "Mean squared error per feature with four codebooks; in brackets the figure of Vali and Bäckström (ICASSP "
        "2023) on data whose generator is not published: compare the order.\n\n"
        + table(["data", "bits", *families], rows)
        + f"\n{source(result)}"
    )


def nearest_peer() -> str:
    result = read("nearest_peer")
    rows = [
        [
            row["case"],
            *(f"{row[key]:.1f}" for key in ("eval_ms", "peer_eval_ms", "eval_ratio")),
            *(f"{row[key]:.1f}" for key in ("train_ms", "peer_train_ms", "train_ratio")),
            *(f"{row[f'{mode}_{who}_extra_mb']:.0f}" for who in ("ours", "peer") for mode in ("eval", "train")),
        ]
        for row in result["rows"]
    ]
    head = ["vectors x features x codewords", "eval, ms", "peer", "ratio", "train step, ms", "peer", "ratio"]
    return (
        "CPU milliseconds beside vector-quantize-pytorch on the same codebooks, and megabytes that a call adds to the "
        "process.\n\n" + table([*head, "MB eval", "MB train", "peer eval", "peer train"], rows) + f"\n{source(result)}"
    )


def search_faiss() -> str:
    result = read("search_faiss")
    rows = [
        [row["quantizer"], row["task"], f"{row['ours_ms']:.2f}", f"{row['faiss_ms']:.2f}", f"{row['ratio']:.2f}"]
        for row in result["rows"]
        if "ratio" in row
    ]
    return (
        "CPU milliseconds beside FAISS, same codebooks and same codes; a ratio above 1 is in our favour.\n\n"
        + table(["codes", "task", "codeword", "FAISS", "ratio"], rows)
        + f"\n{source(result)}"
    )


SECTIONS = {
    "Toy sets in the plane": toy_table2,
    "Normal vectors": vectors_gaussian,
    "SIFT descriptors": vectors_sift,
    "Additive, residual and product codes": vectors_toy_icassp,
    "Nearest codeword": nearest_peer,
    "Encoding, decoding and searching": search_faiss,
    "Speed and memory of audio": audio_speed,
    "Bytes of coded audio": audio_coding,
    "Damaged files of audio": audio_robustness,
    "Training of audio models": audio_training,
    "Variable and constant depth": audio_variable,
    "The speech model": audio_shipped,
    "The codec for speech": speech_shipped,
    "Rates and speed of speech": speech_files,
    "Quantized envelopes of speech": speech_methods,
    "The image model": image_shipped,
    "Images of any size": image_files,
    "Gradients through a quantizer of images": image_estimators,
    "Gradients through a quantizer of grey images": image_estimators_grey,
    "Additive, residual and product codes of images": image_compositions,
    "Pretrained encoders": pretraining_probes,
    "Pretrained encoders on another processor": pretraining_again,
    "Few labels": pretraining_few,
    "Simple features beside pretrained ones": pretraining_baselines,
    "Speed of pretraining": pretraining_speed,
}


def page() -> str:
    opening = (
        "Every number here was measured by the command under its table, and stands in `results/` as JSON with the "
        "machine. Times are CPU seconds, both libraries in turn in one process; rows that we lose are kept.\n"
    )
    parts = ["# Results\n", opening]
    for title, section in SECTIONS.items():
        if (ROOT / "results" / f"{section.__name__}.json").exists():
            parts += [f"## {title}\n", section()]
    parts.append(
        "How the gradient estimators compare in a network stands with [vector quantization](quantizers/vector.md).\n"
    )
    return "\n".join(parts)


def chosen(rows: list[dict[str, Any]], **wanted: str) -> dict[str, Any]:
    """The row with these values."""
    (found,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return found


def introduction() -> str:
    """The README with its table."""
    head, rest = README.read_text().split(OPEN)
    return f"{head}{OPEN}{beside()}{CLOSE}{rest.partition(CLOSE)[2]}"


def beside() -> str:
    nearest = read("nearest_peer")["rows"]
    faiss, sift, normal = read("search_faiss")["rows"], read("vectors_sift")["rows"], read("vectors_gaussian")
    evals, trains = ([row[f"{mode}_ratio"] for row in nearest] for mode in ("eval", "train"))
    lowest = min(row["error"] for row in normal["rows"])

    def ratio(quantizer: str, task: str) -> str:
        return f"{chosen(faiss, quantizer=quantizer, task=task)['ratio']:.1f} x"

    def against(mine: dict[str, Any], other: dict[str, Any]) -> str:
        errors, found = (" against ".join(form(row) for row in (mine, other)) for form in (error, first))
        return f"MSE {errors}, recall@1 {found}"

    def error(row: dict[str, Any]) -> str:
        return f"{row['mse'] / 1e3:.1f}k"

    def first(row: dict[str, Any]) -> str:
        return f"{row['recall@1']:.3f}"

    search = "search 1000000 codes, 64 queries, top-100"
    single = "search 1000000 codes, 1 queries, top-100"
    additive, lsq = chosen(sift, method="AQ beam 16, 2 sweeps"), chosen(sift, method="faiss LSQ")
    residual, faiss_residual = (
        chosen(sift, method="RQ trained greedily, beam 5"),
        chosen(sift, method="faiss RQ beam 5"),
    )
    rows = [
        ["vector-quantize-pytorch: speed in eval", f"{min(evals):.1f} to {max(evals):.1f} x", "nearest_peer"],
        [
            "vector-quantize-pytorch: speed of a training step",
            f"{min(trains):.1f} to {max(trains):.1f} x",
            "nearest_peer",
        ],
        ["FAISS: 64 queries in a million PQ codes", ratio("PQ 8x256", search), "search_faiss"],
        ["FAISS: 64 queries in a million RQ codes", ratio("RQ 8x256", search), "search_faiss"],
        ["FAISS: one query in a million PQ codes", ratio("PQ 8x256", single), "search_faiss"],
        ["FAISS: PQ encoding", ratio("PQ 8x256", "encode"), "search_faiss"],
        ["FAISS: RQ encoding, beam 5", ratio("RQ 8x256", "encode, beam 5"), "search_faiss"],
        ["FAISS RQ: SIFT in 8 bytes", against(residual, faiss_residual), "vectors_sift"],
        ["FAISS LSQ: SIFT in 8 bytes", against(additive, lsq), "vectors_sift"],
        [
            "Shannon's bound, half a bit a feature of normal vectors",
            f"{lowest:.3f} against {normal['bound']}",
            "vectors_gaussian",
        ],
        *beside_audio(),
        *beside_codecs(),
    ]
    return table(
        ["beside", "codeword", "command"],
        [[what, figure, f"`python -m benchmarks.{name}`"] for what, figure, name in rows],
    )


def main() -> None:
    PAGE.write_text(page())
    README.write_text(introduction())


if __name__ == "__main__":
    main()
