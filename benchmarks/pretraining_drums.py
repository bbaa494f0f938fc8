"""Which recordings of drum kits are which drum, and whose they are: 823 of 7 drums in 5 folds of authors.

Labels are those under which .748 was measured: SoundFonts by the key that General MIDI gives a drum, kits by the names
of their files. Three keys say what the names of the samples deny; ``Drum.corrected`` follows the names.
"""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from benchmarks.soundfont import Sample, samples

LONGEST = 8.0  # seconds; longer recordings of kits are left out


class Drum(NamedTuple):
    """A recording of a drum.

    Attributes:
        path: The file.
        sample: Which one, of a SoundFont.
        label: What it is, as measured.
        corrected: What the name of the sample says.
        group: The kit.
        fold: From 1; no author is in two.
    """

    path: Path
    sample: Sample | None
    label: str
    corrected: str
    group: str
    fold: int


class Kit(NamedTuple):
    """A folder of recordings.

    Attributes:
        fold: From 1.
        folder: Below ``usr/share``.
        names: Patterns of the names of every drum; the first that fits counts.
    """

    fold: int
    folder: str
    names: Mapping[str, str]


_HYDROGEN = "hydrogen/data/drumkits"
KITS = (
    Kit(
        3,
        f"{_HYDROGEN}/GMRockKit",
        {
            "cymbal": "24Ride* Crash* Ride* Splash*",
            "clap": "HandClap*",
            "hihat": "Hat*",
            "kick": "Kick*",
            "rim": "SideStick* SnareRimshot*",
            "snare": "Snare-*",
            "tom": "Tom*",
        },
    ),
    Kit(
        3,
        f"{_HYDROGEN}/TR808EmulationKit",
        {
            "clap": "808_Clap*",
            "cymbal": "808_Cymbal*",
            "hihat": "808_Hat*",
            "kick": "808_Kick*",
            "snare": "808_Snare*",
            "tom": "808_Tom*",
        },
    ),
    Kit(
        3,
        "lmms/samples/drums",
        {
            "kick": "bassdrum* kick*",
            "clap": "clap*",
            "cymbal": "crash* ride*",
            "hihat": "hihat*",
            "rim": "nasty_rim* rim* sidestick* snare_rim*",
            "snare": "nasty_snare* snare*",
            "tom": "tom*",
        },
    ),
    Kit(
        3,
        "sonic-pi/samples",
        {
            "kick": "bd_* drum_heavy_kick*",
            "cymbal": "drum_cymbal_* drum_splash_*",
            "snare": "drum_snare_* elec_*snare* sn_*",
            "tom": "drum_tom_*",
        },
    ),
    Kit(
        4,
        f"{_HYDROGEN}/ForzeeStereo",
        {
            "cymbal": "China* Crash* Ride* Splash*",
            "hihat": "HiHat*",
            "kick": "Kick*",
            "rim": "Rim* SnareOffRim* SnareRim*",
            "snare": "Snare*",
            "tom": "Tom*",
        },
    ),
    Kit(
        4,
        f"{_HYDROGEN}/Millo-Drums_v.1",
        {
            "kick": "bd*",
            "clap": "clap*",
            "hihat": "*hihat* openhat*",
            "cymbal": "crash.* ride*",
            "snare": "snare*",
            "tom": "tom*",
        },
    ),
    Kit(
        4,
        f"{_HYDROGEN}/Millo_MultiLayered2",
        {
            "kick": "bd_*",
            "clap": "clap_*",
            "cymbal": "crash_* ride_*",
            "tom": "floortom_* tom_*",
            "hihat": "hh*",
            "snare": "*snare_*",
            "rim": "rim_*",
        },
    ),
    Kit(4, f"{_HYDROGEN}/Millo_MultiLayered3", {"kick": "bd_*", "hihat": "hh_*", "snare": "sd_*"}),
    Kit(
        5,
        f"{_HYDROGEN}/Audiophob",
        {
            "tom": "*tom* *stomachache*",
            "hihat": "*hhat* *hat-*",
            "rim": "*anillogic*",
            "cymbal": "*crash.*",
            "snare": "*snare*",
        },
    ),
    Kit(5, f"{_HYDROGEN}/BJA_Pacific", {"kick": "BD_*", "hihat": "HH*", "cymbal": "RD*", "snare": "SN*", "tom": "TM*"}),
    Kit(
        5,
        f"{_HYDROGEN}/ColomboAcousticDrumkit",
        {
            "kick": "bassdrum*",
            "cymbal": "crash*",
            "hihat": "hihat*",
            "rim": "*rimshot* stick-rim*",
            "snare": "snare*",
            "tom": "tom*",
        },
    ),
    Kit(
        5,
        f"{_HYDROGEN}/ElectricEmpireKit",
        {"clap": "*_Clap*", "hihat": "*_Hat*", "kick": "*_Kick*", "snare": "*_Snare*"},
    ),
    Kit(5, f"{_HYDROGEN}/HardElectro1", {"clap": "*Clap*", "hihat": "*CHH* *Chh* *OHH*", "kick": "PowR_BD*"}),
)
_FLUID = {
    "kick": "*Kick* Orch?Bass?Drum* Power?Bass?Drum*",
    "clap": "Clap(* Brush?Snr?2* 808?Clap",
    "snare": "RmPwr* Brush* Snr?* Piccolo??-?* Std?Snr* Orch?Snare* 808?Snare* Electronic?Snr* Power?Snare*",
    "rim": "Rim?Tap*",
    "tom": "Tom?* *Studio* 808?Tom* ElectTom*",
    "cymbal": "Crsh* BellRide* Ride?(* China* Splash* Orchcrash* 808?Ride",
    "hihat": "Hi-Hat* 808?Closed?Hat 808?Open?Hat",
}
# Names of the samples of the AVL kits begin with the key.
_KEYS = {
    "kick": "36",
    "rim": "37",
    "snare": "38 40",
    "clap": "39",
    "tom": "41 43 45 47 48 50",
    "hihat": "42 44 46",
    "cymbal": "49 51 52 53 55 57 59",
}
_AVL = {label: " ".join(f"{key}-*" for key in keys.split()) for label, keys in _KEYS.items()}
_SOUNDFONTS = {
    "FluidR3_GM": (1, _FLUID),
    "Black_Pearl_4_LV2": (2, _AVL),
    "Red_Zeppelin_4_LV2": (2, _AVL),
}
_NAMED = {"hihat": "48-*Hat*", "cymbal": "50-*Crash*", "snare": "Brush?Snr?2*"}


def drums(share: Path) -> Iterator[Drum]:
    """All drums below a folder ``usr/share``; recordings may be too long or no audio."""
    for name, (fold, names) in _SOUNDFONTS.items():
        path = share / "sounds" / "sf2" / f"{name}.sf2"
        for sample in samples(path):
            if label := label_of(sample.name, names):
                yield Drum(path, sample, label, label_of(sample.name, _NAMED) or label, name, fold)
    for kit in KITS:
        for path in sorted((share / kit.folder).iterdir()):
            if label := label_of(path.name, kit.names):
                yield Drum(path, None, label, label, kit.folder.replace("/samples", "").rsplit("/", 1)[-1], kit.fold)


def label_of(name: str, names: Mapping[str, str]) -> str:
    """The first drum one of whose patterns fits; empty if none does."""
    return next((drum for drum, globs in names.items() if any(fnmatchcase(name, glob) for glob in globs.split())), "")
