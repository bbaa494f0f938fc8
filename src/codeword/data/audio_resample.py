"""Another rate, another number of channels: whole signals, parts of files, and blocks that pass by."""

from collections.abc import Iterable, Iterator
from math import gcd

import numpy as np
import soxr
from jaxtyping import Float

# The filter of soxr at its high quality reaches less far than this many samples of the lower rate.
_REACH = 256


def resampled_length(frames: int, rate_in: int, rate_out: int) -> int:
    """Samples that ``frames`` samples become: ``frames * rate_out / rate_in``, rounded up."""
    return -(-frames * rate_out // rate_in)


def margin(rate_in: int, rate_out: int) -> int:
    """Frames before and after a part that its resampled samples depend on: whole periods of the two rates."""
    step = period(rate_in, rate_out)
    return -(-_REACH * max(rate_in, rate_out) // rate_out // step) * step


def period(rate_in: int, rate_out: int) -> int:
    """Frames at ``rate_in`` after which samples of both rates fall on the same instant again."""
    return rate_in // gcd(rate_in, rate_out)


def resample(
    audio: Float[np.ndarray, "channels time"], rate_in: int, rate_out: int
) -> Float[np.ndarray, "channels out"]:
    """A whole signal at another rate, ``resampled_length`` samples long."""
    if rate_in == rate_out:
        return audio
    length = resampled_length(audio.shape[1], rate_in, rate_out)
    if not length:
        return np.zeros((len(audio), 0), np.float32)
    out = soxr.resample(np.ascontiguousarray(audio.T, dtype=np.float32), rate_in, rate_out)
    return fitted(np.ascontiguousarray(out.T), length)


def resample_blocks(
    blocks: Iterable[Float[np.ndarray, "channels _"]], rate_in: int, rate_out: int, channels: int
) -> Iterator[Float[np.ndarray, "channels _"]]:
    """The same for a signal that comes in blocks; together exactly ``resampled_length`` samples, in constant memory."""
    if rate_in == rate_out:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32")
    taken = given = 0
    for block in blocks:
        taken += block.shape[1]
        out = stream.resample_chunk(np.ascontiguousarray(block.T))
        given += len(out)
        if len(out):
            yield np.ascontiguousarray(out.T)
    rest = np.ascontiguousarray(stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T)
    # The resampler's own rounding differs from ours by a sample at most.
    missing = resampled_length(taken, rate_in, rate_out) - given
    if missing > 0:
        yield fitted(rest, missing)


def fitted(audio: Float[np.ndarray, "channels _"], length: int) -> Float[np.ndarray, "channels out"]:
    """Cut, or lengthened with zeros, to ``length`` samples."""
    lack = length - audio.shape[1]
    return audio[:, :length] if lack <= 0 else np.pad(audio, ((0, 0), (0, lack)))


def mix(audio: Float[np.ndarray, "channels time"], channels: int) -> Float[np.ndarray, "out time"]:
    """Another number of channels: one is the mean of all, more are copies.

    In general channel c of n is the mean of channels c, c + n, c + 2n ... of more than n, and channel c modulo
    their number of fewer.
    """
    have = len(audio)
    if have == channels:
        return audio
    if have < channels:
        return audio[np.arange(channels) % have]
    return np.stack([audio[c::channels].mean(axis=0, dtype=np.float32) for c in range(channels)])
