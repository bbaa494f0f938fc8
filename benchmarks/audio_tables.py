"""The sections of docs/results.md about audio."""

from collections.abc import Callable
from typing import Any

from benchmarks.pages import read, reader_table, source, table


def _rows(rows: list[dict[str, Any]], measure: str, *cells: Callable[[dict[str, Any]], str]) -> list[list[str]]:
    return [[cell(row) for cell in cells] for row in rows if row["measure"] == measure]


def audio_speed() -> str:
    result = read("audio_speed")
    rows: dict[str, list[dict[str, Any]]] = {"peer": [], "realtime": [], "memory": []}
    for row in result["rows"]:
        rows[row["measure"]].append(row)
    parts = []
    if rows["peer"]:
        parts.append(
            f"CPU seconds for {result['seconds']:g} s of audio beside Hugging Face's `DacModel`, 44.1 kHz "
            "configuration, same random weights.\n\n"
            + table(
                ["task", "threads", "codeword", "DacModel", "ratio", "agreement"],
                [
                    [
                        row["task"],
                        str(row["threads"]),
                        *(f"{row[key]:.2f}" for key in ("cpu_seconds", "peer_cpu_seconds", "ratio")),
                        f"{100 * row['codes_equal']:.2f} % of codes"
                        if "codes_equal" in row
                        else f"within {row['largest_difference']:.1e}",
                    ]
                    for row in rows["peer"]
                ],
            )
        )
    if rows["realtime"]:
        parts.append(
            "Seconds of audio per CPU second.\n\n"
            + table(
                ["model", "parameters", "encoded", "decoded"],
                [
                    [
                        row["model"],
                        f"{row['parameters']:,}",
                        *(f"{row[f'{task}_seconds_per_cpu_second']:.1f}" for task in ("encoded", "decoded")),
                    ]
                    for row in rows["realtime"]
                ],
            )
        )
    if rows["memory"]:
        parts.append(
            "Megabytes that compressing and decompressing a file add to a process, and those of all of it.\n\n"
            + table(
                ["model", "seconds of audio", "compress", "decompress", "whole process"],
                [
                    [
                        row["model"],
                        f"{row['seconds']:,}",
                        *(f"{row[key]:.0f}" for key in ("compress_mb", "decompress_mb", "whole_process_mb")),
                    ]
                    for row in rows["memory"]
                ],
            )
        )
    return "\n".join([*parts, source(result)])


def audio_coding() -> str:
    result = read("audio_coding")
    packed = _rows(
        result["rows"],
        "packing",
        lambda row: row["codes"],
        lambda row: f"{row['seconds']}",
        lambda row: row["depth"],
        lambda row: f"{row['theoretical_bits']:,.0f}",
        lambda row: f"{row['file_bits']:,}",
        lambda row: f"{100 * row['excess']:.2f} %",
    )
    beside = _rows(
        result["rows"],
        "dac",
        lambda row: str(row["seconds"]),
        lambda row: "none" if row["window_seconds"] is None else f"{row['window_seconds']:g} s",
        lambda row: f"{row['dac_bytes']:,}",
        lambda row: f"{row['cw_bytes']:,}",
        lambda row: f"{row['ratio']:.3f}",
    )
    saved = _rows(
        result["rows"],
        "range coding",
        lambda row: f"{row['scale_in_levels']:g}",
        lambda row: f"{row['packed_kbps']:.3f}",
        lambda row: f"{row['ranged_kbps']:.3f}",
        lambda row: f"{100 * row['saving']:.1f} %",
        lambda row: f"{100 * row['depth_saving']:.1f} %",
    )
    text = (
        "Bits of `.cw` files of packed codes beside those that the codes carry.\n\n"
        + table(["codes", "seconds", "depth", "bits of the codes", "bits of the file", "more"], packed)
        + "\nPacked `.cw` files beside `.dac` files of the same signal, which hold more frames where they are cut into "
        "windows.\n\n" + table(["seconds", "windows of .dac", ".dac, bytes", ".cw, bytes", "ratio"], beside)
    )
    if saved:
        head = ["scale, in levels", "packed, kbps", "range-coded, kbps", "saved", "saved of the depths"]
        text += "\nWhat range coding saves on recordings.\n\n" + table(head, saved)
    return f"{text}\n{source(result)}"


def audio_robustness() -> str:
    result = read("audio_robustness")
    (row,) = result["rows"]
    kinds = sorted({outcome for counts in row["outcomes"].values() for outcome in counts})
    counts = [[kind, *(str(found.get(outcome, 0)) for outcome in kinds)] for kind, found in row["outcomes"].items()]
    chunks = sum(one["chunks"] for one in row["salvage"])
    right = sum(one["others_decoded"] for one in row["salvage"])
    return (
        f"What {row['files']:,} damaged files of audio did; `resealed` are wrong payloads under right checksums.\n\n"
        + table(["damage", *kinds], counts)
        + f"\nSlowest {row['slowest_seconds']:.1f} s; decoding held at most {row['most_memory_of_intact']:.1f} times "
        f"the memory of the intact file, salvaging {row['most_megabytes_salvaging']:.0f} MB. With one damaged chunk, "
        f"every other one was decoded in {right} of {chunks} files.\n\n{source(result)}"
    )


def audio_training() -> str:
    result = read("audio_training")
    rows = [
        [row["step"], *(f"{row[key]:.2f}" for key in ("cpu_seconds", "public_cpu_seconds", "ratio"))]
        for row in result["rows"]
    ]
    killed = result["killed"]
    same = "the same" if killed["same_losses"] and killed["same_weights"] else "not the same"
    return (
        "CPU seconds of a training step beside the public layout of the same architecture.\n\n"
        + table(["step of", "codeword", "public layout", "ratio"], rows)
        + f"\nA training with discriminators, killed {killed['kills']} times at random, ended with {same} losses and "
        f"weights as one that was not.\n\n{source(result)}"
    )


def audio_variable() -> str:
    result = read("audio_variable")
    told = [row for row in result["rows"] if "gain" in row]
    shares = list(told[0]["gain"])
    gains = [
        [row["coding"], row["name"], str(row["seed"]), *(_gain(row["gain"][share]) for share in shares)] for row in told
    ]
    beside = [
        [row["coding"], row["name"], f"{row['bd_rate_to_clamp']:+.1f} %"]
        for row in result["rows"]
        if "bd_rate_to_clamp" in row
    ]
    return (
        "SI-SDR of depth that follows importance above that of constant depth, decibels at equal bytes of files, as "
        "shares of the constant model's full rate; same networks, data and "
        f"{result['steps']:,} steps; means over recordings, ± half their 95 % confidence interval.\n\n"
        + table(["codes and depths", "surrogate", "seed", *(f"{100 * float(share):g} %" for share in shares)], gains)
        + "\nBD-rate beside the clamp baseline, seed 0: less is better.\n\n"
        + table(["codes and depths", "", "bits"], beside)
        + f"\n{source(result)}"
    )


def _gain(found: dict[str, Any]) -> str:
    """Of the recordings that reach a rate, where more than half of the eight do."""
    return "" if found["clips"] <= 4 else f"{found['clip_gain']:+.2f} ± {found['half_interval']:.2f}"


def audio_shipped() -> str:
    result = read("audio_shipped")
    columns = ("kbps", "pesq", "stoi", "visqol_speech", "si_sdr")
    return (
        "The speech model that comes with codeword on recordings kept from its training; of Codec2, SI-SDR says "
        f"nothing.\n\n{reader_table(result, columns)}\n{source(result)}"
    )


def beside_audio() -> list[list[str]]:
    """Rows of the README's table: beside what, how much, which benchmark."""
    speed = {row["task"]: 1 / row["ratio"] for row in read("audio_speed")["rows"] if row["measure"] == "peer"}
    sizes = [row["ratio"] for row in read("audio_coding")["rows"] if row["measure"] == "dac"]
    gains: dict[str, list[float]] = {}
    for row in read("audio_variable")["rows"]:
        if row["name"] == "smooth 1":
            gains.setdefault(row["coding"], []).append(row["gain"]["0.5"]["clip_gain"])
    half = ", ".join(f"{sum(values) / len(values):+.2f} dB {coding}" for coding, values in gains.items())
    shipped = {row["setting"]: row for row in read("audio_shipped")["rows"] if row["reader"] == "fr_CA_f_June"}
    ours, theirs = (shipped[setting] for setting in ("kbps=3", "3.2 kbps"))
    heard = " against ".join(f"{row['pesq']['mean']:.2f}, {row['stoi']['mean']:.2f}" for row in (ours, theirs))
    return [
        [
            "DacModel of transformers: encoding, decoding",
            f"{speed['encode']:.1f}, {speed['decode']:.1f} x",
            "audio_speed",
        ],
        ["`.dac` files: bytes of the same codes", f"{min(sizes):.2f} to {max(sizes):.2f} x", "audio_coding"],
        ["constant depth, half its full rate: SI-SDR at equal bytes", half, "audio_variable"],
        ["Codec2, an unseen reader at 3 kbps: PESQ, STOI", heard, "audio_shipped"],
    ]
