"""Small images and videos whose content tells where it comes from."""

import gzip
import struct
from fractions import Fraction

import av
import numpy as np
from PIL import Image

STEP = 10  # of grey between frames, far more than a codec changes a plain frame


def picture(seed=0, height=12, width=16, channels=3):
    """Smooth noise as uint8, ``(height, width, channels)``, or without the last axis for grey."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    array = np.array(small.resize((width, height), Image.Resampling.BICUBIC))
    return array if channels == 3 else np.ascontiguousarray(array[:, :, 0])


def save_picture(path, seed=0, **shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed, **shape)).save(path)
    return path


def write_idx(path, array):
    """An IDX file, compressed if its name says so."""
    data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    return path


def write_video(
    path, frames, *, rate=10, codec="mpeg4", stamps=None, size=(48, 32), gop=5, bright_left=False, **options
):
    """Frame k is a plain grey of ``STEP * k``; ``stamps`` are in milliseconds, ``options`` those of the container."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.bit_rate = 2_000_000
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            grey = np.full((size[1], size[0], 3), STEP * number, np.uint8)
            if bright_left:
                grey[:, : size[0] // 2] = 255
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def frame_numbers(clip):
    """Which frames of ``write_video`` a clip shows."""
    return (clip.frames.float().mean((0, 2, 3)) / STEP).round().int().tolist()
