"""The speech model that comes with codeword, on recordings kept from its training, beside Opus and Codec2.

    python -m benchmarks.audio_shipped --take MODEL --data CORPUS/manifest.csv   # make a trained model the shipped one
    python -m benchmarks.audio_shipped --data CORPUS/manifest.csv                # measure, and write its card

The corpus is that of ``benchmarks.speech_corpus``.
"""

import shutil
from pathlib import Path

from benchmarks.record import write
from benchmarks.shipped import SETS, begun, chosen, page, row
from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.storage import SHIPPED, SPEECH, read_audio, write_audio
from codeword.codecs.rates import Kbps
from codeword.data.audio_corpus import open_corpus
from codeword.evaluation.audio import AudioMeasures, evaluate
from codeword.evaluation.audio_recordings import Recordings, Selection

FOLDER = SHIPPED / SPEECH
RATES = (1.5, 3.0, 6.0)
METRICS = ("si_sdr", "pesq", "stoi", "visqol_speech")
PEERS = ("opus", "codec2")


def take(model: Path) -> None:
    """Write a trained model into the package, in half precision."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    write_audio(FOLDER, *read_audio(model), half=True)
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{FOLDER}: {size / 1e6:.2f} MB")


_COLUMNS = ("kbps", "pesq", "stoi", "visqol_speech", "si_sdr")
_HEAD = """---
license: apache-2.0
tags: [audio, speech, codec, vector-quantization]
---

# speech-16k

A variable-bitrate codec for speech at 16 kHz: 50 frames a second, up to 12 codebooks of 1024 codewords each.
It comes with codeword: `codeword compress speech.wav speech.cw --kbps 3`.

**Training.** {steps} steps of 16 excerpts of 1.2 seconds on 6.9 hours of freely licensed speech, most of it single
words and phrases, on one processor core:

```sh
python -m benchmarks.speech_corpus unpacked/usr/share corpus   # which Debian packages: see its docstring
codeword train audio corpus/manifest.csv --recipe speech-16k --steps {steps} --out MODEL
python -m benchmarks.audio_shipped --take MODEL --data corpus/manifest.csv
```

| data | hours | licence |
|---|---|---|
| festvox-ru, one Russian reader | 1.43 | BSD-like, notice kept in the package |
| asterisk-core-sounds, English, Spanish, Italian and Russian prompts | 1.69 | CC-BY-SA-3.0, CC-BY-3.0 |
| tuxpaint-stamps, klettres, ktuberling: words in many languages | 3.6 | GPL-2+ |
| gcin-voice: Mandarin syllables | 0.2 | LGPL-3 or GPL-3, CC-BY-3.0 |

**Measured** on recordings kept from training, rates being those of whole files; SI-SDR of Codec2 says nothing, since it
does not keep the waveform.
"""
_TAIL = """
**Not good for** music, several speakers at once, noise, or more than 8 kHz of bandwidth. The readers are few, and most
are women; recordings are clean. No adversarial training: at low rates consonants are dull and voices rough. Asked for
more than it can spend, such as 6 kbps, it gives what its largest scale takes, about 4 kbps.
"""


def card(rows: list[dict[str, object]], steps: int) -> str:
    """The model's card, from the same numbers as the results."""
    return page(rows, _HEAD.format(steps=steps), _COLUMNS, _TAIL)


def main() -> None:
    arguments, steps = begun(__doc__, "audio_shipped", take)
    codec, corpus = AudioCodec.open(Path(SPEECH)), open_corpus(arguments.data)
    measures = AudioMeasures(rates=tuple(Kbps(rate) for rate in RATES), metrics=METRICS, peers=PEERS, peer_kbps=RATES)
    rows: list[dict[str, object]] = []
    for group in SETS:
        selection = Selection(clips=arguments.clips, seconds=None)
        clips = Recordings(chosen(corpus, group), codec.model.sample_rate, selection, arguments.data.parent)
        rows += [row(group, point) for point in evaluate(codec, clips, measures).points]
    print(f"wrote {write('audio_shipped', rows, steps=steps, model=codec.fingerprint)}")
    (FOLDER / "README.md").write_text(card(rows, steps))


if __name__ == "__main__":
    main()
