import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from codeword.data.audio_errors import AudioError
from codeword.data.audio_listings import list_audio
from codeword.data.audio_samples import AudioSampleConfig, MelStatistics, normalized, read_sample
from codeword.data.image_arrays import ImageError
from codeword.data.image_files import read_image
from codeword.data.image_listings import list_images
from codeword.data.listing import Item, Listing
from codeword.data.mel_augment import BetaGain, MelNoise, RollTime
from codeword.data.shards import write_shards
from codeword.data.video_files import ClipConfig, VideoError, read_clip
from codeword.data.video_listings import list_videos
from codeword.data.visual_augment import HorizontalFlip, MultiScaleCrop, RandomResizedCrop
from codeword.functional.filterbank import MelConfig
from codeword.pretraining import front_ends
from codeword.pretraining.front_ends import AudioFrontEnd, FrontEnd, ImageFrontEnd, VideoFrontEnd
from codeword.pretraining.samples import Order, Samples
from codeword.quantizers.config import build, describe
from contracts.audio_samples import signal, write
from contracts.media import STEP, save_picture, write_video

AUDIO = AudioFrontEnd(
    sample=AudioSampleConfig(frames=20, mel=MelConfig(bins=8)), statistics=MelStatistics(mean=-4.0, deviation=3.0)
)
IMAGE = ImageFrontEnd(height=8, width=12, mean=(0.4, 0.5, 0.6), deviation=(0.2, 0.25, 0.3))
VIDEO = VideoFrontEnd(clip=ClipConfig(frames=4, stride=2), height=16, width=16, mean=(0.5,), deviation=(0.25,))
KINDS = {
    "audio": (AUDIO, (5, 4), (RollTime(), BetaGain())),
    "image": (IMAGE, (4, 4), (RandomResizedCrop(size=8), HorizontalFlip())),
    "video": (VIDEO, (2, 8, 8), (MultiScaleCrop(size=16),)),
}


@pytest.fixture(scope="module")
def listings(tmp_path_factory):
    """Five of each kind, of which some are longer and some shorter than a sample."""
    home = tmp_path_factory.mktemp("files")
    for name in ("audio", "image", "video"):
        (home / name).mkdir()
    for number in range(5):
        write(home / "audio" / f"{number}.wav", signal(1500 + 2500 * number, 1, 16000, seed=number), 16000)
        save_picture(home / "image" / f"{number}.png", number, height=20 + number, width=24)
        write_video(home / "video" / f"{number}.mp4", 5 + 5 * number, bright_left=True)
    found = list_audio(home / "audio"), list_images(home / "image"), list_videos(home / "video")
    return {listing.kind: listing for listing in found}


@pytest.fixture(params=KINDS)
def kind(request, one_thread):
    return request.param


def same(one, other):
    return torch.equal(one.values, other.values) and (
        one.valid is other.valid is None or torch.equal(one.valid, other.valid)
    )


def test_a_view_is_a_function_of_seed_sample_and_view(kind, listings):
    front_end, patch, augment = KINDS[kind]
    data = front_end.samples(listings[kind], patch, augment=augment, seed=3)
    numbers, views = [4, 0, 4, 2, 4], [0, 1, 1, 3, 0]
    whole = data.inputs(numbers, views)
    assert isinstance(data, Samples)
    assert whole.values.shape == (5, front_end.channels, *front_end.size)
    assert data.grid == tuple(size // side for size, side in zip(front_end.size, patch, strict=True))
    again = front_end.samples(listings[kind], patch, augment=augment, seed=3, workers=3)
    assert same(again.inputs(numbers, views), whole)
    for row, (number, view) in enumerate(zip(numbers, views, strict=True)):
        alone = again.inputs([number], [view])
        assert torch.equal(alone.values[0], whole.values[row])
        assert whole.valid is None or torch.equal(alone.valid[0], whole.valid[row])
    assert not torch.equal(whole.values[0], whole.values[2])
    other = front_end.samples(listings[kind], patch, augment=augment, seed=4)
    assert not torch.equal(other.inputs([4], [0]).values[0], whole.values[0])


def test_without_augmentation_nothing_is_drawn(kind, listings):
    front_end, patch, _ = KINDS[kind]
    inputs = front_end.samples(listings[kind], patch, seed=3).inputs([4, 4], [0, 1])
    assert torch.equal(inputs.values[0], inputs.values[1])
    item = listings[kind].items[4]
    wanted = {
        "audio": lambda: normalized(read_sample(item, AUDIO.sample), AUDIO.statistics).values,
        # 16 of the 24 rows would be the shape of 24 columns, so all columns and 16 rows in the middle.
        "image": lambda: _reduced(read_image(item)[:, 4:20] / 255, (8, 12)),
        "video": lambda: read_clip(item, VIDEO.clip, where=0.5).frames[..., 8:40] / 255,
    }[kind]()
    if kind == "image":
        wanted = (wanted - torch.tensor(IMAGE.mean)[:, None, None]) / torch.tensor(IMAGE.deviation)[:, None, None]
        assert torch.allclose(inputs.values[0], wanted, atol=1e-5)
    elif kind == "audio":
        assert torch.equal(inputs.values[0], wanted)
    else:
        found = inputs.values[0].mean((0, 2, 3)) * 0.25 + 0.5
        assert torch.allclose(found, wanted.mean((0, 2, 3)), atol=1e-3)


def _reduced(pixels, size):
    resize = torch.nn.functional.interpolate
    return resize(pixels[None], size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)[0]


def test_a_patch_is_valid_if_any_of_its_frames_is(listings):
    data = AUDIO.samples(listings["audio"], (5, 4))
    inputs = data.inputs(range(5), [0] * 5)
    frames = [read_sample(item, AUDIO.sample).valid for item in listings["audio"].items]
    assert [int(one.sum()) for one in frames[:2]] == [7, 20]
    wanted = [[bool(one[5 * row : 5 * row + 5].any()) for row in range(4) for _ in range(2)] for one in frames]
    assert inputs.valid.tolist() == wanted
    assert inputs.valid[0].tolist() == [True] * 4 + [False] * 4


def test_where_a_longer_one_begins_is_drawn(listings):
    """Of the video, the first frame tells; of the recording that lasts 11500 samples, 3440 are taken."""
    clips = VIDEO.samples(listings["video"], (2, 8, 8), augment=(HorizontalFlip(chance=0.0),))
    shown = clips.inputs([4] * 40, range(40)).values[..., 12:] * 0.25 + 0.5
    first = (shown[:, :, 0].mean((1, 2, 3)) * 255 / STEP).round()
    assert (first.min(), first.max()) == (0, 17)  # the video lasts until 1.8 s after the begin of its last clip
    assert len(first.unique()) > 10
    steps = (shown.mean((1, 3, 4)) * 255 / STEP).diff(dim=1)
    assert (steps - 2).abs().max() < 0.2
    recordings = AUDIO.samples(listings["audio"], (5, 4), augment=(BetaGain(shape=10**4),))
    assert len(recordings.inputs([4] * 10, range(10)).values.flatten(1).unique(dim=0)) == 10


def test_all_frames_of_a_clip_are_cut_alike(listings):
    """The left half is white in every frame: its edge is at the same place in all."""
    data = VIDEO.samples(listings["video"], (2, 8, 8), augment=(MultiScaleCrop(size=16, scales=(0.6, 0.5)),))
    white = data.inputs([2] * 8, range(8)).values.mean(1) > 1.0
    edges = white.sum(-1)
    assert edges.eq(edges[:, :1, :1]).all()
    assert len(edges[:, 0, 0].unique()) > 1


def test_a_removed_background_leaves_what_changes(listings):
    """What rests is 0, what moves keeps its difference from the mean frame; the deviation is that of differences."""
    still = replace(VIDEO, background="removed", mean=(0.0,), deviation=(1.0,))
    frames = torch.full((3, 4, 16, 16), 200, dtype=torch.uint8)
    frames[:, 1, :8] = 100
    shown = still.finish(frames).values
    assert shown[:, :, 8:].abs().max() < 1e-6
    assert torch.allclose(shown[:, 1, 0], torch.tensor(-75 / 255), atol=1e-6)
    assert torch.allclose(shown.mean(1), torch.zeros(()), atol=1e-6)
    measured = still.measured(listings["video"])
    samples = measured.samples(listings["video"], (2, 8, 8))
    values = samples.inputs(range(len(samples)), [0] * len(samples)).values
    assert values.std() == pytest.approx(1, abs=0.05)
    assert max(measured.deviation) < min(VIDEO.measured(listings["video"]).deviation)
    assert still.fingerprint() != replace(still, background="kept").fingerprint()


def test_repeated_views_are_cut_out_of_one_decoded_clip(listings, monkeypatch):
    decoded = []
    monkeypatch.setattr(front_ends, "read_clip", lambda *a, **k: decoded.append(a[0]) or read_clip(*a, **k))
    crops = (RandomResizedCrop(size=16, scale=(0.2, 0.3)),)
    data = VIDEO.samples(listings["video"], (2, 8, 8), augment=crops, repeats=2)
    order = Order(5, 4, 6, 0, repeats=2)
    views = order.drawn(0)
    inputs = data.inputs(views.samples, views.views)
    assert len(decoded) == 3
    for first in range(0, 6, 2):
        assert not torch.equal(inputs.values[first], inputs.values[first + 1])
        alone = data.inputs([views.samples[first + 1]], [views.views[first + 1]])
        assert torch.equal(alone.values[0], inputs.values[first + 1])
    plain = VIDEO.samples(listings["video"], (2, 8, 8), augment=(HorizontalFlip(chance=0.0),), repeats=2)
    four = plain.inputs([4] * 4, range(4)).values
    assert torch.equal(four[0], four[1])
    assert torch.equal(four[2], four[3])
    assert not torch.equal(four[0], four[2])


def test_statistics_make_values_of_mean_0_and_one_deviation(kind, listings):
    front_end, patch, _ = KINDS[kind]
    measured = front_end.measured(listings[kind])
    inputs = measured.samples(listings[kind], patch).inputs(range(5), [0] * 5)
    if kind == "audio":
        valid = torch.stack([read_sample(item, AUDIO.sample).valid for item in listings[kind].items])
        values, deviation = inputs.values[:, 0][valid].flatten()[None], 0.5
    else:
        values, deviation = inputs.values.transpose(0, 1).flatten(1), 1.0
    assert values.double().mean(1).abs().max() < 1e-5
    assert (values.double().std(1, correction=0) - deviation).abs().max() < 1e-5
    some = front_end.measured(listings[kind], items=2)
    assert some != measured
    two = replace(listings[kind], items=tuple(listings[kind].items[place] for place in (0, 2)))
    assert some == front_end.measured(two)


def test_what_decides_about_inputs_is_in_the_configuration(kind, listings, tmp_path):
    front_end, patch, augment = KINDS[kind]
    listing = listings[kind]

    def told(front_end=front_end, listing=listing, **options):
        return front_end.samples(listing, patch, **options).configuration()

    first = listing.items[0]
    moved = tmp_path / "elsewhere" / first.path.name
    moved.parent.mkdir()
    moved.write_bytes(first.path.read_bytes())
    changed = tmp_path / first.path.name
    changed.write_bytes(first.path.read_bytes() + b" ")
    alone, there, other = (replace(listing, items=(Item(path=path),)) for path in (first.path, moved, changed))
    assert told(workers=2) == told()
    assert told(listing=alone) == told(listing=there)
    others = [
        told(listing=alone),
        told(listing=other),
        told(listing=replace(listing, items=(replace(first, start=0.01),))),
        told(listing=replace(listing, items=(replace(first, seconds=0.01),))),
        told(listing=replace(listing, items=listing.items[::-1])),
        told(augment=augment),
        told(augment=augment, seed=1),
        told(augment=augment, repeats=2),
        told(front_end=front_end.measured(listing)),
    ]
    assert len({json.dumps(one) for one in [told(), *others]}) == 10
    assert front_end.fingerprint() != front_end.measured(listing).fingerprint()
    assert build(json.loads(json.dumps(describe(front_end)))) == front_end
    assert isinstance(front_end, FrontEnd)


def spoiled(kind, home):
    """Four files of which two cannot be used, and the exception that says so."""
    for number in range(4):
        {
            "audio": lambda path: write(path.with_suffix(".wav"), signal(800, 1, 8000), 8000),
            "image": lambda path: save_picture(path.with_suffix(".png"), 0),
            "video": lambda path: write_video(path.with_suffix(".mp4"), 5),
        }[kind](home / str(number))
    files = sorted(home.iterdir())
    data = files[1].read_bytes()
    files[1].write_bytes(data[: len(data) // 3])
    files[3].write_bytes(b"nothing of the kind")
    items = tuple(Item(path=path) for path in files)
    return Listing(kind, "by hand", items), {"audio": AudioError, "image": ImageError, "video": VideoError}[kind]


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_named_in_one_line_and_can_be_left_out(kind, tmp_path, workers):
    listing, error = spoiled(kind, tmp_path)
    front_end, patch, augment = KINDS[kind]
    samples = front_end.samples(listing, patch, augment=augment, workers=workers)
    for number in (1, 3):
        with pytest.raises(error, match=listing.items[number].path.name) as raised:
            samples.inputs([0, number], [0, 0])
        assert "\n" not in str(raised.value)
    left = front_end.readable(listing, workers=workers)
    assert left.items == (listing.items[0], listing.items[2])
    assert [bad.path for bad in left.bad] == [listing.items[1].path, listing.items[3].path]
    assert all(bad.path.name in bad.reason and "\n" not in bad.reason for bad in left.bad)
    assert front_end.readable(left) == left
    front_end.samples(left, patch).inputs([0, 1], [0, 0])


@pytest.mark.parametrize(("batch", "window"), [(4, None), (6, 5)])
def test_shards_give_every_sample_once_an_epoch_on_two_ranks_with_two_workers(kind, listings, tmp_path, batch, window):
    front_end, patch, _ = KINDS[kind]
    twelve = replace(listings[kind], items=(*listings[kind].items, *listings[kind].items, *listings[kind].items[:2]))
    copies = _copied(twelve, tmp_path)
    written = write_shards(copies, tmp_path / "out", per_shard=5)
    listed = {"audio": list_audio, "image": list_images, "video": list_videos}[kind](tmp_path / "out")
    assert listed.items == written.items
    assert len({item.path for item in listed.items}) == 3
    data = front_end.samples(listed, patch, workers=2)
    wanted = Counter(map(_bytes, front_end.samples(twelve, patch).inputs(range(12), [0] * 12).values))
    order = Order(12, 1, batch, 0, window=None if window is None else data.window(window))
    steps = 12 // batch
    for epoch in range(2):
        seen = Counter()
        for rank in range(2):
            for worker in range(2):
                for number in range(epoch * steps + worker, (epoch + 1) * steps, 2):
                    drawn = order.drawn(number, rank, 2)
                    seen.update(map(_bytes, data.inputs(drawn.samples, drawn.views).values))
        assert seen == wanted


def _copied(listing, home):
    items = []
    for number, item in enumerate(listing.items):
        path = home / f"{number}{item.path.suffix}"
        path.write_bytes(item.path.read_bytes())
        items.append(replace(item, path=path))
    return replace(listing, items=tuple(items))


def _bytes(values):
    return np.ascontiguousarray(values).tobytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda data: IMAGE.samples(data["audio"], (4, 4)), "ImageFrontEnd reads image, the listing is of audio"),
        (lambda data: IMAGE.samples(data["image"], (5, 4)), r"size \(8, 12\) is no multiple of the patch \(5, 4\)"),
        (lambda data: AUDIO.samples(data["audio"], (5,)), "give one per axis"),
        (lambda data: AUDIO.samples(data["audio"], (5, 4), augment=[MelNoise()]), "MelNoise mixes in what"),
        (lambda data: IMAGE.samples(data["image"], (4, 4), repeats=0), "repeats are 1 or more"),
        (lambda data: IMAGE.samples(data["image"], (4, 4), workers=-1), "workers 0 or more: got 1 and -1"),
        (lambda data: ImageFrontEnd(channels=2), "images have 1 channel or 3, got 2"),
        (lambda data: ImageFrontEnd(channels=1), "1 channels have as many means"),
        (lambda data: ImageFrontEnd(mean=(0.5,), deviation=(0.0,)), "deviations above 0"),
        (lambda data: VideoFrontEnd(height=0), r"sizes are 1 or more, got \(16, 0, 224\)"),
        (lambda data: IMAGE.measured(replace(data["image"], items=())), "there are no items"),
    ],
)
def test_impossible_front_ends_are_one_line(make, message, listings):
    with pytest.raises(ValueError, match=message) as raised:
        make(listings)
    assert "\n" not in str(raised.value)


def test_a_grey_video_is_the_brightness_of_its_colours(listings):
    item = listings["video"].items[0]
    colours = VIDEO.read(item, None)
    found = replace(VIDEO, channels=1).read(item, None)
    assert found.shape == (1, *colours.shape[1:])
    expected = 0.299 * colours[0] + 0.587 * colours[1] + 0.114 * colours[2]
    assert (found[0] - expected).abs().max() <= 0.501
