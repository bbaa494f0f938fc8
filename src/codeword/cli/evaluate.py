"""``codeword evaluate vectors``, ``codeword evaluate audio`` and ``codeword evaluate image``."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from codeword.cli.common import (
    Column,
    DataFile,
    ModelFolder,
    OptionalCount,
    OptionalPath,
    check_output,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from codeword.codecs.audio.choice import RateChoice
    from codeword.evaluation.audio_results import AudioEvaluation

_OWN = ("si_sdr", "sdr", "mel", "stft", "waveform")
_WHOLE = 0.0  # seconds that stand for all of a recording
_BD_RATE = "BD-rate: bits for equal quality, less is better; none where curves share no quality or do not rise"


@dataclass(frozen=True)
class EvaluateVectors:
    """Report what a model loses on a matrix of vectors, and how it uses its codebooks."""

    model: ModelFolder
    """Folder of a trained model."""
    data: DataFile
    """Matrix of vectors the model has not seen."""
    column: Column = None
    """Column of a Parquet file, or array of an .npz file."""

    def run(self) -> None:
        """Encode, decode, print."""
        from codeword.evaluation.vectors import evaluate

        with progress_bar("encoding") as progress:
            report = evaluate(self.model, self.data, column=self.column, progress=progress)
        print(report.table())


@dataclass(frozen=True)
class EvaluateAudio:
    """Measure rate and quality of an audio model on recordings, perhaps beside other codecs.

    Rates are those of whole files, means over recordings with their 95 % confidence interval.
    """

    model: ModelFolder
    """Folder of an audio model."""
    recordings: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="RECORDINGS")]]
    """Folder of audio that the model has not seen, a CSV manifest with a column path, or one file."""
    scales: tuple[float, ...] = ()
    """Scales to measure; with no scales, levels and kbps given, a usual set of scales and levels."""
    levels: tuple[int, ...] = ()
    """Constant depths to measure."""
    kbps: tuple[float, ...] = ()
    """Rates to aim at."""
    metrics: tuple[str, ...] = _OWN
    """Of si_sdr, sdr, weighted_snr, mel, stft, waveform; with the extra metrics also pesq, stoi, estoi, visqol,
    visqol_speech."""
    peers: tuple[str, ...] = ()
    """Of opus, aac, mp3, lc3, codec2, amr-wb, or all; those that are not installed are named and left out."""
    peer_kbps: tuple[float, ...] = ()
    """Rates whose nearest ones of every peer are measured: unset, all that a peer has."""
    packed: bool = False
    """Pack codes at fixed width, although the model has entropy tables."""
    clips: OptionalCount = None
    """How many recordings, spread evenly over all: unset, all."""
    seconds: float = 10.0
    """The longest part of each, from its middle; 0: all of it."""
    split: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="(optional)")] = None
    """Only recordings of this split of a manifest."""
    root: OptionalPath = None
    """Folder that the paths of a manifest start from."""
    out: OptionalPath = None
    """JSON file for all results."""
    report: OptionalPath = None
    """Page with curves, players and spectrograms, .html, in one file."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        """Measure, print, write."""
        from codeword.cli.kinds import kind_of_model
        from codeword.codecs.audio.codec import AudioCodec
        from codeword.codecs.speech.codec import SpeechCodec
        from codeword.evaluation.audio import AudioMeasures, evaluate
        from codeword.evaluation.audio_peers import PEERS
        from codeword.evaluation.audio_recordings import Selection, open_recordings
        from codeword.evaluation.audio_report import write_report

        for path in (self.out, self.report):
            if path is not None:
                check_output(path, overwrite=self.overwrite, inputs=(self.model, self.recordings))
        measures = AudioMeasures(
            rates=self._rates(),
            metrics=self.metrics,
            peers=tuple(PEERS) if self.peers == ("all",) else self.peers,
            peer_kbps=self.peer_kbps,
        )
        longest = None if self.seconds == _WHOLE else self.seconds
        selection = Selection(clips=self.clips, seconds=longest, split=self.split)
        speech = kind_of_model(self.model) == "speech"
        if speech and self.packed:
            raise ValueError("--packed is not for a codec of speech, whose codes have tables always: leave it out")
        codec = SpeechCodec.open(self.model) if speech else AudioCodec.open(self.model)
        if isinstance(codec, AudioCodec) and self.packed:
            codec = AudioCodec(codec.model)
        recordings = open_recordings(self.recordings, codec.sample_rate, selection, root=self.root)
        with progress_bar("evaluating", unit=" s") as progress:
            found = evaluate(
                codec, recordings, measures, command=command_of(self, "audio", "model", "recordings"), progress=progress
            )
        if self.out is not None:
            found.write(self.out)
        _print(found)
        if self.report is not None:
            write_report(found, codec, recordings, self.report)

    def _rates(self) -> "tuple[RateChoice, ...]":
        from codeword.codecs.rates import Kbps, Levels, Scale

        return (*map(Scale, self.scales), *map(Levels, self.levels), *map(Kbps, self.kbps))


@dataclass(frozen=True)
class EvaluateImage:
    """Measure rate and quality of an image model on images, perhaps beside JPEG and WebP.

    Rates are those of whole files; what is measured was written to a file and read back.
    """

    model: ModelFolder
    """Folder of an image model."""
    images: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="IMAGES")]]
    """Folder of images or any other data set of them; what is for training or validation is left out."""
    scales: tuple[float, ...] = ()
    """Scales to measure; with no scales, levels and bpp given, a usual set of scales and levels."""
    levels: tuple[int, ...] = ()
    """Constant depths to measure."""
    bpp: tuple[float, ...] = ()
    """Bits per pixel to aim at."""
    peers: tuple[str, ...] = ()
    """Of jpeg and webp, or all."""
    packed: bool = False
    """Pack codes at fixed width, although the model has entropy tables."""
    items: OptionalCount = None
    """How many images, spread evenly over all: unset, all."""
    longest: OptionalCount = None
    """Reduce larger images to about so many pixels, by whole numbers: unset, never."""
    out: OptionalPath = None
    """JSON file for all results."""
    report: OptionalPath = None
    """Page with curves, images, errors and codes, .html, in one file."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        """Measure, print, write."""
        from codeword.codecs.image.codec import BitsPerPixel, ImageCodec
        from codeword.codecs.rates import Levels, Scale
        from codeword.evaluation.image import PEERS, evaluate
        from codeword.evaluation.image_pictures import open_pictures
        from codeword.evaluation.image_report import write_report
        from codeword.evaluation.machine import machine

        for name in ("items", "longest"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name} is 1 or more, got {value}")
        for path in (self.out, self.report):
            if path is not None:
                check_output(path, overwrite=self.overwrite, inputs=(self.model, self.images))
        codec = ImageCodec.open(self.model)
        if self.packed:
            codec = ImageCodec(codec.model)
        channels = 1 if codec.model.channels == 1 else None
        pictures = open_pictures(self.images, channels, items=self.items, longest=self.longest)
        with progress_bar("evaluating", unit=" images") as progress:
            found = evaluate(
                codec,
                pictures,
                rates=(*map(Scale, self.scales), *map(Levels, self.levels), *map(BitsPerPixel, self.bpp)),
                peers=PEERS if self.peers == ("all",) else self.peers,
                command=command_of(self, "image", "model", "images"),
                machine=machine(("torch", "numpy", "pillow")),
                progress=progress,
            )
        found = replace(found, skipped=(*pictures.skipped, *found.skipped))
        if self.out is not None:
            found.write(self.out)
        figures = found.figures()
        print_titled({f"{len(found.images)} images": figures.rows(), _BD_RATE: figures.bd_rows()})
        if found.skipped:
            print(f"{len(found.skipped)} images were left out, such as: {found.skipped[0]}")
        if self.report is not None:
            write_report(found, codec, pictures.some(), self.report)


def command_of(verb: object, kind: str, *positional: str) -> str:
    """The options that say what was measured."""
    words = ["codeword", "evaluate", kind, *(str(getattr(verb, name)) for name in positional)]
    for field in fields(verb):  # pyrefly: ignore[bad-argument-type]
        value = getattr(verb, field.name)
        if field.name in (*positional, "out", "report", "overwrite") or value == field.default:
            continue
        words.append("--" + field.name.replace("_", "-"))
        if value is not True:
            words += map(str, value if isinstance(value, tuple) else (value,))
    return shlex.join(words)


def print_titled(tables: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Tables with more than a title line, each under its heading."""
    for title, rows in tables.items():
        if len(rows) > 1:
            print(title)
            print_table(rows)
            print()


def _print(found: "AudioEvaluation") -> None:
    from codeword.evaluation.audio_figures import figures
    from codeword.evaluation.audio_table import code_rows

    told, seconds = figures(found), sum(clip.seconds for clip in found.clips)
    tables = {
        f"recordings: {len(found.clips)}, {seconds:.0f} seconds in one channel at {found.sample_rate} Hz": told.rows(),
        "share of frames that spend each level, and perplexity over size of their codes": code_rows(found),
        _BD_RATE: told.bd_rows(),
    }
    print_titled(tables)
    for peer in found.peers_absent:
        print(f"not measured: {peer}")
    if found.skipped:
        print(f"{len(found.skipped)} recordings were left out, such as: {found.skipped[0]}")
