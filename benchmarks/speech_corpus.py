"""Seven hours of free speech at 16 kHz, of which ``speech-16k`` is trained, from packages of Debian 12.

::

    apt-get download festvox-ru tuxpaint-stamps-default klettres-data ktuberling-data gcin-voice \
        asterisk-core-sounds-{en,es,fr,it,ru}-g722
    for package in *.deb; do dpkg -x $package unpacked; done
    python -m benchmarks.speech_corpus unpacked/usr/share corpus
    codeword train audio corpus/manifest.csv --recipe speech-16k --out MODEL

Kept for test: the last 62 sentences of the Russian reader (Nsh), all of the French one (June), and one in twenty of the
words that are read in many languages, in all languages at once. Val and train see none of them.
"""

import csv
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import tyro

from codeword.data.audio_errors import AudioError
from codeword.data.audio_files import audio_info
from codeword.data.audio_stream import stream_audio

_RATE = 16000
_SENTENCES = "festival/voices/russian/msu_ru_nsh_clunits/wav"
_TEST_SENTENCES, _VAL_SENTENCES = 62, 20
_UNSEEN = "fr_CA_f_June"
_SPANISH = "es"  # tuxpaint's Spanish recordings are clipped
_SHORTEST, _QUIETEST = 0.25, 0.01
_FASTEST = 96000  # a few files state 128 kHz, wrongly


class Source(NamedTuple):
    """A recording and where it belongs."""

    path: Path
    kind: str
    group: str
    split: str


@dataclass(frozen=True)
class Arguments:
    """Where the packages are unpacked and where the corpus goes."""

    root: tyro.conf.Positional[Path]
    """The folder usr/share of the unpacked packages."""
    out: tyro.conf.Positional[Path]
    """Folder of the corpus."""


def sources(root: Path) -> Iterator[Source]:
    """Every recording, by package."""
    sentences = sorted((root / _SENTENCES).glob("*.wav"))
    for place, path in enumerate(reversed(sentences)):
        split = "test" if place < _TEST_SENTENCES else "val" if place < _TEST_SENTENCES + _VAL_SENTENCES else "train"
        yield Source(path, "sentences", "nsh", split)
    for path in sorted((root / "asterisk/sounds").rglob("*.g722")):
        speaker = path.relative_to(root / "asterisk/sounds").parts[0]
        yield Source(path, "prompts", speaker, "test" if speaker == _UNSEEN else "train")
    for path in sorted((root / "tuxpaint/stamps").rglob("*_desc_*.ogg")):
        stamp, language = path.stem.rsplit("_desc_", 1)
        if not language.startswith(_SPANISH):
            yield Source(path, "words", f"tuxpaint-{language}", _by_hash(stamp))
    for path in sorted((root / "klettres").glob("*/*/*.ogg")):
        yield Source(path, "words", f"klettres-{path.parts[-3]}", _by_hash(path.name))
    for path in sorted((root / "ktuberling/sounds").glob("*/*")):
        if path.suffix in {".ogg", ".wav", ".opus"}:
            yield Source(path, "words", f"ktuberling-{path.parent.name}", _by_hash(path.name))
    for path in sorted((root / "gcin-voice/ogg").glob("*/*.ogg")):
        yield Source(path, "words", f"gcin-{path.stem}", _by_hash(path.parent.name))


def _by_hash(item: str) -> str:
    part = zlib.crc32(item.encode()) % 100
    return "test" if part < 5 else "val" if part < 8 else "train"


def read(source: Source) -> np.ndarray | None:
    """A recording at 16 kHz in mono, if it is one."""
    try:
        if audio_info(source.path).rate > _FASTEST:
            return None
        blocks = [block.numpy() for block in stream_audio(source.path, rate=_RATE, channels=1)]
    except AudioError:
        return None
    audio = np.concatenate(blocks, axis=-1)[0] if blocks else np.zeros(0)
    return audio if len(audio) >= _SHORTEST * _RATE and np.abs(audio).max() >= _QUIETEST else None


def main(arguments: Arguments) -> None:
    audio = arguments.out / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    hours: Counter[tuple[str, str]] = Counter()
    rows: list[tuple[str, str, str, str]] = []
    everything = list(sources(arguments.root))
    with ThreadPoolExecutor(2) as pool:
        for number, (source, samples) in enumerate(zip(everything, pool.map(read, everything), strict=True)):
            if samples is None:
                continue
            path = audio / f"{number:05}.wav"
            soundfile.write(path, samples, _RATE, subtype="PCM_16")
            rows.append((str(path.relative_to(arguments.out)), source.kind, source.group, source.split))
            hours[source.kind, source.split] += len(samples) / _RATE / 3600
    with (arguments.out / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "kind", "group", "split"))
        table.writerows(rows)
    for (kind, split), amount in sorted(hours.items()):
        print(f"{kind:10} {split:6} {amount:5.2f} h")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
