"""The layouts of well-known corpora, so that a folder as it was unpacked can be trained on.

A preset is a small object: which files, what they are, what must stay together, and which split a path belongs to.
"""

import csv
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from codeword.data.audio_corpus import AudioEntry, folder
from codeword.data.audio_errors import AudioError


@dataclass(frozen=True, kw_only=True)
class Preset:
    r"""Where a corpus keeps its files.

    Regular expressions see paths below the corpus's folder, with ``/`` between folders.

    Attributes:
        layout: An example of a path, for people.
        kind: What the audio is.
        glob: Which files, of those with an extension of audio.
        keep: Only paths in which this is found.
        group: Its first group that matched, or the whole match, names what must stay together; else the path does.
        splits: Split by an expression for the paths in it; the first that is found counts.
        lists: Split by CSV or TSV files below the folder, whose first column (TSV: the second, after the speaker) names
            files by path, name, stem or group; files not listed keep the split of ``splits``.
    """

    layout: str
    kind: str
    glob: str = "**/*"
    keep: str = ""
    group: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, str] = field(default_factory=dict)

    def entries(self, path: str | os.PathLike[str]) -> list[AudioEntry]:
        """The files of a corpus unpacked at ``path``.

        Raises:
            AudioError: In one line, if there is no such folder, or nothing of this layout in it.
        """
        home = Path(path)
        listed = self._listed(home)
        found = []
        for entry in folder(home, kind=self.kind, pattern=self.glob):
            name = Path(entry.path).relative_to(home).as_posix()
            if re.search(self.keep, name):
                group = self._group(name)
                found.append(replace(entry, group=group, split=self._split(name, group, listed)))
        if not found:
            raise AudioError(f"{home} is laid out differently: expected {self.layout}")
        return found

    def _group(self, name: str) -> str:
        match = re.search(self.group, name) if self.group else None
        if match is None:
            return name
        return next(filter(None, match.groups()), match.group())

    def _split(self, name: str, group: str, listed: Mapping[str, str]) -> str:
        for key in (name, Path(name).name, Path(name).stem, group):
            if key in listed:
                return listed[key]
        return next((split for split, pattern in self.splits.items() if re.search(pattern, name)), "")

    def _listed(self, home: Path) -> dict[str, str]:
        found: dict[str, str] = {}
        for split, pattern in self.lists.items():
            for path in sorted(home.glob(pattern)):
                found |= {name: split for name in _named(path) if name not in found}
        return found


def _named(path: Path) -> list[str]:
    """What a list names; the sentences of a TSV may hold quotes, which quote nothing there."""
    tabs = path.suffix == ".tsv"
    quoting = csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t" if tabs else ",", quoting=quoting, skipinitialspace=True)
        return [row[tabs].strip() for row in rows if len(row) > tabs and not row[0].startswith("#")]


_LIBRI = Preset(
    layout="{train-clean-100,dev-clean,...}/SPEAKER/CHAPTER/*",
    kind="speech",
    keep=r"(^|/)(train|dev|test)-",
    group=r"(?:train|dev|test)-[^/]+/(\d+)/",
    splits={"train": r"(^|/)train-", "val": r"(^|/)dev-", "test": r"(^|/)test-"},
)

# Where a corpus has no split of its own, ``Corpus.with_splits`` makes one by groups.
PRESETS: Mapping[str, Preset] = {
    "daps": Preset(
        layout="{clean,produced}/f10_script1_clean.wav",
        kind="speech",
        keep=r"(^|/)(clean|produced)/",
        group=r"/([fm]\d+)_script",
        splits={"test": r"/[fm]10_", "train": ""},  # F10 and M10 are the speakers that codecs are tested on
    ),
    "musdb18": Preset(
        layout="{train,test}/TRACK/{mixture,vocals,drums,bass,other}.wav, or {train,test}/TRACK.stem.mp4",
        kind="music",
        keep=r"(^|/)(train|test)/",
        group=r"(?:^|/)(?:train|test)/([^/]+?)(?:\.stem\.mp4)?(?:/|$)",
        splits={"test": r"(^|/)test/", "train": r"(^|/)train/"},
    ),
    "audioset": Preset(
        layout="{balanced_train,unbalanced_train,eval}_segments/YTID*.wav, beside CSV files of those names",
        kind="general",
        group=r"([^/]{11})[^/]*$",
        splits={"test": r"(^|/)eval", "train": r"(^|/)(un)?balanced_train"},
        lists={"test": "**/eval_segments.csv", "train": "**/*train_segments.csv"},
    ),
    "common_voice": Preset(
        layout="LANGUAGE/clips/*.mp3, beside train.tsv, dev.tsv and test.tsv",
        kind="speech",
        glob="**/clips/*",
        lists={"train": "**/train.tsv", "val": "**/dev.tsv", "test": "**/test.tsv"},
    ),
    "vctk": Preset(
        layout="wav48_silence_trimmed/p225/p225_001_mic1.flac",
        kind="speech",
        keep=r"(^|/)wav48",
        group=r"/([ps]\d+)/",
    ),
    "libritts": _LIBRI,
    "librispeech": _LIBRI,
    "dns_speech": Preset(
        layout="clean_fullband/{read_speech,vctk_wav48_silence_trimmed,...}/**/*.wav",
        kind="speech",
        keep=r"(^|/)clean",
        group=r"(reader_\d+)|/[ps]\d{3}/",
    ),
    "jamendo": Preset(
        layout="{00,...,99}/TRACK.mp3",
        kind="music",
        glob="**/[0-9][0-9]/*",
        group=r"/(\d+)[^/]*$",
    ),
}


def preset(name: str, path: str | os.PathLike[str]) -> list[AudioEntry]:
    """The entries of a well-known corpus unpacked at ``path``, for ``scan``.

    Raises:
        AudioError: If there is no preset of that name, or nothing of its layout.
    """
    if name not in PRESETS:
        raise AudioError(f"there is no preset {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name].entries(path)
