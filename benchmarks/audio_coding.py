"""Bytes of coded audio: beside the bits that the codes carry, beside `.dac` files, and what range coding saves.

    python -m benchmarks.audio_coding                                   # a few seconds
    python -m benchmarks.audio_coding --model MODEL --data RECORDINGS   # and the savings of a trained model
    python -m benchmarks.audio_coding --official DIRECTORY              # compares the writer of .dac files with DAC's

Codes are random, so packing and `.dac` are measured where nothing can be saved. A `.dac` file is written here as
version 1.0.0 of descript-audio-codec writes it: ``numpy.save`` of a dict with 16-bit codes. Given a signal longer than
a window it encodes windows without padding, whose frames overlap, the last one filled up with silence; its file holds
the frames of all windows. ``DIRECTORY`` is its unpacked source, of which the one class that writes is run.
"""

import argparse
import importlib
import io
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from transformers import DacConfig, DacModel

from benchmarks.audio_models import walk
from benchmarks.record import write
from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.layout import WaveLayout
from codeword.data.audio_corpus import open_corpus
from codeword.data.audio_stream import stream_audio
from codeword.entropy.depths import DepthCoder
from codeword.entropy.frames import FrameTables
from codeword.entropy.range_coder import MessageWriter
from codeword.formats.audio import AudioFileWriter
from codeword.formats.audio_payload import AudioHeader
from codeword.functional.rate import codes_at, depths_at

SHAPES = {"16 kHz, 50 x 12 codes a second": (16000, 320, 12), "44.1 kHz, 86 x 9 codes a second": (44100, 512, 9)}
SIZE = 1024
SECONDS, DAC_SECONDS = (60, 600), (10, 60)
SHARES = (0.5, 1.0, 2.0, 4.0)  # scales, in levels
CHUNK = 2000  # frames whose depths are coded at once, as in a file


def header(shape: tuple[int, int, int], samples: int, depth: int | None) -> AudioHeader:
    rate, hop, levels = shape
    return AudioHeader(
        model="0" * 16, sample_rate=rate, hop=hop, sizes=(SIZE,) * levels, num_samples=samples, depth=depth
    )


def cw(codes: np.ndarray, about: AudioHeader, tables: FrameTables | None = None) -> int:
    """Bytes of a ``.cw`` file."""
    file = io.BytesIO()
    with AudioFileWriter(file, about, tables=tables) as writer:
        writer.write(codes)
    return len(file.getvalue())


def dac(codes: np.ndarray, *, samples: int, rate: int, chunk: int, padding: bool) -> bytes:
    """A ``.dac`` file of codes (items, levels, frames)."""
    described = {
        "input_db": np.full(len(codes), -16.0, dtype=np.float32),
        "original_length": samples,
        "sample_rate": rate,
        "chunk_length": chunk,
        "channels": len(codes),
        "padding": padding,
        "dac_version": "1.0.0",
    }
    file = io.BytesIO()
    np.save(file, {"codes": codes.astype(np.uint16), "metadata": described})
    return file.getvalue()


def lengths(samples: int) -> tuple[int, int]:
    """Frames of a window of DAC's 44.1 kHz encoder without padding, and samples that its decoder makes of them."""
    layout = WaveLayout()
    units = sum(6 * dilation for dilation in (1, 3, 9))
    time = samples - 6
    for stride in layout.strides:
        time = (time - units - 2 * stride) // stride + 1
    frames = time - 2
    time = frames - 6
    for stride in layout.strides[::-1]:
        time = (time - 1) * stride + 2 * stride - units
    return frames, time - 6


def dac_frames(samples: int, rate: int, hop: int, window: float | None) -> tuple[int, int]:
    """Frames of a ``.dac`` file, and those of a chunk."""
    if window is None or samples <= window * rate:
        frames = -(-samples // hop)
        return frames, frames
    size = -(-int(window * rate) // hop) * hop
    chunk, made = lengths(size)
    return -(-samples // made) * chunk, chunk


def packing() -> Iterator[dict[str, Any]]:
    for name, shape in SHAPES.items():
        rate, hop, levels = shape
        for seconds in SECONDS:
            frames = -(-seconds * rate // hop)
            codes = np.random.default_rng(seconds).integers(0, SIZE, (1, frames, levels))
            depths = walk(frames, 1, levels)
            for what, kept, bits in (
                ("constant", levels, frames * levels * math.log2(SIZE)),
                ("variable", depths, float(depths.sum()) * math.log2(SIZE) + frames * math.log2(levels + 1)),
            ):
                about = header(shape, seconds * rate, levels if what == "constant" else None)
                size = 8 * cw(codes_at(codes, kept), about)
                yield {
                    "measure": "packing",
                    "codes": name,
                    "seconds": seconds,
                    "depth": what,
                    "theoretical_bits": bits,
                    "file_bits": size,
                    "excess": size / bits - 1,
                }


def beside_dac() -> Iterator[dict[str, Any]]:
    name, shape = list(SHAPES.items())[1]
    rate, hop, levels = shape
    for seconds in DAC_SECONDS:
        samples = seconds * rate
        frames = -(-samples // hop)
        codes = np.random.default_rng(seconds).integers(0, SIZE, (1, frames, levels))
        ours = cw(codes, header(shape, samples, levels))
        for window in (None, 5.0, 1.0):
            count, chunk = dac_frames(samples, rate, hop, window)
            theirs = np.random.default_rng(seconds).integers(0, SIZE, (1, levels, count))
            made = dac(theirs, samples=samples, rate=rate, chunk=chunk, padding=count == frames)
            yield {
                "measure": "dac",
                "codes": name,
                "seconds": seconds,
                "window_seconds": window,
                "dac_frames": count,
                "cw_frames": frames,
                "dac_bytes": len(made),
                "cw_bytes": ours,
                "ratio": ours / len(made),
            }


def savings(folder: Path, data: Path) -> Iterator[dict[str, Any]]:
    """What the tables of a trained model save on recordings: those for test, where a manifest names some."""
    codec = AudioCodec.open(folder)
    if codec.tables is None:
        raise ValueError(f"{folder} has no entropy tables: train the model with codeword train audio")
    model, levels = codec.model, codec.model.levels
    coder = None if codec.tables.depth is None else DepthCoder(codec.tables.depth)
    totals: dict[float, np.ndarray] = {share: np.zeros(4) for share in SHARES}
    seconds = 0.0
    corpus = open_corpus(data)
    if any(clip.entry.split == "test" for clip in corpus.clips):
        corpus = corpus.only(split="test")
    for clip in corpus.clips:
        parts = list(codec.transform.encode(stream_audio(clip.entry.path, rate=model.sample_rate, channels=1)))
        codes = torch.cat([part.codes for part in parts], 1).numpy()
        seconds += codes.shape[1] / model.frame_rate
        for share, sums in totals.items():
            if model.importance is None:
                depths = np.full(codes.shape[:2], max(1, round(share * levels / max(SHARES))))
            else:
                importance = torch.cat([part.importance for part in parts], 1).numpy()
                depths = depths_at(importance, share * levels, levels)
            about = AudioHeader(
                model="0" * 16,
                sample_rate=model.sample_rate,
                hop=model.hop,
                sizes=model.quantizer.quantizer.sizes,
                num_samples=codes.shape[1] * model.hop,
            )
            kept = codes_at(codes, depths)
            fixed = depths.size * math.log2(levels + 1)
            sums += [
                cw(kept, about),
                cw(kept, about, codec.tables),
                fixed,
                fixed if coder is None else coded(coder, depths),
            ]
    for share, (packed, ranged, fixed, depth_bits) in totals.items():
        yield {
            "measure": "range coding",
            "scale_in_levels": share,
            "seconds": seconds,
            "packed_kbps": packed * 8 / seconds / 1000,
            "ranged_kbps": ranged * 8 / seconds / 1000,
            "saving": 1 - ranged / packed,
            "depth_kbps_fixed": fixed / seconds / 1000,
            "depth_kbps": depth_bits / seconds / 1000,
            "depth_saving": 1 - depth_bits / fixed,
        }


def coded(coder: DepthCoder, depths: np.ndarray) -> int:
    """Bits of range-coded depths, chunk by chunk."""
    bits = 0
    for start in range(0, depths.shape[1], CHUNK):
        part, message = depths[:, start : start + CHUNK], MessageWriter()
        coder.write(message, part, coder.cheapest_set(part))
        bits += 8 * (1 + len(message.data()))
    return bits


def official(directory: Path) -> dict[str, bool]:
    """Whether the published class writes these bytes, and whether its arithmetic of chunks is the one here."""
    stub = ModuleType("audiotools")
    vars(stub)["AudioSignal"] = object
    package = ModuleType("dac")
    vars(package)["__path__"] = [str(directory / "dac")]
    model = ModuleType("dac.model")
    vars(model)["__path__"] = [str(directory / "dac" / "model")]
    sys.modules |= {"audiotools": stub, "dac": package, "dac.model": model}
    base = importlib.import_module("dac.model.base")
    codes = torch.randint(0, SIZE, (1, 9, 500))
    file = base.DACFile(
        codes=codes,
        chunk_length=500,
        original_length=256000,
        input_db=torch.full((1,), -16.0),
        channels=1,
        sample_rate=44100,
        padding=True,
        dac_version="1.0.0",
    )
    with tempfile.TemporaryDirectory() as home:
        written = file.save(Path(home) / "a.dac").read_bytes()
    mine = dac(codes.numpy(), samples=256000, rate=44100, chunk=500, padding=True)
    small = DacConfig(encoder_hidden_size=2, decoder_hidden_size=16, hidden_size=8, codebook_dim=2, codebook_size=4)
    peer = DacModel(small)

    def published(part: torch.nn.Module, length: int) -> int:
        return base.CodecMixin.get_output_length(part, length)

    windows = (220672, 44544)
    frames = [published(peer.encoder, size) for size in windows]
    wanted = [(count, published(peer.decoder, count)) for count in frames]
    return {"same_bytes": written == mine, "same_chunks": [lengths(size) for size in windows] == wanted}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--official", type=Path, help="unpacked source of descript-audio-codec 1.0.0")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [*packing(), *beside_dac()]
    if arguments.model and arguments.data:
        rows += savings(arguments.model, arguments.data)
    for row in rows:
        print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    checked = official(arguments.official) if arguments.official else None
    print(checked)
    print(write("audio_coding", rows, official=checked))


if __name__ == "__main__":
    main()
