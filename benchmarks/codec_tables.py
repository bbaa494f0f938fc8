"""The tables of codecs for speech under envelopes and for images."""

import math
from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

from benchmarks.pages import mean_cell, read, reader_table, source, table
from codeword.evaluation.bd_rate import Curve, bd_rate

Rows = list[dict[str, Any]]
_LAST = 10  # validations, the last third of a training
_SETTLED = (
    "At the published constant learning rate figures move by half a decibel and more from one checkpoint to the next; "
    "*settled* is the PSNR of the mean error of other photos, those of validation, over the last 5,000 updates."
)


def speech_shipped() -> str:
    result = read("speech_shipped")
    columns = ("kbps", "pesq", "weighted_snr", "stoi", "visqol_speech")
    return (
        "The codec for speech that comes with codeword on recordings kept from its training, beside codecs of that "
        f"range, and the neural codec at the most that it spends.\n\n{reader_table(result, columns)}\n{source(result)}"
    )


def speech_files() -> str:
    result = read("speech_files")
    cells = []
    for (reader, seconds, pipe), found in _grouped(result["rows"], ("reader", "seconds", "pipe")):
        off = [f"{100 * (row['kbps'] / row['asked'] - 1):+.2f} %" for row in found]
        speeds = [f"{min(row[name] for row in found):.0f} x" for name in ("encoding", "decoding")]
        cells.append([reader, seconds, "pipe" if pipe == "True" else "file", *off, *speeds])
    rates = [f"{rate:g} kbps" for rate in dict.fromkeys(row["asked"] for row in result["rows"])]
    return (
        "How far files of the codec for speech are from the rate that was asked for, and how many times faster than "
        "real time one thread is, at the slowest of the rates.\n\n"
        + table(["reader", "seconds", "", *rates, "encoding", "decoding"], cells)
        + f"\n{source(result)}"
    )


def speech_methods() -> str:
    result = read("speech_methods")
    columns = {"kbps": 2, "pesq": 3, "weighted_snr": 2, "stoi": 4}
    rows = [
        [*names, *(_over(found, column, digits) for column, digits in columns.items()), str(len(found))]
        for names, found in _grouped(result["rows"], ("reader", "asked", "method"))
    ]
    head = ["reader", "kbps", "envelopes by", "kbps of files", "PESQ", "weighted SNR, dB", "STOI", "seeds"]
    return (
        "Envelopes of 12 bits, quantized six ways in the same codec: one codebook of 4096, or two of 64 by noise "
        "substitution. The same start by k-means, revival, data and steps; means over seeds, ± half their range."
        f"\n\n{table(head, rows)}\n{source(result)}"
    )


def image_shipped() -> str:
    result = read("image_shipped")
    columns = {"bits_per_pixel": 3, "psnr": 2, "ssim": 3, "ms_ssim": 4}
    rows = [
        [row["system"], row["setting"], *(mean_cell(row, column, digits=digits) for column, digits in columns.items())]
        for row in result["rows"]
    ]
    beside = [
        [system, *(_bits_beside(system, measure, 1) for measure in ("psnr", "ssim", "ms_ssim"))]
        for system in ("constant depth", "jpeg", "webp")
    ]
    return (
        f"The model for images that comes with codeword on {result['images']} photos kept from its training, reduced "
        "by whole numbers to less than 2048 pixels; bits of whole files, means ± half their 95 % confidence "
        "interval.\n\n"
        + table(["", "", "bits per pixel", "PSNR, dB", "SSIM", "MS-SSIM"], rows)
        + "\nBits of variable depth beyond those of another for the same quality (BD-rate):\n\n"
        + table(["beside", "PSNR", "SSIM", "MS-SSIM"], beside)
        + f"\n{source(result)}"
    )


def image_files() -> str:
    result = read("image_files")
    columns = ("compress_mb", "decompress_mb", "compress_cpu_seconds", "decompress_cpu_seconds")
    rows = [
        [
            f"{row['width']} x {row['height']}",
            f"{row['bits_per_pixel']:.3f}",
            *(f"{max(row[name], 0):.0f}" for name in columns[:2]),
            *(f"{row[name]:.2f}" for name in columns[2:]),
        ]
        for row in result["rows"]
    ]
    seams = next(row for row in result["rows"] if "codes_unlike_whole" in row)
    return (
        "Images of any size at half a bit per pixel, one thread: memory that the process grew by beyond the pixels. "
        f"Tiles beside the whole of {seams['width']} x {seams['height']} pixels at once: "
        f"{seams['codes_unlike_whole']:.1%} of the codes and {seams['pixels_unlike_whole']:.2%} of the values differ, "
        f"by {seams['most_unlike']:g} of 255 at most.\n\n"
        + table(["pixels", "bits per pixel", "compress, MB", "decompress, MB", "compress, s", "decompress, s"], rows)
        + f"\n{source(result)}"
    )


def image_estimators() -> str:
    return (
        "Crops of photos through the VQ-VAE of the NSVQ paper, after so many updates; published: every method as it is "
        "in the paper; equal: all with the same start by k-means and the same revival. Means over seeds, ± half their "
        f"range. {_SETTLED} *Used* is the share of codewords that codes of the test images have at the end.\n\n"
        + _estimators(read("image_estimators"))
    )


def image_estimators_grey() -> str:
    return (
        "The same with the grey images of Fashion-MNIST, the last 5,000 of those for training kept for validation.\n\n"
        + _estimators(read("image_estimators_grey"))
    )


def image_compositions() -> str:
    result = read("image_compositions")
    costs = {
        (str(row["bits"]), row["method"]): [f"{row['wmops']:.3f}", f"{1e3 * row['encoding']:.1f}"]
        for row in result["costs"]
    }
    rows = []
    for (bits, method), found in _grouped(result["rows"], ("bits", "method")):
        last = [row["figures"][-1] for row in found]
        told = [_over(last, "ssim", 4), _over(last, "psnr", 2), _settled(found)]
        rows.append([bits, method, *told, *costs[bits, method], str(len(found))])
    return (
        "Four codebooks for every latent of the same VQ-VAE, all by noise substitution, after "
        f"{result['rows'][0]['figures'][-1]['updates']:,} updates; weighted operations of a latent's search, and CPU "
        f"milliseconds of encoding {result['images']} images. {_SETTLED}\n\n"
        + table(["bits", "codes", "SSIM", "PSNR, dB", "settled", "WMOPS", "ms", "seeds"], rows)
        + f"\n{source(result)}"
    )


def beside_codecs() -> list[list[str]]:
    """Rows of the README's table, as those of ``beside_audio``."""
    heard = {
        (row["system"], row["setting"]): f"{row['pesq']['mean']:.2f}"
        for row in read("speech_shipped")["rows"]
        if row["reader"] == "fr_CA_f_June"
    }
    own = heard["codeword", "kbps=16.4"]
    others = ", ".join(heard[key] for key in (("opus", "16 kbps"), ("amr-wb", "15.85 kbps"), ("lc3", "16 kbps")))
    bits = ", ".join(_bits_beside(peer, "psnr", 0) for peer in ("jpeg", "webp"))
    return [
        ["Opus, AMR-WB, LC3, an unseen reader near 16 kbps: PESQ", f"{own} against {others}", "speech_shipped"],
        ["JPEG, WebP, photos not learned from: bits at equal PSNR", bits, "image_shipped"],
    ]


def _bits_beside(system: str, measure: str, digits: int) -> str:
    """Bits of the shipped image model beyond those of a system for the same quality: of means over images."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in read("image_shipped")["rows"]:
        curves.setdefault(row["system"], []).append((row["bits_per_pixel"]["mean"], row[measure]["mean"]))
    lines = {name: Curve(*zip(*points, strict=True)) for name, points in curves.items()}
    return f"{bd_rate(lines[system], lines['variable depth']):+.{digits}f} %"


def _grouped(rows: Rows, names: Sequence[str]) -> Iterable[tuple[list[str], Rows]]:
    """Rows that differ by their seed alone."""
    groups: dict[tuple[str, ...], Rows] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[name]) for name in names), []).append(row)
    return ((list(key), found) for key, found in groups.items())


def _over(rows: Rows, column: str, digits: int) -> str:
    """A figure's mean over seeds, with half its range where there are several."""
    values = [row[column] for row in rows]
    told = f"{mean(values):.{digits}f}"
    half = (max(values) - min(values)) / 2
    return told if len(values) == 1 or half == 0 else f"{told} ± {half:.{digits}f}"


def _estimators(result: dict[str, Any]) -> str:
    """Methods and their figures after every number of updates."""
    rows: list[list[str]] = []
    for names, found in _grouped(result["rows"], ("form", "bits", "method")):
        used = _over([row["figures"][-1] for row in found], "used_0", 2)
        rows.append([*names, *_figures(found), _settled(found), used, str(len(found))])
    updates = [f"{figure['updates']:,}" for figure in result["rows"][0]["figures"]]
    ends = [f"{what}, {count}" for count in updates for what in ("SSIM", "PSNR")]
    return table(["form", "bits", "method", *ends, "settled", "used", "seeds"], rows) + f"\n{source(result)}"


def _settled(rows: Rows) -> str:
    """PSNR of the mean error of the last validations."""
    errors = [mean(row["curves"]["loss"][-_LAST:]) for row in rows]
    return _over([{"psnr": -10 * math.log10(error)} for error in errors], "psnr", 2)


def _figures(rows: Rows) -> list[str]:
    steps = range(len(rows[0]["figures"]))
    return [
        _over([row["figures"][step] for row in rows], name, digits)
        for step in steps
        for name, digits in (("ssim", 4), ("psnr", 2))
    ]
