"""Film without labels: made small, every frame by itself, so that a clip begins anywhere at no cost."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from benchmarks.pretraining_files import write_table

_SHORT_SIDE = 112
_HOP, _SECONDS = 0.5, 2.0  # of clips
_TENTHS = 10  # parts of a film; the last is val, and no clip is in two
_SHORTEST = 4.0  # seconds of a part
# Where they end in seconds, if before the file: the titles are left out.
_FILMS = {"bbb.mp4": 488.0, "vtest.avi": 1e9, "tree.avi": 1e9, "bikes.mp4": 1e9, "carphone_pristine.mp4": 1e9}


def write_video(path: Path, frames: Iterable[np.ndarray], rate: Fraction, *, scale: int = 4) -> int:
    """A video of JPEG frames, none of which knows of another; the same bytes for the same frames.

    Args:
        path: A ``.mkv`` file.
        frames: Height, width, colour, of 8 bits.
        rate: Frames per second.
        scale: Of JPEG's quantization, from 2, the finest.

    Returns:
        How many frames there were.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    stream = None
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        for pixels in frames:
            count += 1
            if stream is None:
                quality = {"flags": "+bitexact", "qmin": str(scale), "qmax": str(scale)}
                stream = container.add_stream("mjpeg", rate=rate, options=quality)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt, stream.thread_count = "yuvj444p", 1
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode())
    return count


def write_films(share: Path, out: Path) -> None:
    """The films below a folder, small, and a table of their clips."""
    rows: list[tuple[str, ...]] = []
    for name, end in _FILMS.items():
        path = next(iter(sorted(share.rglob(name))), None)
        if path is None:
            print(f"left out: no {name} below {share}")
            continue
        with av.open(str(path)) as film:
            stream = film.streams.video[0]
            rate = stream.average_rate
            scale = _SHORT_SIDE / min(stream.height, stream.width)
            height, width = (2 * round(side * scale / 2) for side in (stream.height, stream.width))
            small = (
                frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
                for frame in film.decode(stream)
            )
            count = write_video(out / f"{path.stem}.mkv", small, rate)
        rows += clips(path.stem, min(float(count / rate), end))
    write_table(out / "manifest.csv", ("path", "start", "seconds", "split", "group"), rows)


def clips(film: str, lasts: float) -> list[tuple[str, ...]]:
    """Lines of the table for a film: clips of two seconds every half second within tenths of it.

    A short film is all train.
    """
    tenths = _TENTHS if lasts >= _TENTHS * _SHORTEST else 1
    found: list[tuple[str, ...]] = []
    for tenth in range(tenths):
        begin, end = tenth * lasts / tenths, (tenth + 1) * lasts / tenths
        split = "val" if tenth == _TENTHS - 1 else "train"
        starts = np.arange(begin, end - _SECONDS + 1e-6, _HOP).tolist()
        found += [(f"{film}.mkv", f"{start:.3f}", f"{_SECONDS:.3f}", split, f"{film}-{tenth}") for start in starts]
    return found
