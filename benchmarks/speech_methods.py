"""Figure 1 of the NSVQ and the ICASSP paper: what quantizes the envelopes of a speech codec, and what it sounds like.

    python -m benchmarks.speech_methods --data CORPUS/manifest.csv             # trains what is missing, then writes
    python -m benchmarks.speech_methods --data CORPUS/manifest.csv --only NSVQ --seeds 1
    python -m benchmarks.speech_methods --data CORPUS/manifest.csv --report    # writes what is there

The corpus is that of ``benchmarks.speech_corpus``. Envelopes have 12 bits: in one codebook, through straight-through
gradients, moving averages or noise substitution (Vali and Backstrom 2022), and in two codebooks that are added,
subtracted one after another, or have half of the bands each, through noise substitution (2023). All start by k-means on
the same envelopes, move dead codewords alike, and train as long. Test are 62 sentences of a reader whose others were
learned from, and a reader who was never heard; rates are those of files.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import RESULTS, write
from benchmarks.shipped import SETS, chosen
from codeword.codecs.speech.codec import SpeechCodec
from codeword.data.audio_corpus import Corpus, open_corpus
from codeword.evaluation.audio import AudioMeasures, evaluate
from codeword.evaluation.audio_recordings import Recordings, Selection
from codeword.evaluation.audio_results import AudioEvaluation
from codeword.quantizers import Gradient, KMeans, MovingAverage, Quantizer, VectorQuantizer
from codeword.quantizers.learning import Learning
from codeword.recipes.speech import SpeechRecipe, recipe, train

CELLS = RESULTS / "speech_methods.jsonl"
RUNS = Path("runs/speech_methods")
METRICS = ("pesq", "weighted_snr", "stoi")
FAMILIES: Mapping[str, str] = {
    "NSVQ": "envelope-12",
    "residual": "residual-12",
    "product": "product-12",
    "additive": "additive-12",
}
LEARNT: Mapping[str, Learning] = {"straight-through": Gradient(), "moving average": MovingAverage(0.99)}
METHODS = (*LEARNT, *FAMILIES)


def configured(method: str, seed: int) -> SpeechRecipe:
    """The recipe of a method; all differ by their quantizer alone."""
    base = recipe("envelope-12")

    def one() -> Quantizer:
        if method in LEARNT:
            return VectorQuantizer(16, 4096, learning=LEARNT[method], seeding=KMeans(seed=0))
        return recipe(FAMILIES[method]).quantizer()

    training, loop = replace(base.training, seed=seed), replace(base.loop, seed=seed, progress=False)
    return replace(base, quantizer=one, training=training, loop=loop)


def trained(method: str, seed: int, data: Path) -> SpeechCodec:
    """A model, trained now unless it was before."""
    folder = RUNS / f"{method.replace(' ', '-')}-{seed}"
    if not (folder / "config.json").is_file():
        RUNS.mkdir(parents=True, exist_ok=True)
        train(configured(method, seed), data, folder)
    return SpeechCodec.open(folder)


def measured(codec: SpeechCodec, corpus: Corpus, group: str, clips: int) -> AudioEvaluation:
    """Quality at the rates of the paper, on test recordings of one reader."""
    recordings = Recordings(chosen(corpus, group), codec.sample_rate, Selection(clips=clips), Path())
    return evaluate(codec, recordings, AudioMeasures(metrics=METRICS))


def rows(method: str, seed: int, group: str, found: AudioEvaluation) -> list[dict[str, Any]]:
    """Of every rate the means and what single recordings got, in their order."""
    return [
        {
            "method": method,
            "seed": seed,
            "reader": group,
            "asked": point.setting.removeprefix("kbps="),
            "kbps": point.kbps.mean,
            **{name: value.mean for name, value in point.metrics.items()},
            "clips": {name: [round(clip[name], 4) for clip in point.per_clip if name in clip] for name in METRICS},
        }
        for point in found.points
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=METHODS, action="append")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--clips", type=int, default=40, help="of every reader")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = [json.loads(line) for line in CELLS.read_text().splitlines()] if CELLS.is_file() else []
    corpus = None if arguments.report else open_corpus(arguments.data)
    for seed in range(arguments.seeds):
        for method in arguments.only or METHODS:
            for group in SETS:
                name = {"method": method, "seed": seed, "reader": group}
                if corpus is None or any(name.items() <= cell.items() for cell in known):
                    continue
                codec = trained(method, seed, arguments.data)
                found = rows(method, seed, group, measured(codec, corpus, group, arguments.clips))
                known += found
                with CELLS.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in found)
                print(
                    *({key: value for key, value in row.items() if key != "clips"} for row in found),
                    sep="\n",
                    flush=True,
                )
    print(f"wrote {write('speech_methods', known)}")


if __name__ == "__main__":
    main()
