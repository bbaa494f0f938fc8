"""The benchmarks' data sets for pretraining: what is read from made-up packages, and what motion does."""

import struct
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from benchmarks.pretraining_audio import initial, initial_split, phone_split, segments, window, write_phones
from benchmarks.pretraining_drums import KITS, drums
from benchmarks.pretraining_film import clips, write_video
from benchmarks.pretraining_garments import CLASSES as GLIDES
from benchmarks.pretraining_garments import glide, tinted
from benchmarks.pretraining_sounds import parts
from benchmarks.pretraining_sprites import CLASSES, FRAMES, SIZE, drift, render, track
from benchmarks.soundfont import read, samples

from codeword.data.audio_listings import list_audio
from codeword.data.video_files import ClipConfig, read_clip


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def sound_font(path, sounds):
    """A SoundFont with its samples one after the other, and the header that ends the list."""
    headers, place = b"", 0
    for name, audio in [*sounds.items(), ("EOS", np.zeros(0))]:
        ends = (place, place + len(audio))
        headers += struct.pack("<20s5IBbHH", name.encode(), *ends, *ends, 22050, 60, 0, 0, 1)
        place += len(audio)
    sound = np.concatenate(list(sounds.values())).astype("<i2").tobytes()
    lists = chunk(b"LIST", b"INFO" + chunk(b"INAM", b"odd"))
    lists += chunk(b"LIST", b"sdta" + chunk(b"smpl", sound)) + chunk(b"LIST", b"pdta" + chunk(b"shdr", headers))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(chunk(b"RIFF", b"sfbk" + lists))


def test_a_sound_font_gives_back_what_was_put_in(tmp_path):
    sounds = {"Kick 1": np.arange(5), "Snr 2": np.array([-32768, 0, 16384])}
    sound_font(tmp_path / "a.sf2", sounds)
    found = samples(tmp_path / "a.sf2")
    assert [(one.name, one.rate, one.count) for one in found] == [("Kick 1", 22050, 5), ("Snr 2", 22050, 3)]
    assert read(tmp_path / "a.sf2", found[1]).tolist() == [-1.0, 0.0, 0.5]
    (tmp_path / "b.sf2").write_bytes(b"RIFF0000WAVE")
    with pytest.raises(ValueError, match=r"b\.sf2 is no SoundFont"):
        samples(tmp_path / "b.sf2")


def test_drums_are_named_by_key_and_by_file_and_folds_share_no_kit(tmp_path):
    for name in ("Black_Pearl_4_LV2", "Red_Zeppelin_4_LV2"):
        sound_font(
            tmp_path / f"sounds/sf2/{name}.sf2",
            {"48-SabianRockHat": np.ones(1), "45-Tom-1": np.ones(1), "54-Tambourine": np.ones(1)},
        )
    sound_font(tmp_path / "sounds/sf2/FluidR3_GM.sf2", {"Clap(L)": np.ones(1), "Piccolo C5": np.ones(1)})
    for kit in KITS:
        (tmp_path / kit.folder).mkdir(parents=True)
    for name in ("snare_rim01.ogg", "snare01.ogg", "zap01.ogg"):
        (tmp_path / "lmms/samples/drums" / name).touch()
    found = list(drums(tmp_path))
    assert [(one.label, one.corrected, one.fold) for one in found] == [
        ("clap", "clap", 1),
        *[("tom", "hihat", 2), ("tom", "tom", 2)] * 2,
        ("snare", "snare", 3),
        ("rim", "rim", 3),
    ]
    assert max(Counter((one.group, one.fold) for one in found).values()) == 2
    assert len({kit.folder for kit in KITS}) == len(KITS)


def test_phones_follow_one_another_and_their_windows_stay_within_the_sentence(tmp_path):
    text = "separator ;\n#\n0.25 125 pau\n0.30 125 k\n1.00 125 a\n"
    assert segments(text) == [("pau", 0.0, 0.25), ("k", 0.25, 0.3), ("a", 0.3, 1.0)]
    assert [round(window(*where, 1.0), 3) for where in ((0.0, 0.25), (0.4, 0.6), (0.3, 1.0))] == [0.0, 0.18, 0.33]
    voice = tmp_path / "festival/voices/russian/msu_ru_nsh_clunits"
    for folder in ("wav", "lab"):
        (voice / folder).mkdir(parents=True)
    soundfile.write(voice / "wav/ru_0004.wav", np.full(16000, 0.5), 16000)
    (voice / "lab/ru_0004.lab").write_text(text)
    write_phones(tmp_path, tmp_path / "out")
    listing = list_audio(tmp_path / "out" / "manifest.csv")
    assert [(item.labels, item.start, item.seconds, item.split) for item in listing.items] == [
        (("pau",), 0.0, 0.25, "test"),
        (("k",), 0.25, 0.05, "test"),
        (("a",), 0.3, 0.7, "test"),
    ]
    assert [item.seconds for item in list_audio(tmp_path / "out" / "windows.csv").items] == [0.64] * 3


def test_divisions_are_those_that_were_measured():
    assert [phone_split(f"ru_{number:04}") for number in (1, 4, 22, 823)] == ["train", "test", "test", "test"]
    assert [initial(folder) for folder in ("ㄓㄨ4", "ㄚ", "ㄅ")] == [("zh", "ㄓㄨ"), ("none", "ㄚ"), ("b", "ㄅ")]
    assert [initial_split(syllable) for syllable in ("ㄅㄚ", "ㄅㄠ", "ㄆㄛ")] == ["train", "test", "test"]


def test_parts_and_clips_cover_and_do_not_cross():
    places = [(float(start), float(seconds)) for start, seconds in parts(25.0)]
    assert np.allclose(places, [(0, 25 / 3), (25 / 3, 25 / 3), (50 / 3, 25 / 3)], atol=1e-4)
    rows = clips("film", 50.0)
    assert {split for _, _, _, split, _ in rows} == {"train", "val"}
    for _, start, seconds, _, group in rows:
        tenth = int(group.removeprefix("film-"))
        assert 5 * tenth <= float(start) and float(start) + float(seconds) <= 5 * (tenth + 1)
    assert {split for _, _, _, split, _ in clips("short", 9.0)} == {"train"}


@pytest.mark.parametrize("label", CLASSES)
def test_a_sprite_moves_as_its_label_says(label):
    where = track(label, np.random.default_rng(1))
    right, down = (np.angle(np.exp(2j * np.pi * np.diff(values) / SIZE)) for values in (where.x, where.y))
    turn = np.angle(np.exp(1j * np.diff(where.angle)))
    growth = np.median(np.diff(np.log(where.size)))
    names = {"east": right, "south": down, "west": -right, "north": -down, "left": turn, "right": -turn}
    for name, amounts in names.items():
        wanted = name in label.split("_") or (name in label and not label.startswith("turning"))
        assert (amounts > 1e-3).all() if wanted else (amounts < 1e-9).all()
    assert np.sign(np.round(growth, 6)) == {"growing": 1, "shrinking": -1}.get(label, 0)


@pytest.mark.parametrize("time", [0, FRAMES - 1])
def test_no_frame_tells_the_label(time):
    """Mean and spread of place, angle and size over many sprites are those of a uniform distribution, in any class."""
    for label in ("southeast", "turning_left", "growing"):
        drawn = [track(label, np.random.default_rng(seed)) for seed in range(2000)]
        for values, low, high in (
            (np.array([one.x[time] for one in drawn]), 0, SIZE),
            (np.array([one.angle[time] for one in drawn]), 0, 2 * np.pi),
            (np.log([one.size[time] for one in drawn]), np.log(18), np.log(40)),
        ):
            unit = (values - low) / (high - low)
            assert abs(unit.mean() - 1 / 2) < 4 / np.sqrt(12 * 2000)  # four standard errors
            assert abs(unit.std() - np.sqrt(1 / 12)) < 0.02


def test_a_clip_shows_the_sprite_where_it_is_over_the_photo(tmp_path):
    generator = np.random.default_rng(0)
    ramp = torch.arange(200, dtype=torch.uint8).expand(3, 120, 200).contiguous()
    corners = drift(120, 200, generator)
    assert corners.min() >= 0 and (corners[:, 0].max(), corners[:, 1].max()) < (120 - SIZE, 200 - SIZE)
    dot = torch.ones(4, 40, 40)
    where = track("north", generator)
    frames = render(ramp, corners, dot, where)
    assert frames.shape == (FRAMES, SIZE, SIZE, 3)
    for frame, x, y, corner in zip(frames, where.x, where.y, corners, strict=True):
        assert (frame[round(y) % SIZE, round(x) % SIZE] == 255).all()
        far = (round(y + SIZE / 2) % SIZE, round(x + SIZE / 2) % SIZE)
        assert abs(frame[far][0] - (corner[1] + far[1])) <= 1
    assert write_video(tmp_path / "a.mkv", frames, 16, scale=1) == FRAMES
    write_video(tmp_path / "b.mkv", frames, 16, scale=1)
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()
    clip = read_clip(tmp_path / "a.mkv", ClipConfig(frames=FRAMES, stride=1))
    assert clip.valid == FRAMES
    assert (clip.frames.permute(1, 2, 3, 0).float() - torch.from_numpy(frames).float()).abs().mean() < 3


def test_a_sprite_turns_counterclockwise():
    sprite = torch.zeros(4, 40, 40)
    sprite[:, 18:22, 30:38] = 1  # to the right of the middle
    still = track("east", np.random.default_rng(0))
    ones = np.ones(FRAMES)
    where = still._replace(x=32 * ones, y=32 * ones, size=40 * ones, angle=np.pi / 2 * ones)
    frame = render(torch.zeros(3, 120, 200, dtype=torch.uint8), np.zeros((FRAMES, 2)), sprite, where)[0, ..., 0]
    rows, columns = np.nonzero(frame > 128)
    assert rows.max() < 28 and abs(columns.mean() - 32) < 1  # above the middle


@pytest.mark.parametrize("label", GLIDES)
def test_a_garment_glides_as_its_label_says_and_no_single_frame_knows_it(label):
    tracks = [glide(label, np.random.default_rng(number)) for number in range(300)]
    x, y = (np.stack([getattr(one, axis) for one in tracks]) for axis in "xy")
    direction, speed = label.rsplit("_", 1)
    across, down = ((np.diff(axis) + SIZE / 2) % SIZE - SIZE / 2 for axis in (x, y))
    assert np.allclose(np.hypot(across, down), {"slow": 1, "fast": 3}[speed])
    assert np.all((across > 0.1) == ("east" in direction))
    assert np.all((across < -0.1) == ("west" in direction))
    assert np.all((down < -0.1) == ("north" in direction))
    assert np.all((down > 0.1) == ("south" in direction))
    for place in (0, FRAMES // 2, FRAMES - 1):  # uniform over the circle: the means of its waves are nearly 0
        for axis in (x, y):
            assert abs(np.exp(2j * np.pi * axis[:, place] / SIZE).mean()) < 0.2


def test_a_garment_is_as_opaque_as_it_is_bright():
    garment = np.zeros((28, 28), np.uint8)
    garment[10:20, 10:20] = 255
    shown = tinted(garment, np.random.default_rng(0))
    assert shown.shape == (4, 28, 28)
    assert shown[3].sum() == 100
    assert shown[:3, 0, 0].tolist() == [0, 0, 0]
    assert shown[:3, 15, 15].min() >= 0.25
    assert len(shown[:3, 15, 15].unique()) == 3
