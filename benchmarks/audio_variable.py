"""Depth that follows importance against constant depth, and one surrogate against another, on speech.

    python -m benchmarks.audio_variable --data CORPUS/manifest.csv             # train what is missing, then measure
    python -m benchmarks.audio_variable --data CORPUS/manifest.csv --measure   # only measure what is trained

The corpus is that of ``benchmarks.speech_corpus``. All models have the same networks, data, batches and steps; the
constant one is trained with structured dropout of depths, as DAC is. SI-SDR is read off at equal bytes of real files,
on recordings kept for test, joined to a minute each: codes and depths packed at fixed width, and both range-coded.
Range coding takes back some of the gain, since the codes of silence cost a constant depth next to nothing then.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.record import write
from codeword.codecs.audio.choice import RateChoice
from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.audio.layout import LappedLayout
from codeword.codecs.rates import Levels, Scale
from codeword.data.audio_corpus import open_corpus
from codeword.data.audio_stream import stream_audio
from codeword.data.audio_writer import AudioWriter
from codeword.evaluation.audio import AudioMeasures, evaluate
from codeword.evaluation.audio_recordings import Recordings, Selection
from codeword.evaluation.audio_results import Point
from codeword.evaluation.bd_rate import Curve, bd_rate, monotone_cubic
from codeword.quantizers.variable import Clamp, Smooth, Surrogate
from codeword.recipes.audio import AudioRecipe, recipe, train

LEVELS, STEPS = 8, 1000
READERS, FILES, SECONDS = ("nsh", "fr_CA_f_June"), 4, 60.0  # files of every reader, and how long at least
SCALES = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0)
SURROGATES: dict[str, Surrogate] = {
    "smooth 1": Smooth(1.0),
    "smooth 0.5": Smooth(0.5),
    "smooth 2": Smooth(2.0),
    "smooth 4": Smooth(4.0),
    "clamp": Clamp(),
}
SHARES = (0.3, 0.4, 0.5, 0.6, 0.75)  # of the full rate, where a gain is expected
LOW_SHARES = (0.2, 0.25)  # below the published crossover
_FOLDER = Path("runs/audio_variable")


def configured(name: str, seed: int) -> AudioRecipe:
    """The recipe of a run: ``constant`` or the name of a surrogate."""
    base = recipe("speech-16k", steps=STEPS)
    varied = name != "constant"
    training = replace(
        base.training,
        seed=seed,
        full=0.15 if varied else 0.5,
        constant=0.25 if varied else 0.5,
        variable_from=STEPS // 10 if varied else 0,
    )
    return replace(
        base,
        layout=LappedLayout(dim=96, inner=288, encoder_blocks=2, decoder_blocks=3, latent=64),
        levels=LEVELS,
        batch=8,
        training=training,
        loop=replace(base.loop, seed=seed, progress=False, validate_every=STEPS, checkpoint_every=200),
        surrogate=SURROGATES.get(name),
    )


def trained(name: str, seed: int, data: Path, *, only_there: bool = False) -> Path | None:
    """The folder of a model, trained if it is not there yet, unless only those that are there are wanted."""
    folder = _FOLDER / f"{name.replace(' ', '-')}-{seed}"
    if not (folder / "config.json").is_file():
        if only_there:
            return None
        folder.parent.mkdir(parents=True, exist_ok=True)
        train(configured(name, seed), data, folder, workers=1)
        print(f"trained {folder}", flush=True)
    return folder


def measured(folder: Path, data: Path, *, packed: bool) -> list[Point]:
    """Points of a trained model on test recordings."""
    codec = AudioCodec.open(folder)
    if packed:
        codec = AudioCodec(codec.model)
    rates: tuple[RateChoice, ...] = tuple(map(Scale, SCALES))
    if codec.model.importance is None:
        rates = tuple(map(Levels, range(1, LEVELS + 1)))
    folder = joined(data, codec.model.sample_rate)
    recordings = Recordings(open_corpus(folder), codec.model.sample_rate, Selection(seconds=None), folder)
    return list(evaluate(codec, recordings, AudioMeasures(rates=rates, metrics=("si_sdr",))).points)


def joined(data: Path, rate: int) -> Path:
    """A folder of test recordings, those of a reader one after the other."""
    folder = _FOLDER / "test"
    if (folder / f"{READERS[-1]}-{FILES - 1}.wav").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    corpus = open_corpus(data).only(split="test")
    for reader in READERS:
        clips = iter([clip for clip in corpus.clips if clip.entry.group == reader])
        for number in range(FILES):
            left = SECONDS
            with AudioWriter(folder / f"{reader}-{number}.wav", rate=rate, channels=1) as writer:
                while left > 0:
                    clip = next(clips)
                    left -= clip.seconds
                    for block in stream_audio(clip.entry.path, rate=rate, channels=1):
                        writer.write(block)
    return folder


def curve(points: Sequence[Point], clip: int | None = None) -> Curve:
    """Mean rate and SI-SDR, or those of one clip, where the rate rises."""
    pairs = [
        (p.kbps.mean, p.metrics["si_sdr"].mean)
        if clip is None
        else (p.per_clip[clip]["kbps"], p.per_clip[clip]["si_sdr"])
        for p in points
    ]
    rising: list[tuple[float, float]] = []
    for rate, quality in sorted(pairs):
        if not rising or rate > rising[-1][0]:
            rising.append((rate, quality))
    return Curve(*zip(*rising, strict=True))


def at(points: Sequence[Point], kbps: Sequence[float], clip: int | None = None) -> list[float]:
    """SI-SDR at given rates, NaN beyond the curve."""
    rates, quality = curve(points, clip)
    value = monotone_cubic(np.asarray(rates), np.asarray(quality))(np.asarray(kbps))
    return [float(v) if rates[0] <= k <= rates[-1] else math.nan for k, v in zip(kbps, value, strict=True)]


def compared(variable: Sequence[Point], constant: Sequence[Point]) -> dict[str, object]:
    """Gains in decibels at shares of the full rate: of the mean curves, and with an interval over clips."""
    full = max(p.kbps.mean for p in constant)
    rows: dict[str, object] = {}
    for share in (*LOW_SHARES, *SHARES):
        kbps = [share * full]
        gain = at(variable, kbps)[0] - at(constant, kbps)[0]
        clips = [at(variable, kbps, clip)[0] - at(constant, kbps, clip)[0] for clip in range(len(constant[0].per_clip))]
        found = np.array([value for value in clips if not math.isnan(value)])
        half = 1.96 * found.std(ddof=1) / math.sqrt(len(found)) if len(found) > 1 else math.nan
        rows[f"{share:g}"] = {
            "kbps": kbps[0],
            "gain": _known(gain),
            "clips": len(found),
            "clip_gain": float(found.mean()) if len(found) else None,
            "half_interval": _known(float(half)),
        }
    return rows


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    order = [(name, seed) for seed in range(arguments.seeds) for name in ("constant", "smooth 1")]
    order += [(name, 0) for name in SURROGATES if name != "smooth 1"]
    rows: list[dict[str, object]] = []
    folders = {
        (name, seed): folder
        for name, seed in order
        if (folder := trained(name, seed, arguments.data, only_there=arguments.measure)) is not None
    }
    for packed in (True, False):
        points = {key: measured(folder, arguments.data, packed=packed) for key, folder in folders.items()}
        for (name, seed), found in points.items():
            rates, quality = curve(found)
            row: dict[str, object] = {
                "coding": "packed" if packed else "range-coded",
                "name": name,
                "seed": seed,
                "kbps": rates,
                "si_sdr": quality,
            }
            if name != "constant" and ("constant", seed) in points:
                row["gain"] = compared(found, points["constant", seed])
            if name != "clamp" and ("clamp", seed) in points:
                row["bd_rate_to_clamp"] = bd_rate(curve(points["clamp", seed]), Curve(rates, quality))
            rows.append(row)
            print(row, flush=True)
    print(f"wrote {write('audio_variable', rows, steps=STEPS)}")


if __name__ == "__main__":
    main()
