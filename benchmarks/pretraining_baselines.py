"""What simple features reach on the sets of ``benchmarks.pretraining_data``: figures for a frozen encoder to beat.

Sounds: 24 mel-frequency cepstral coefficients, their mean and deviation in each of four equal parts of a sound, and a
support vector machine, or for the many phones a perceptron of one layer. Videos: the pixels of single frames, which
must be at chance, and two measures of change.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.pretraining_files import RATE, read_sound, read_table
from benchmarks.pretraining_sprites import FRAMES
from benchmarks.record import write
from codeword.data.video_files import ClipConfig, read_clip
from codeword.functional.filterbank import MelConfig, log_mel

_COEFFICIENTS, _PARTS = 24, 4
_MEL = MelConfig(bins=40)
_FINE = MelConfig(bins=40, shift_ms=5.0)  # phones are short
_AROUND = 0.04  # seconds
_REACH = 4  # pixels that a picture may move from frame to frame

Row = dict[str, object]
Model = Callable[[], ClassifierMixin]


def cepstra(audio: np.ndarray, mel: MelConfig) -> Float[np.ndarray, "frames coefficients"]:
    """Cosine transform (DCT-II, orthonormal) of log-mel frames."""
    padded = np.pad(audio, (0, max(mel.frame_samples - len(audio), 0))).astype(np.float32)
    frames = log_mel(torch.from_numpy(padded)[None], RATE, mel)[0].numpy()
    place = np.pi / mel.bins * np.outer(np.arange(mel.bins) + 0.5, np.arange(_COEFFICIENTS))
    return frames @ (np.cos(place) * np.where(np.arange(_COEFFICIENTS), 1.0, math.sqrt(0.5)) * math.sqrt(2 / mel.bins))


def loud(audio: np.ndarray) -> np.ndarray:
    """From the first to the last hundredth of a second that is less than 30 dB below the loudest."""
    step = RATE // 100
    power = np.square(audio[: len(audio) // step * step].reshape(-1, step)).mean(1)
    heard = np.flatnonzero(power > 1e-3 * power.max(initial=0))
    return audio[heard[0] * step : (heard[-1] + 1) * step] if len(heard) else audio


def in_parts(frames: Float[np.ndarray, "frames coefficients"], parts: int = _PARTS) -> np.ndarray:
    """Means and deviations of equal parts; of fewer frames than parts, some are in several."""
    count = len(frames)
    edges = [
        (place * count // parts, max((place + 1) * count // parts, place * count // parts + 1))
        for place in range(parts)
    ]
    return np.concatenate([value for a, b in edges for value in (frames[a:b].mean(0), frames[a:b].std(0))])


def score(task: str, features: str, labels: Sequence[str], predicted: Sequence[str], stated: float | None) -> Row:
    """A row of the table; chance is the share of the most frequent class."""
    row: Row = {
        "task": task,
        "features": features,
        "test": len(labels),
        "accuracy": round(float(accuracy_score(labels, predicted)), 4),
        "balanced": round(float(balanced_accuracy_score(labels, predicted)), 4),
        "chance": round(max(labels.count(one) for one in set(labels)) / len(labels), 4),
    }
    return row if stated is None else row | {"stated": stated}


def _whole(path: Path) -> np.ndarray:
    return in_parts(cepstra(loud(read_sound(path)), _MEL))


def _machine() -> ClassifierMixin:
    return make_pipeline(StandardScaler(), SVC(C=10.0))


def _perceptron() -> ClassifierMixin:
    return make_pipeline(StandardScaler(), MLPClassifier(256, early_stopping=True, n_iter_no_change=5, random_state=0))


def _linear() -> ClassifierMixin:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))


def _predicted(model: Model, values: np.ndarray, labels: Sequence[str], learns: np.ndarray) -> list[str]:
    return list(model().fit(values[learns], np.array(labels)[learns]).predict(values[~learns]))


def drums(data: Path, table: str, stated: float | None) -> Row:
    """Five folds, each predicted from the other four; all predictions together."""
    rows = read_table(data / "drums" / f"{table}.csv")
    values = np.stack([_whole(data / "drums" / row["path"]) for row in rows])
    truth: list[str] = []
    found: list[str] = []
    labels = [row["label"] for row in rows]
    for fold in sorted({row["split"] for row in rows}):
        learns = np.array([row["split"] != fold for row in rows])
        truth += [label for label, known in zip(labels, learns, strict=True) if not known]
        found += _predicted(_machine, values, labels, learns)
    return score(f"drums, {table}", "24 MFCC in 4 parts, RBF-SVM, 5 folds", truth, found, stated)


def initials(data: Path, stated: float) -> Row:
    """Learned from train and val."""
    rows = read_table(data / "initials" / "manifest.csv")
    values = np.stack([_whole(data / "initials" / row["path"]) for row in rows])
    return _tested("initials", "24 MFCC in 4 parts, RBF-SVM", rows, values, _machine, stated)


def phones(data: Path, around: float, stated: float | None) -> Row:
    """Learned from train and val; parts of each phone with so many seconds around it, and how long it is."""
    rows = read_table(data / "phones" / "manifest.csv")
    values: list[np.ndarray] = []
    sentence, frames, step = "", np.zeros((0, _COEFFICIENTS)), _FINE.shift_ms / 1000
    for row in rows:
        if row["path"] != sentence:
            sentence = row["path"]
            half = np.zeros(_FINE.frame_samples // 2, np.float32)  # so that frame n is around the time n steps
            frames = cepstra(np.concatenate((half, read_sound(data / "phones" / sentence), half)), _FINE)
        start, seconds = float(row["start"]), float(row["seconds"])
        first = min(max(round((start - around) / step), 0), len(frames) - 1)
        last = max(round((start + seconds + around) / step), first + 1)
        values.append(np.append(in_parts(frames[first:last]), math.log(seconds)))
    what = f"24 MFCC in 4 parts of the phone and {around * 1000:.0f} ms around it, length, MLP 256"
    return _tested("phones", what, rows, np.stack(values), _perceptron, stated)


def moving(data: Path, name: str) -> list[Row]:
    """Single frames at 16 x 16 pixels; how much changes where; how far the picture moves as a whole."""
    rows = read_table(data / name / "manifest.csv")
    small, changed, moved = [], [], []
    for row in rows:
        clip = read_clip(data / name / row["path"], ClipConfig(frames=FRAMES, stride=1)).frames.float() / 255
        coarse = torch.nn.functional.avg_pool2d(clip, 4)
        small.append(coarse[:, [0, FRAMES // 2, FRAMES - 1]].transpose(0, 1).flatten(1).numpy())
        changed.append(coarse.mean(0).diff(dim=0).abs().mean(0).flatten().numpy())
        moved.append(_correlation(clip.mean(0)))
    frames = np.stack(small, 1)
    tests = {
        "pixels of the first frame, linear": frames[0],
        "pixels of the middle frame, linear": frames[1],
        "pixels of the last frame, linear": frames[2],
        "mean change of every place, linear": np.stack(changed),
        "phase correlation of neighbouring frames, linear": np.stack(moved),
    }
    return [_tested(name, what, rows, values, _linear, None) for what, values in tests.items()]


def _correlation(frames: Float[torch.Tensor, "frames height width"]) -> np.ndarray:
    """Phase correlation of neighbouring frames within some pixels, mean over time."""
    spectra = torch.fft.fft2(frames - frames.mean((-2, -1), keepdim=True))
    cross = spectra[1:] * spectra[:-1].conj()
    peaks = torch.fft.ifft2(cross / cross.abs().clamp_min(1e-6)).real.mean(0)
    return torch.roll(peaks, (_REACH, _REACH), (0, 1))[: 2 * _REACH + 1, : 2 * _REACH + 1].flatten().numpy()


def _tested(
    task: str, features: str, rows: Sequence[dict[str, str]], values: np.ndarray, model: Model, stated: float | None
) -> Row:
    labels = [row["label"] for row in rows]
    learns = np.array([row["split"] != "test" for row in rows])
    truth = [label for label, known in zip(labels, learns, strict=True) if not known]
    return score(task, features, truth, _predicted(model, values, labels, learns), stated)


def measure(data: Path) -> Path:
    """All of them, into ``results/pretraining_baselines.json``."""
    rows = [
        drums(data, "manifest", 0.748),
        drums(data, "corrected", None),
        initials(data, 0.578),
        phones(data, 0.0, 0.840),
        phones(data, _AROUND, 0.840),
        *moving(data, "garments"),
        *moving(data, "sprites"),
    ]
    for row in rows:
        print(row)
    return write("pretraining_baselines", rows)
