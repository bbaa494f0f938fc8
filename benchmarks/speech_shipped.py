"""The codec for speech that comes with codeword, on recordings kept from its training, beside other codecs.

    python -m benchmarks.speech_shipped --take MODEL --data CORPUS/manifest.csv   # make a trained model the shipped one
    python -m benchmarks.speech_shipped --data CORPUS/manifest.csv                # measure, and write its card

The corpus is that of ``benchmarks.speech_corpus``. Other codecs are those that are installed; the neural codec that
comes with codeword stands beside them at what its largest scale takes.
"""

import shutil
from pathlib import Path

from benchmarks.record import write
from benchmarks.shipped import SETS, begun, chosen, page, row
from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.storage import SPEECH
from codeword.codecs.rates import Kbps
from codeword.codecs.speech.codec import SpeechCodec
from codeword.codecs.speech.storage import ENVELOPES, SHIPPED
from codeword.data.audio_corpus import open_corpus
from codeword.evaluation.audio import AudioMeasures, evaluate
from codeword.evaluation.audio_recordings import Recordings, Selection

FOLDER = SHIPPED / ENVELOPES
RATES = (8.0, 9.6, 13.2, 16.4, 24.4, 32.0)
METRICS = ("pesq", "weighted_snr", "stoi", "visqol_speech")
PEERS = ("opus", "amr-wb", "lc3", "codec2")
MODEL_FILES = ("config.json", "model.safetensors", "tables.safetensors")


def take(model: Path) -> None:
    """Copy a trained model into the package."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in MODEL_FILES:
        shutil.copyfile(model / name, FOLDER / name)
    print(f"{FOLDER}: {sum(path.stat().st_size for path in FOLDER.iterdir()) / 1e6:.2f} MB")


_COLUMNS = ("kbps", "pesq", "weighted_snr", "stoi", "visqol_speech")
_HEAD = """---
license: apache-2.0
tags: [audio, speech, codec, vector-quantization]
---

# envelope-12

A codec for speech at 16 kHz and 8 to 32 kbit/s: lines of a lapped transform under an envelope of 12 bits. It comes with
codeword: `codeword compress --codec speech --kbps 16.4 speech.wav speech.cw`.

**Training.** {steps} steps of 8 excerpts of 2 seconds of the speech that `speech-16k` learned from, see there for its
sources and their licences:

```sh
codeword train speech corpus/manifest.csv --recipe envelope-12 --steps {steps} --out MODEL
python -m benchmarks.speech_shipped --take MODEL --data corpus/manifest.csv
```

**Measured** on recordings kept from training, rates being those of whole files.
"""
_TAIL = """
**Not good for** music, several speakers at once, or more than 8 kHz of bandwidth. With few bits most lines become
noise. Its noise was tuned by PESQ and ViSQOL on sentences of one reader that are in neither table.
"""


def card(rows: list[dict[str, object]], steps: int) -> str:
    """The model's card, from the same numbers as the results."""
    return page(rows, _HEAD.format(steps=steps), _COLUMNS, _TAIL)


def main() -> None:
    arguments, steps = begun(__doc__, "speech_shipped", take)
    codec, neural, corpus = (
        SpeechCodec.open(Path(ENVELOPES)),
        AudioCodec.open(Path(SPEECH)),
        open_corpus(arguments.data),
    )
    rates = tuple(map(Kbps, RATES))
    rows: list[dict[str, object]] = []
    for group in SETS:
        selection = Selection(clips=arguments.clips, seconds=None)
        clips = Recordings(chosen(corpus, group), codec.sample_rate, selection, arguments.data.parent)
        measures = AudioMeasures(rates=rates, metrics=METRICS, peers=PEERS, peer_kbps=RATES)
        rows += [row(group, point) for point in evaluate(codec, clips, measures).points]
        most = AudioMeasures(rates=(Kbps(RATES[0]),), metrics=METRICS)
        rows += [{**row(group, point), "system": SPEECH} for point in evaluate(neural, clips, most).points]
    print(f"wrote {write('speech_shipped', rows, steps=steps, model=codec.fingerprint)}")
    (FOLDER / "README.md").write_text(card(rows, steps))


if __name__ == "__main__":
    main()
