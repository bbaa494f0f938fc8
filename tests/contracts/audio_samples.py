"""Signals, files and pipes for the tests of audio."""

import os
import threading
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import soundfile

FIXTURES = Path(__file__).parents[1] / "fixtures"
SPEECH, CHOIR, LOOP = (FIXTURES / f"{name}.flac" for name in ("ru_0001", "ambi_choir", "loop_amen"))
SNDFILE = ["wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "w64", "opus"]
# Suffix: codec, container and rate.
MEDIA = {
    "m4a": ("aac", "mp4", 44100),
    "aac": ("aac", "adts", 44100),
    "webm": ("libopus", "webm", 48000),
    "mka": ("pcm_s16le", "matroska", 44100),
    "ac3": ("ac3", "ac3", 44100),
    "g722": ("g722", "g722", 16000),
}


def signal(frames=50001, channels=2, rate=44100, seed=0):
    """Tones with a little noise; every frame differs from its neighbours."""
    time = np.arange(frames) / rate
    noise = 0.01 * np.random.default_rng(seed).standard_normal((channels, frames))
    tones = np.stack([0.4 * np.sin(2 * np.pi * 330 * (c + 1) * time) for c in range(channels)])
    return (tones + noise).astype(np.float32)


def write(path, audio, rate=44100, subtype=None):
    """A file in the format that its suffix names."""
    suffix = path.suffix[1:]
    if suffix in MEDIA:
        write_media(path, audio)
    elif suffix == "opus":
        soundfile.write(path, audio.T, 48000, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, audio.T, rate, subtype=subtype)
    return path


def write_media(path, audio):
    codec, container, rate = MEDIA[path.suffix[1:]]
    audio = audio[:1] if codec == "g722" else audio
    layout = "stereo" if len(audio) == 2 else "mono"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout=layout)
        frame.rate = rate
        size = stream.codec_context.frame_size or 1024
        convert = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate, frame_size=size)
        for part in [*convert.resample(frame), *convert.resample(None), None]:
            file.mux(stream.encode(part))


@contextmanager
def pipe(data):
    """The reading end of a pipe through which the bytes come, and which cannot seek."""
    reading, writing = os.pipe()

    def feed():
        try:
            with os.fdopen(writing, "wb") as end:
                end.write(data)
        except BrokenPipeError:
            pass  # the reader had enough

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with os.fdopen(reading, "rb") as end:
            yield end
    finally:
        feeder.join()
