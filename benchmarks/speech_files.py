"""How near files of the codec for speech come to a rate, and how fast they are made and decoded.

    python -m benchmarks.speech_files --data CORPUS/manifest.csv

The model is the one that comes with codeword. Test recordings of a reader are joined to a minute and to ten; seconds
are those of a processor, one thread. A pipe is coded while it is read, its rate kept by looking back alone.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import write
from benchmarks.shipped import SETS
from benchmarks.speech_shipped import RATES
from codeword.codecs.rates import Kbps
from codeword.codecs.speech.codec import SpeechCodec
from codeword.codecs.speech.storage import ENVELOPES
from codeword.data.audio_corpus import Corpus, open_corpus
from codeword.data.audio_stream import stream_audio
from codeword.data.audio_writer import AudioWriter

SECONDS = (60, 600)


def join(corpus: Corpus, seconds: int, rate: int, out: Path) -> None:
    """Recordings one after another, cut at so many seconds."""
    left = seconds * rate
    with AudioWriter(out, rate=rate, channels=1) as writer:
        for clip in corpus.clips:
            for block in stream_audio(clip.entry.path, rate=rate, channels=1):
                writer.write(block[:, :left])
                left -= block[:, :left].shape[-1]
    if left:
        raise ValueError(f"the recordings are {left / rate:g} seconds shorter than {seconds}")


def rows(codec: SpeechCodec, path: Path) -> Iterator[dict[str, Any]]:
    """Every rate, as a file and as a pipe."""
    for kbps in RATES:
        for streaming in (False, True):
            file, begin = io.BytesIO(), time.process_time()
            source = stream_audio(path, rate=codec.sample_rate, channels=1)
            done = codec.compress(source, file, Kbps(kbps), streaming=streaming)
            encoding = time.process_time() - begin
            file.seek(0)
            begin = time.process_time()
            with codec.reader(file) as reader:
                decoded = sum(block.shape[-1] for block in codec.decompress(reader))
            decoding = time.process_time() - begin
            if decoded != round(done.seconds * codec.sample_rate):
                raise ValueError(f"{decoded} samples came back of {done.seconds} seconds")
            yield {
                "asked": kbps,
                "pipe": streaming,
                "kbps": done.kbps,
                "encoding": done.seconds / encoding,
                "decoding": done.seconds / decoding,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    codec, corpus = SpeechCodec.open(Path(ENVELOPES)), open_corpus(arguments.data)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "joined.wav"
        for group in SETS:
            for seconds in SECONDS:
                test = corpus.only(split="test").clips
                own = Corpus(tuple(clip for clip in test if clip.entry.group == group))
                join(own, seconds, codec.sample_rate, path)
                found += [{"reader": group, "seconds": seconds, **row} for row in rows(codec, path)]
                path.unlink()
    print(f"wrote {write('speech_files', found, model=codec.fingerprint)}")


if __name__ == "__main__":
    main()
