"""Speech to small files and back, with the model that comes with codeword.

python examples/speech.py [recording]
"""

import sys
import tempfile
from pathlib import Path

import torch

from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.rates import Kbps
from codeword.data.audio_stream import stream_audio
from codeword.formats.atomic import atomic_write
from codeword.formats.audio import AudioFileReader
from codeword.functional.similarity import si_sdr

FIXTURE = Path(__file__).parent.parent / "tests" / "fixtures" / "ru_0001.flac"
recording = Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURE

codec = AudioCodec.open(Path("speech-16k"))
rate = codec.model.sample_rate
original = torch.cat(list(stream_audio(recording, rate=rate, channels=1)), -1)
with tempfile.TemporaryDirectory() as folder:
    for kbps in (1.0, 2.0, 3.0):
        coded = Path(folder) / "speech.cw"
        with stream_audio(recording, rate=rate, channels=1) as stream, atomic_write(coded) as file:
            done = codec.compress(stream, file, Kbps(kbps))
        with AudioFileReader(coded, tables=codec.tables) as reader:
            decoded = torch.cat(list(codec.decompress(reader)), -1)
        print(f"{done.num_bytes} bytes, {done.kbps:.2f} kbps: SI-SDR {float(si_sdr(decoded, original)):.1f} dB")
