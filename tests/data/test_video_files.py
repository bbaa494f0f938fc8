import tarfile

import av
import numpy as np
import pytest
import soundfile
import torch

from codeword.data.listing import Item
from codeword.data.tar_members import members
from codeword.data.video_files import ClipConfig, VideoError, read_clip, video_info
from contracts.media import STEP, frame_numbers, write_video

RATE, FRAMES = 10, 24  # as many greys as there are


KINDS = {"a.mp4": "libx264", "a.mkv": "mpeg4", "a.avi": "mpeg4", "a.mov": "mpeg4", "a.webm": "libvpx"}


@pytest.fixture(scope="module", params=KINDS)
def video(request, one_thread, tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / request.param, FRAMES, rate=RATE, codec=KINDS[request.param])


@pytest.mark.parametrize("start", [0.0, 0.3, 0.7, 1.5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_stride_th_frame_from_a_start(video, start, stride):
    clip = read_clip(Item(path=video, start=start), ClipConfig(frames=3, stride=stride))
    first = round(start * RATE)
    assert frame_numbers(clip) == [first, first + stride, first + 2 * stride]
    assert clip.frames.shape == (3, 3, 32, 48)
    assert (clip.frames.dtype, clip.valid) == (torch.uint8, 3)


def test_header(video):
    info = video_info(video)
    assert info[1:] == (RATE, 32, 48)
    assert info.seconds == pytest.approx(FRAMES / RATE, abs=1 / RATE)


@pytest.mark.parametrize(("where", "first"), [(0.0, 0), (1.0, FRAMES - 7), (0.5, 8)])
def test_a_place_is_a_share_of_what_is_free(video, where, first):
    clip = read_clip(video, ClipConfig(frames=4, stride=2), where=where)
    assert frame_numbers(clip) == [first, first + 2, first + 4, first + 6]
    assert clip.valid == 4


def test_a_clip_stays_within_its_item(video):
    item = Item(path=video, start=0.5, seconds=0.6)
    late = read_clip(item, ClipConfig(frames=3, stride=2), where=1.0)
    assert frame_numbers(late) == [6, 8, 10]
    short = read_clip(item, ClipConfig(frames=5, stride=2))
    assert (frame_numbers(short), short.valid) == ([5, 7, 9, 9, 9], 3)


def test_a_short_video_repeats_its_last_frame(video):
    clip = read_clip(video, ClipConfig(frames=6, stride=6))
    assert (frame_numbers(clip), clip.valid) == ([0, 6, 12, 18, 18, 18], 4)
    assert torch.equal(clip.frames[:, 3], clip.frames[:, 5])


def test_a_last_frame_that_stays_is_no_truncation(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), STEP * number, np.uint8), format="rgb24")
            for packet in stream.encode(frame):
                packet.duration = 50 if number == 4 else 1  # in tenths of a second
                container.mux(packet)
    clip = read_clip(tmp_path / "a.mkv", ClipConfig(frames=8, stride=5))
    assert clip.valid > 4
    assert frame_numbers(clip)[1:] == [4] * 7


@pytest.mark.parametrize(("name", "codec"), [("a.ts", "mpeg2video"), ("a.mpg", "mpeg1video"), ("a.h264", "libx264")])
def test_files_that_do_not_know_their_length_or_places(tmp_path, name, codec):
    path = write_video(tmp_path / name, FRAMES, rate=25, codec=codec)
    rate = video_info(path).rate
    for first in (0, 3, 7, 15):
        clip = read_clip(Item(path=path, start=first / rate), ClipConfig(frames=3, stride=2))
        assert frame_numbers(clip) == [first, first + 2, first + 4]
    end = read_clip(Item(path=path, start=20 / rate), ClipConfig(frames=3, stride=2))
    assert (frame_numbers(end)[:2], end.valid) == ([20, 22], 2)


def test_one_frame_is_a_video(tmp_path):
    clip = read_clip(write_video(tmp_path / "a.mkv", 1), ClipConfig(frames=2), where=0.7)
    assert (frame_numbers(clip), clip.valid) == ([0, 0], 1)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_time_stamps_rule_where_the_rate_varies(tmp_path, name):
    stamps = [0, 100, 200, 300, 1300, 1400, 1500, 1600, 1700, 1800]  # frame 3 stays for a second
    path = write_video(tmp_path / name, len(stamps), rate=10, stamps=stamps, codec="libx264")
    rate = video_info(path).rate
    config = ClipConfig(frames=8, stride=2)
    clip = read_clip(path, config)
    times = 1000 * np.arange(8) * 2 / rate
    shown = [max(number for number, stamp in enumerate(stamps) if stamp <= time + 20) for time in times]
    assert frame_numbers(clip)[: clip.valid] == shown[: clip.valid]
    assert shown.count(3) > 2
    later = read_clip(Item(path=path, start=0.9), ClipConfig(frames=1))
    assert frame_numbers(later) == [3]
    assert clip.valid == sum(time < 1900 for time in times)


def test_frames_are_reduced_while_they_are_decoded(video):
    whole, small = (read_clip(video, ClipConfig(frames=2, short_side=side)).frames for side in (None, 16))
    assert small.shape == (3, 2, 16, 24)
    assert (small.float().mean((2, 3)) - whole.float().mean((2, 3))).abs().max() < STEP / 2
    assert read_clip(video, ClipConfig(frames=1, short_side=99)).frames.shape[2:] == (32, 48)


def test_a_video_on_its_side_is_set_upright(tmp_path):
    """By the matrix of its track header (ISO 14496-12, 8.3.2), as telephones write it."""
    data = bytearray(write_video(tmp_path / "a.mp4", 2, bright_left=True).read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    for name, values in {
        "plain": (1, 0, 0, 0, 1, 0),
        "clockwise": (0, 1, 0, -1, 0, 0),
        "over": (-1, 0, 0, 0, -1, 0),
    }.items():
        for number, value in enumerate(values):
            data[matrix + 4 * number : matrix + 4 * number + 4] = (value << 16).to_bytes(4, "big", signed=True)
        (tmp_path / f"{name}.mp4").write_bytes(data)
    plain, clockwise, over = (
        read_clip(tmp_path / f"{name}.mp4", ClipConfig(frames=1)).frames[0, 0].float()
        for name in ("plain", "clockwise", "over")
    )
    assert plain[:, :20].mean() > 200
    assert plain[:, 28:].mean() < 50
    assert torch.equal(clockwise, plain.rot90(-1))
    assert torch.equal(over, plain.rot90(2))


def test_a_video_in_a_tar_file(video, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        file.add(video, arcname="0.txt")
        file.add(video, arcname=f"1{video.suffix}")
    place = list(members(tmp_path / "a.tar"))[1].place
    item = Item(path=tmp_path / "a.tar", place=place, start=0.4)
    assert torch.equal(read_clip(item).frames, read_clip(Item(path=video, start=0.4)).frames)


def test_what_is_no_video_is_one_line(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8000)
    (tmp_path / "b.mp4").write_bytes(b"hello, world")
    (tmp_path / "c.mp4").touch()
    for name, message in {
        "a.wav": "holds no video",
        "b.mp4": "is damaged or no video: Invalid data",
        "c.mp4": "is damaged or no video",
        "d.mp4": "does not exist",
    }.items():
        with pytest.raises(VideoError, match=message) as caught:
            read_clip(tmp_path / name)
        assert str(caught.value).startswith(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_a_truncated_video_is_one_line(tmp_path):
    path = write_video(tmp_path / "a.mp4", FRAMES, rate=2)
    data = path.read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: len(data) // 2])  # its index is at the end
    with pytest.raises(VideoError, match="is damaged or no video"):
        read_clip(tmp_path / "b.mp4")
    data = write_video(tmp_path / "a.mp4", FRAMES, rate=2, movflags="faststart").read_bytes()
    with av.open(str(tmp_path / "a.mp4")) as container:
        begins = [packet.pos for packet in container.demux(video=0) if packet.size]
    for end, message in {
        begins[12]: r"is truncated: there is no frame at 6\.000 of its 12\.000 s",
        begins[12] + 3: "is truncated or damaged: Invalid data",
        begins[13] - 1: r"is truncated or damaged: the frame at 6\.000 s cannot be decoded",
    }.items():
        (tmp_path / "b.mp4").write_bytes(data[:end])
        with pytest.raises(VideoError, match=message):
            read_clip(tmp_path / "b.mp4", ClipConfig(frames=12, stride=2))
    assert frame_numbers(read_clip(tmp_path / "b.mp4", ClipConfig(frames=2))) == [0, 4]


def test_what_lies_beyond_the_end_is_one_line(video):
    with pytest.raises(VideoError, match=r"has no frame at 9\.000 s"):
        read_clip(Item(path=video, start=9.0))


def test_impossible_clips_are_refused():
    with pytest.raises(ValueError, match="frames, stride and short_side are at least 1, got 0"):
        ClipConfig(frames=0)
    with pytest.raises(ValueError, match="where is a share"):
        read_clip("a.mp4", where=1.5)
