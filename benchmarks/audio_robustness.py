"""Damaged `.cw` files of audio: what ten thousand of them do to the decoder.

    python -m benchmarks.audio_robustness                     # about five minutes of one core

Six files (packed and range-coded, constant and variable depth, one and two channels, length known and not) are mutated:
bits, bytes, truncation, splices, swapped chunks, and wrong payloads under right checksums. Each is decoded to a
waveform by a small model of random weights, and salvaged, in a child process whose memory is limited; a crash or a hang
ends the child and is counted. Memory is the peak of what Python and NumPy hold at once: decoding, against the intact
file; salvaging, against 24 megabytes. PyTorch's memory falls under the limit of the process.
"""

import argparse
import io
import multiprocessing
import resource
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.audio_models import untrained, walk
from benchmarks.record import write
from codeword.codecs.audio.codec import AudioCodec
from codeword.data.audio_files import read_audio
from codeword.entropy.counting import FrameCounter
from codeword.entropy.frames import FrameTables
from codeword.formats.audio import AudioFileReader, AudioFileWriter
from codeword.formats.audio_payload import AudioHeader, short_fingerprint
from codeword.formats.container import (
    CHUNK_HEAD,
    CHUNK_OVERHEAD,
    CRC,
    ChunkTable,
    ContainerWriter,
    read_chunks,
    read_header,
)
from codeword.formats.errors import FormatError
from codeword.functional.rate import codes_at

RECORDING = Path(__file__).parent.parent / "tests" / "fixtures" / "ru_0001.flac"
SECONDS, CHUNK_FRAMES, BATCH = 2.0, 15, 500
HANG = 5.0  # seconds
MOST = 10.0  # times the memory of decoding the intact file
FILL = 24 << 20  # bytes while salvaging: any file may say that a million codes are lost, which are filled in
KINDS = ("bits", "bytes", "truncated", "spliced", "swapped", "resealed")


@dataclass(frozen=True)
class Case:
    """A file, the tables that it needs and its chunks."""

    name: str
    data: bytes
    codes: np.ndarray
    tables: FrameTables | None
    header_bytes: int
    chunks: list[tuple[int, int]]  # where each begins and ends


def cases(codec: AudioCodec) -> list[Case]:
    audio = read_audio(RECORDING)[:1, : int(SECONDS * codec.model.sample_rate)]
    stereo = torch.cat([audio, audio.flip(-1)])
    counter, levels = FrameCounter(codec.model.quantizer.quantizer.sizes), codec.model.levels
    (coded,) = codec.transform.encode([stereo])
    depths = walk(coded.codes.shape[1], 2, levels)
    counter.add(codes_at(coded.codes.numpy(), depths))
    learned = counter.tables()
    made = []
    for channels, ranged, varies, known in (
        (1, False, False, True),
        (1, False, True, False),
        (2, False, True, True),
        (1, True, True, True),
        (2, True, True, False),
        (2, True, False, True),
    ):
        codes = codes_at(coded.codes.numpy()[:channels], depths[:channels] if varies else levels)
        tables = learned if ranged else None
        header = AudioHeader(
            model=short_fingerprint(codec.fingerprint),
            sample_rate=codec.model.sample_rate,
            hop=codec.model.hop,
            sizes=codec.model.quantizer.quantizer.sizes,
            num_samples=codes.shape[1] * codec.model.hop if known else None,
            channels=channels,
            depth=None if varies else levels,
        )
        file = io.BytesIO()
        with AudioFileWriter(file, header, tables=tables, chunk_frames=CHUNK_FRAMES) as writer:
            writer.write(codes)
        name = f"{'ranged' if ranged else 'packed'}, {'variable' if varies else 'constant'}, {channels} channels"
        made.append(Case(name, file.getvalue(), codes, tables, *places(file.getvalue())))
    return made


def places(data: bytes) -> tuple[int, list[tuple[int, int]]]:
    file = io.BytesIO(data)
    begin = read_header(file).num_bytes
    table, chunks = ChunkTable(begin), []
    for chunk in read_chunks(file, begin):
        start = table.end
        table.add(len(chunk.payload), chunk.count)
        chunks.append((start, table.end))
    return begin, chunks


def mutated(case: Case, kind: str, rng: np.random.Generator) -> bytes:
    """The file after one to three damages of a kind."""
    data = bytearray(case.data)
    if kind == "swapped":
        (a, b), (c, d) = (case.chunks[place] for place in sorted(rng.choice(len(case.chunks), 2, replace=False)))
        return case.data[:a] + case.data[c:d] + case.data[b:c] + case.data[a:b] + case.data[d:]
    if kind == "truncated":
        return case.data[: int(rng.integers(len(data)))]
    if kind == "resealed":
        return resealed(case, rng)
    for _ in range(rng.integers(1, 4)):
        place, count = int(rng.integers(len(data))), int(rng.integers(1, 60))
        if kind == "bits":
            data[place] ^= 1 << int(rng.integers(8))
        elif kind == "bytes":
            data[place : place + count] = rng.bytes(count)
        else:
            source = int(rng.integers(len(data)))
            piece = rng.bytes(count) if rng.random() < 0.5 else bytes(data[source : source + count])
            data[place : place + int(rng.integers(0, 60))] = piece
    return bytes(data)


def resealed(case: Case, rng: np.random.Generator) -> bytes:
    """Payloads and counts changed under checksums and a footer that are right."""
    file, source = io.BytesIO(), io.BytesIO(case.data)
    header = read_header(source)
    fields = dict(header.fields)
    if rng.random() < 0.3:
        values = list(fields["a"])
        place = int(rng.integers(len(values)))
        values[place] = int(rng.choice([0, 1, 7, 255, 4096, 2**20, 2**31 - 1]))
        fields["a"] = values
    writer = ContainerWriter(file, header.kind, fields)
    for chunk in read_chunks(source, header.num_bytes):
        payload, count = bytearray(chunk.payload), chunk.count
        if rng.random() < 0.5:
            payload[int(rng.integers(len(payload)))] = int(rng.integers(256))
        elif rng.random() < 0.2:
            count = int(rng.choice([1, 24, 26, 1000, 2**18, 2**20]))
        writer.write(bytes(payload), count)
    writer.close()
    return file.getvalue()


class Tried(NamedTuple):
    """What became of a file.

    Attributes:
        outcome: ``decoded`` or ``refused``; or the error, if it is not one line.
        seconds: Of decoding and salvaging.
        decoding: Most bytes held at once while decoding.
        salvaging: Likewise while salvaging.
    """

    outcome: str
    seconds: float
    decoding: int
    salvaging: int


def tried(codec: AudioCodec, data: bytes, tables: FrameTables | None) -> Tried:
    """Decode and salvage a file, which may be damaged."""
    outcome, sizes, start = "decoded", [], time.perf_counter()
    for read in (whole, salvaged):
        tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]
        try:
            read(codec, AudioFileReader(io.BytesIO(data), tables=tables))
        except (FormatError, ValueError) as error:
            outcome = "refused" if read is whole else outcome
            if "\n" in str(error) or not str(error):
                outcome = f"not one line: {error!r}"
        sizes.append(tracemalloc.get_traced_memory()[1] - held)
    return Tried(outcome, time.perf_counter() - start, *sizes)


def whole(codec: AudioCodec, reader: AudioFileReader) -> None:
    for block in codec.decompress(reader):
        assert torch.isfinite(block).all()


def salvaged(codec: AudioCodec, reader: AudioFileReader) -> None:
    blocks, report = codec.salvage(reader)
    if not report.missing:  # the waveform of frames that are said to be missing is as long as the file says
        for _ in blocks:
            pass


def child(codec: AudioCodec, files: list[Case], first: int, last: int, pipe: Connection) -> None:
    """Decode mutated files ``first`` to ``last - 1`` and tell about each."""
    torch.set_num_threads(1)
    tracemalloc.start()
    intact = {case.name: tried(codec, case.data, case.tables) for case in files * 2}  # at last with warm caches
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    limit = int(status["VmData"].split()[0]) * 1024 + 2**28
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    for number in range(first, last):
        case, kind = files[number % len(files)], KINDS[number // len(files) % len(KINDS)]
        pipe.send(("begins", kind))
        found, allowed = (
            tried(codec, mutated(case, kind, np.random.default_rng(number)), case.tables),
            intact[case.name],
        )
        pipe.send((kind, found, found.decoding / allowed.decoding))
    pipe.send(None)


def trial(codec: AudioCodec, files: list[Case], total: int) -> dict[str, Any]:
    """All mutated files; a child that dies or sleeps is replaced by another, from the next file on."""
    context = multiprocessing.get_context("fork")
    outcomes: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    slowest = largest = 0.0
    done = filled = 0
    while done < total:
        ours, theirs = context.Pipe()
        worker = context.Process(target=child, args=(codec, files, done, min(done + BATCH, total), theirs))
        worker.start()
        theirs.close()
        kind = KINDS[done // len(files) % len(KINDS)]
        waits = 60.0  # for the intact files
        while True:
            try:
                found = ours.recv() if ours.poll(waits) else "hang"
            except EOFError:
                found = "crash"
            if found is None:
                break
            if isinstance(found, str):
                outcomes[kind][found] += 1
                done += 1
                worker.kill()
                break
            if found[0] == "begins":
                kind, waits = found[1], HANG
                continue
            kind, one, ratio = found
            held = ratio <= MOST and one.salvaging <= FILL
            outcomes[kind][one.outcome if held else "too much memory"] += 1
            slowest, largest, done = max(slowest, one.seconds), max(largest, ratio), done + 1
            filled = max(filled, one.salvaging)
        worker.join()
    return {
        "files": done,
        "outcomes": {kind: dict(count) for kind, count in outcomes.items()},
        "slowest_seconds": slowest,
        "most_memory_of_intact": largest,
        "most_megabytes_salvaging": filled / 2**20,
    }


def salvage_rows(codec: AudioCodec, files: list[Case]) -> list[dict[str, Any]]:
    """Every chunk of every file damaged in turn, alone: the frames of all others must come back."""
    rows = []
    for case in files:
        right = 0
        for number, (start, stop) in enumerate(case.chunks):
            data = bytearray(case.data)
            place = start + CHUNK_HEAD.size + CRC.size + (stop - start - CHUNK_OVERHEAD) // 2
            data[place] ^= 0x10
            reader = AudioFileReader(io.BytesIO(data), tables=case.tables)
            found, report = reader.salvage()
            lost = slice(number * CHUNK_FRAMES, (number + 1) * CHUNK_FRAMES)
            rest = [np.delete(codes, np.arange(codes.shape[1])[lost], 1) for codes in (found, case.codes)]
            made = torch.cat(list(codec.salvage(reader).blocks), -1)
            silent = not made[:, lost.start * codec.model.hop : lost.stop * codec.model.hop].any()
            frames = min(lost.stop, case.codes.shape[1])
            right += np.array_equal(*rest) and silent and report.missing == ((lost.start, frames),)
        rows.append({"file": case.name, "chunks": len(case.chunks), "others_decoded": right})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    codec = AudioCodec(untrained("smoke"))
    files = cases(codec)
    row = trial(codec, files, arguments.files)
    row["salvage"] = salvage_rows(codec, files)
    print(row)
    print(write("audio_robustness", [row], hang_seconds=HANG, most_memory_of_intact=MOST, most_bytes_salvaging=FILL))


if __name__ == "__main__":
    main()
