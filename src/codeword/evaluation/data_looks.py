"""An item of any data set looked at: decoded to say what size it has, or to be shown."""

import io
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from codeword.data.audio_stream import stream_audio
from codeword.data.image_files import read_image
from codeword.data.listing import Item, Kind
from codeword.data.tar_members import is_tar, read_member
from codeword.data.video_files import ClipConfig, read_clip, video_info
from codeword.evaluation.spectrogram import RANGE, loudness_map

_FRAMES = 4  # of a clip that is shown
_SIDE = 96  # pixels of the shorter side of what is shown
_SECONDS = 10.0  # of a recording that is shown


def look(kind: Kind, item: Item) -> str:
    """Decode an item and say what size it has: an image or recording whole, a video at its begin and end.

    Raises:
        ValueError: In one line, if it cannot be decoded.
    """
    if kind == "image":
        channels, height, width = read_image(item).shape
        return f"{width} x {height} pixels, {'grey' if channels == 1 else 'colour'}"
    if kind == "video":
        info = video_info(item)
        for where in (0.0, 1.0):
            read_clip(item, ClipConfig(frames=1, short_side=_SIDE), where=where)
        return f"{info.width} x {info.height} pixels, {info.rate:.4g} frames per second"
    with stream_audio(_audio(item)) as stream:
        if not sum(block.shape[1] for block in stream):
            raise ValueError(f"{item.path} holds no samples")
        channels = {1: "1 channel"}.get(stream.channels, f"{stream.channels} channels")
        return f"{stream.rate} Hz, {channels}"


def show(kind: Kind, item: Item) -> UInt8[Tensor, "channels height width"]:
    """A picture of an item: the image, frames of the video side by side, the spectrogram of the recording.

    Raises:
        ValueError: In one line, if it cannot be decoded.
    """
    if kind == "image":
        return read_image(item)
    if kind == "video":
        seconds, rate = video_info(item)[:2]
        stride = max(int((seconds or 0.0) * rate / _FRAMES), 1)
        clip = read_clip(item, ClipConfig(frames=_FRAMES, stride=stride, short_side=_SIDE))
        return torch.cat(list(clip.frames.unbind(1)), dim=-1)
    return _spectrogram(item)


def _audio(item: Item) -> Path | io.BytesIO:
    return io.BytesIO(read_member(item.path, item.place)) if is_tar(item.path) else item.path


def _spectrogram(item: Item) -> UInt8[Tensor, "channels height width"]:
    with stream_audio(_audio(item), channels=1) as stream:
        first = round(item.start * stream.rate)
        last = first + round(min(_SECONDS, item.seconds or _SECONDS) * stream.rate)
        blocks, have = [torch.zeros(0)], 0
        for block in stream:
            blocks.append(block[0, max(first - have, 0) : max(last - have, 0)])
            have += block.shape[1]
            if have >= last:
                break
        audio = torch.cat(blocks)
    if not len(audio):
        raise ValueError(f"{item.path} has no sample from {item.start} s on")
    levels = loudness_map(audio, stream.rate)
    share = ((levels - levels.max()) / RANGE + 1).clamp(0, 1)
    return (share * 255).round().to(torch.uint8).T.flip(0)[None]
