"""``codeword evaluate vectors`` and ``codeword evaluate audio``."""

import shlex
from dataclasses import dataclass, fields
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
    """Of si_sdr, sdr, mel, stft, waveform; with the extra metrics also pesq, stoi, estoi, visqol, visqol_speech."""
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
        from codeword.codecs.audio.codec import AudioCodec
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
        codec = AudioCodec.open(self.model)
        if self.packed:
            codec = AudioCodec(codec.model)
        recordings = open_recordings(self.recordings, codec.model.sample_rate, selection, root=self.root)
        with progress_bar("evaluating", unit=" s") as progress:
            found = evaluate(codec, recordings, measures, command=self._command(), progress=progress)
        if self.out is not None:
            found.write(self.out)
        _print(found)
        if self.report is not None:
            write_report(found, codec, recordings, self.report)

    def _rates(self) -> "tuple[RateChoice, ...]":
        from codeword.codecs.audio.choice import Kbps
        from codeword.codecs.rates import Levels, Scale

        return (*map(Scale, self.scales), *map(Levels, self.levels), *map(Kbps, self.kbps))

    def _command(self) -> str:
        """The options that say what was measured."""
        words = ["codeword", "evaluate", "audio", str(self.model), str(self.recordings)]
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("model", "recordings", "out", "report", "overwrite") or value == field.default:
                continue
            words.append("--" + field.name.replace("_", "-"))
            if value is not True:
                words += map(str, value if isinstance(value, tuple) else (value,))
        return shlex.join(words)


def _print(found: "AudioEvaluation") -> None:
    from codeword.evaluation.audio_figures import quality_rows, rate_rows
    from codeword.evaluation.audio_table import code_rows

    seconds = sum(clip.seconds for clip in found.clips)
    tables = {
        f"{len(found.clips)} recordings, {seconds:.0f} seconds in one channel at {found.sample_rate} Hz": quality_rows(
            found
        ),
        "share of frames that spend each level, and perplexity over size of their codes": code_rows(found),
        "BD-rate: bits for equal quality, less is better; none where curves share no quality or do not rise": rate_rows(
            found
        ),
    }
    for title, rows in tables.items():
        if len(rows) > 1:
            print(title)
            print_table(rows)
            print()
    for peer in found.peers_absent:
        print(f"not measured: {peer}")
    if found.skipped:
        print(f"{len(found.skipped)} recordings were left out, such as: {found.skipped[0]}")
