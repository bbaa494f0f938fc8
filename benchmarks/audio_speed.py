"""Encoding and decoding of audio: beside Hugging Face's DacModel, in real time, and in memory.

    python -m benchmarks.audio_speed                          # half an hour of one core
    python -m benchmarks.audio_speed --only peer              # or: realtime, memory

``peer``: the 44.1 kHz configuration of DAC with the random weights that transformers gives it, in both libraries, on
the same ten seconds in turn, after a first turn that is not counted: CPU seconds, system time included. Ours works on
windows of four seconds with what they overlap, and its codes and its waveform are compared with those of the peer.
``realtime``: seconds of audio per CPU second of models of the recipes. ``memory``: what compressing and decompressing
adds to a process, files of audio and of codes on disk; every length in a process of its own. The base configuration
would take hours of CPU for an hour of audio, so its lengths are short, and the hour is that of ``speech-16k``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DacConfig, DacModel

from benchmarks.audio_models import tones, untrained
from benchmarks.nearest_peer import resident
from benchmarks.record import alternate, median, write
from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.dac import from_dac
from codeword.codecs.audio.transform import AudioTransform
from codeword.codecs.rates import Levels
from codeword.data.audio_files import read_audio
from codeword.data.audio_stream import stream_audio
from codeword.data.audio_writer import AudioWriter
from codeword.formats.audio import AudioFileReader
from codeword.recipes.audio import Name

FIXTURE = Path(__file__).parent.parent / "tests" / "fixtures" / "loop_amen.flac"
SECONDS = 10.0
LENGTHS: dict[Name, tuple[int, ...]] = {"speech-16k": (60, 600, 3600), "small": (60, 600), "paper": (20, 40, 80)}


def dac() -> DacModel:
    torch.manual_seed(0)
    return DacModel(DacConfig(sampling_rate=44100)).eval()


@torch.inference_mode()
def peer(threads: int, runs: int) -> list[dict[str, Any]]:
    """Rows of encoding and decoding."""
    torch.set_num_threads(threads)
    theirs = dac()
    transform = AudioTransform(from_dac(theirs.state_dict(), 44100))
    hop = transform.model.hop
    frames = round(SECONDS * 44100 / hop)
    audio = torch.from_numpy(np.resize(read_audio(FIXTURE).mean(0).numpy(), frames * hop))[None]

    def encoded() -> Tensor:
        return torch.cat([part.codes for part in transform.encode([audio])], 1)

    codes, wanted = encoded(), theirs.encode(audio[None]).audio_codes.transpose(1, 2)
    made, reference = decoded(transform, wanted), theirs.decode(audio_codes=wanted.transpose(1, 2)).audio_values
    same = {"codes_equal": (codes == wanted).float().mean().item()}
    calls: dict[str, tuple[Callable[[], object], Callable[[], object], dict[str, Any]]] = {
        "encode": (
            encoded,
            lambda: theirs.encode(audio[None]),
            same,
        ),
        "decode": (
            lambda: decoded(transform, wanted),
            lambda: theirs.decode(audio_codes=wanted.transpose(1, 2)),
            {
                "largest_difference": (made[:, : reference.shape[-1]] - reference).abs().max().item(),
                "peak": reference.abs().max().item(),
            },
        ),
    }
    rows = []
    for task, (ours, other, agreement) in calls.items():
        times, peer_times = alternate(ours, other, runs)
        row = {
            "measure": "peer",
            "task": task,
            "threads": threads,
            "cpu_seconds": median(times),
            "peer_cpu_seconds": median(peer_times),
            "ratio": median(times) / median(peer_times),
            **agreement,
        }
        print(row, flush=True)
        rows.append(row)
    return rows


def decoded(transform: AudioTransform, codes: Tensor) -> Tensor:
    return torch.cat(list(transform.decode([codes])), -1)


def realtime(runs: int) -> list[dict[str, Any]]:
    """Seconds of audio per CPU second, one thread."""
    torch.set_num_threads(1)
    rows = []
    for name in ("speech-16k", "small"):
        transform = AudioTransform(untrained(name))
        audio = tones(2 * SECONDS, transform.model.sample_rate)
        codes = torch.cat([part.codes for part in transform.encode([audio])], 1)
        ours, back = alternate(
            lambda t=transform, a=audio: list(t.encode([a])), lambda t=transform, c=codes: decoded(t, c), runs
        )
        seconds = audio.shape[-1] / transform.model.sample_rate
        rows.append(
            {
                "measure": "realtime",
                "model": name,
                "encoded_seconds_per_cpu_second": seconds / median(ours),
                "decoded_seconds_per_cpu_second": seconds / median(back),
                "parameters": sum(p.numel() for p in transform.model.parameters()),
            }
        )
        print(rows[-1], flush=True)
    return rows


def memory() -> list[dict[str, Any]]:
    """What a process needs for files of growing length."""
    rows = []
    for name, lengths in LENGTHS.items():
        for seconds in lengths:
            command = [sys.executable, "-m", "benchmarks.audio_speed", "--measure", name, str(seconds)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({"measure": "memory", "model": name, "seconds": seconds, **json.loads(run.stdout)})
            print(rows[-1], flush=True)
    return rows


def grown(work: Callable[[], object]) -> tuple[float, float]:
    """Megabytes that the process grows by, at most, and CPU seconds."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, start = resident("VmRSS"), time.process_time()
    work()
    return resident("VmHWM") - before, time.process_time() - start


def measure(name: Name, seconds: int) -> dict[str, float]:
    """Run in a fresh process: a file is compressed and decompressed."""
    torch.set_num_threads(1)
    codec = AudioCodec(untrained(name))
    rate = codec.model.sample_rate
    piece = tones(20.0, rate)
    with tempfile.TemporaryDirectory() as home:
        wav, cw, back = (Path(home) / file for file in ("in.wav", "codes.cw", "out.wav"))
        with AudioWriter(wav, rate=rate, channels=1) as writer:
            for _ in range(0, seconds, 20):
                writer.write(piece)

        def compress() -> None:
            with stream_audio(wav, rate=rate) as stream, cw.open("wb") as file:
                codec.compress(stream, file, Levels(codec.model.levels))

        def decompress() -> None:
            with AudioFileReader(cw) as reader, AudioWriter(back, rate=rate, channels=1) as writer:
                for block in codec.decompress(reader):
                    writer.write(block)

        up, coding = grown(compress)
        down, decoding = grown(decompress)
    return {
        "compress_mb": up,
        "decompress_mb": down,
        "whole_process_mb": resident("VmHWM"),
        "compress_cpu_seconds": coding,
        "decompress_cpu_seconds": decoding,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--only", choices=["peer", "realtime", "memory"])
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, seconds = arguments.measure
        print(json.dumps(measure(name, int(seconds))))
        return
    rows: list[dict[str, Any]] = []
    if arguments.only in (None, "peer"):
        for threads in arguments.threads:
            rows += peer(threads, arguments.runs)
    if arguments.only in (None, "realtime"):
        rows += realtime(2 * arguments.runs + 1)
    if arguments.only in (None, "memory"):
        rows += memory()
    name = "audio_speed" if arguments.only is None else f"audio_speed_{arguments.only}"
    print(write(name, rows, seconds=SECONDS))


if __name__ == "__main__":
    main()
