"""Recordings with labels at 16 kHz: drums, phones of a Russian reader, initials of Mandarin syllables."""

from pathlib import Path
from typing import NamedTuple

import soundfile

from benchmarks.pretraining_drums import LONGEST, drums
from benchmarks.pretraining_files import RATE, at_rate, part, read_sound, trimmed, write_sound, write_table
from benchmarks.soundfont import read

_WINDOW = 0.64  # seconds around the middle of a phone
_VOICE = "festival/voices/russian/msu_ru_nsh_clunits"
_PINYIN = ("b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x", "zh", "ch", "sh", "r", "z", "c", "s")
_INITIALS = dict(zip("ㄅㄆㄇㄈㄉㄊㄋㄌㄍㄎㄏㄐㄑㄒㄓㄔㄕㄖㄗㄘㄙ", _PINYIN, strict=True))


class Segment(NamedTuple):
    """A phone.

    Attributes:
        label: Its name.
        start: In seconds.
        end: In seconds.
    """

    label: str
    start: float
    end: float


def segments(text: str) -> list[Segment]:
    """The phones of a label file of Festival: after a line ``#``, every line is an end, a colour and a name."""
    found: list[Segment] = []
    for line in text.partition("#\n")[2].splitlines():
        end, _, label = line.split()
        found.append(Segment(label, found[-1].end if found else 0.0, float(end)))
    return found


def initial(folder: str) -> tuple[str, str]:
    """Of a folder of gcin-voice: the initial in pinyin, ``none`` where there is none, and the syllable without tone."""
    return _INITIALS.get(folder[0], "none"), folder.rstrip("12345")


def phone_split(sentence: str) -> str:
    """Of a sentence: a tenth is test, a tenth val."""
    return {0: "test", 1: "val"}.get(part(sentence, 10), "train")


def initial_split(syllable: str) -> str:
    """Of a syllable, with all its tones and voices: a quarter is test, an eighth val."""
    return "test" if part(syllable, 4) == 0 else "val" if part(syllable, 8) == 1 else "train"


def window(start: float, end: float, lasts: float) -> float:
    """Where the window around a phone begins: it stays within the recording."""
    return max(min((start + end - _WINDOW) / 2, lasts - _WINDOW), 0.0)


def write_drums(share: Path, out: Path) -> None:
    """Every drum as a file; two tables, of the labels as measured and of those that the names give."""
    rows: list[tuple[str, str, str, str, str]] = []
    for number, drum in enumerate(drums(share)):
        try:
            if drum.sample is not None:
                audio = at_rate(read(drum.path, drum.sample), drum.sample.rate)
            elif soundfile.info(drum.path).duration <= LONGEST:
                audio = read_sound(drum.path)
            else:
                continue
        except soundfile.LibsndfileError as error:
            print(f"left out: {error}")
            continue
        name = f"{number:04}.wav"
        write_sound(out / name, trimmed(audio))
        rows.append((name, drum.label, drum.corrected, f"fold{drum.fold}", drum.group))
    titles = ("path", "label", "split", "group")
    write_table(out / "manifest.csv", titles, [(name, label, *rest) for name, label, _, *rest in rows])
    write_table(out / "corrected.csv", titles, [(name, label, *rest) for name, _, label, *rest in rows])


def write_phones(share: Path, out: Path) -> None:
    """The sentences; two tables, of the phones as long as they are and of windows around them."""
    exact: list[tuple[object, ...]] = []
    windows: list[tuple[object, ...]] = []
    for path in sorted((share / _VOICE / "wav").glob("*.wav")):
        audio = read_sound(path)
        write_sound(out / path.name, audio)
        lasts = len(audio) / RATE
        text = (share / _VOICE / "lab" / f"{path.stem}.lab").read_text(encoding="koi8-r")
        for label, start, end in segments(text):
            if not start < min(end, lasts):
                print(f"left out: {label} of {path.name}, {start} to {end} of {lasts:.3f} s")
                continue
            rest = (label, phone_split(path.stem), path.stem)
            exact.append((path.name, f"{start:.4f}", f"{min(end, lasts) - start:.4f}", *rest))
            windows.append((path.name, f"{window(start, end, lasts):.4f}", f"{_WINDOW:.4f}", *rest))
    titles = ("path", "start", "seconds", "label", "split", "group")
    write_table(out / "manifest.csv", titles, exact)
    write_table(out / "windows.csv", titles, windows)


def write_initials(share: Path, out: Path) -> None:
    """Mandarin syllables by their initial, in two voices."""
    rows: list[tuple[str, str, str, str, str]] = []
    for number, path in enumerate(sorted((share / "gcin-voice" / "ogg").glob("*/*.ogg"))):
        label, syllable = initial(path.parent.name)
        name = f"{number:04}.wav"
        write_sound(out / name, trimmed(read_sound(path)))
        rows.append((name, label, initial_split(syllable), syllable, path.stem))
    write_table(out / "manifest.csv", ("path", "label", "split", "group", "voice"), rows)
