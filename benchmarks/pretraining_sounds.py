"""Eight hours of recordings without labels at 16 kHz, to pretrain audio on."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from benchmarks.pretraining_drums import KITS, drums
from benchmarks.pretraining_files import RATE, at_rate, read_sound, read_table, write_sound, write_table
from benchmarks.soundfont import read, samples
from codeword.data.audio_errors import AudioError

_PART = 10.0  # seconds at most that make an item
_SHORTEST, _QUIETEST = 0.05, 1e-3
_FASTEST = 96000  # a few files state 128 kHz, wrongly
_LANGUAGES = ("be", "bg", "ca", "da", "el", "fr", "ro", "ru")  # Spanish is clipped
_SOURCES = (
    ("percussion", "hydrogen/data/drumkits/*/*"),
    ("effects", "sonic-pi/samples/*"),
    ("effects", "lmms/samples/*/*"),
    ("words", "klettres/*/*/*.ogg"),
    *(
        ("words", f"tuxpaint/stamps/**/*_desc_{language}.ogg")
        for language in ("be", "bg", "ca", "da", "el", "fr", "ro", "ru")
    ),
    ("music", "games/wesnoth/1.16/data/core/music/*.ogg"),
)
_SAME = "The Black Pearl 1.0"  # perhaps of those whose kit is a SoundFont of the drums
_LABELLED = ("drums", "phones", "initials")


class Sound(NamedTuple):
    """A recording.

    Attributes:
        kind: Of what.
        group: By whom.
        split: ``train``, or the fold of a kit.
        audio: At 16 kHz.
    """

    kind: str
    group: str
    split: str
    audio: np.ndarray


def write_sounds(share: Path, out: Path) -> None:
    """The recordings, and a table of them and of those of the other sets, which lie beside it.

    What the others test with keeps its split, ``test``, ``val``, ``fold1`` ..., so that it can be left out.
    """
    rows: list[tuple[str, ...]] = []
    for number, sound in enumerate(sounds(share)):
        if len(sound.audio) < _SHORTEST * RATE or np.abs(sound.audio).max() < _QUIETEST:
            continue
        name = f"{sound.kind}/{number:05}.flac"
        write_sound(out / name, sound.audio)
        rows += [(name, sound.kind, sound.group, sound.split, *place) for place in parts(len(sound.audio) / RATE)]
    for name in _LABELLED:
        home = out.parent / name
        files = {row["path"]: row for row in read_table(home / "manifest.csv")}
        for path, row in files.items():
            places = parts(soundfile.info(home / path).duration)
            rows += [(f"../{name}/{path}", name, f"{name}-{row['group']}", row["split"], *place) for place in places]
    write_table(out / "manifest.csv", ("path", "kind", "group", "split", "start", "seconds"), rows)


def parts(lasts: float) -> list[tuple[str, str]]:
    """Starts and lengths of equal parts of ten seconds at most."""
    count = max(int(np.ceil(lasts / _PART)), 1)
    return [(f"{number * lasts / count:.4f}", f"{lasts / count:.4f}") for number in range(count)]


def sounds(share: Path) -> Iterator[Sound]:
    """All that the drums do not have."""
    known = {(drum.path, drum.sample) for drum in drums(share)}
    folds = {share / kit.folder: f"fold{kit.fold}" for kit in KITS}
    for kind, pattern in _SOURCES:
        for path in sorted(share.glob(pattern)):
            home = path.parent
            if (path, None) in known or home.name == _SAME or path.is_symlink():
                continue
            try:
                if not path.is_file() or soundfile.info(path).samplerate > _FASTEST:
                    continue
                audio = read_sound(path)
            except (soundfile.LibsndfileError, AudioError):
                continue  # pictures, texts and broken files beside the recordings
            group = path.stem.rpartition("_")[2] if "stamps" in pattern else home.parent.name if kind == "words" else ""
            yield Sound(kind, group or home.name, folds.get(home, "train"), audio)
    font = share / "sounds" / "sf2" / "FluidR3_GM.sf2"
    for sample in samples(font):
        if (font, sample) not in known and sample.count:
            audio = at_rate(read(font, sample), sample.rate)
            yield Sound("instruments", font.stem, "train", audio)
