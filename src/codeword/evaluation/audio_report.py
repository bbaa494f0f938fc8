"""The evaluation of an audio model as one HTML page that can be heard, looked at and read.

::

    AudioEvaluation ──► charts, tables ────────────────────────────────────┐
    recordings ──► coded at some rates ──► excerpts ──► players, pictures ─┴──► report.html
"""

from collections.abc import Sequence
from pathlib import Path

from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.speech.codec import SpeechCodec
from codeword.evaluation import audio_figures
from codeword.evaluation.audio_listening import SoundCodec
from codeword.evaluation.audio_recordings import Recordings
from codeword.evaluation.audio_results import AudioEvaluation
from codeword.evaluation.audio_takes import comparisons
from codeword.evaluation.page import Page
from codeword.evaluation.players import players

_LEFT_OUT = 5  # recordings that are named


def write_report(evaluation: AudioEvaluation, codec: SoundCodec, recordings: Recordings, target: Path) -> None:
    """Write the page, of less than 10 MB.

    Args:
        evaluation: What was measured.
        codec: The model that it was measured on.
        recordings: What it was measured with; a few are coded again, to be heard.
        target: The file.

    Raises:
        ValueError: If the evaluation is of another model.
    """
    if evaluation.model != codec.fingerprint:
        raise ValueError(f"the evaluation is of model {evaluation.model[:16]}, this is {codec.fingerprint[:16]}")
    page = Page("An audio codec, heard and measured", _subtitle(evaluation), assets=("players.css", "players.js"))
    page.facts(_speech_facts(codec) if isinstance(codec, SpeechCodec) else _facts(codec))
    _listening(page, evaluation, codec, recordings)
    _quality(page, evaluation)
    _levels(page, evaluation)
    _method(page, evaluation)
    page.write(target)


def _subtitle(evaluation: AudioEvaluation) -> str:
    seconds = sum(clip.seconds for clip in evaluation.clips)
    length = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"
    return (
        f"{len(evaluation.clips)} recording{'s' * (len(evaluation.clips) != 1)}, {length}. Rates are those of whole "
        "files, every byte counted; what is measured and heard was written to a file and read back."
    )


def _facts(codec: AudioCodec) -> list[tuple[str, str]]:
    model = codec.model
    quantizer = model.quantizer.quantizer
    facts = [
        ("Model", codec.fingerprint[:16]),
        ("Sample rate", f"{model.sample_rate / 1000:g} kHz"),
        ("Frames per second", f"{model.frame_rate:g}"),
        ("Levels", f"{model.levels} of {_sizes(quantizer.sizes)} codewords"),
        ("Codes of all levels", f"{model.bits_per_frame * model.frame_rate / 1000:.2f} kbps"),
        ("Depth of a frame", "constant" if model.importance is None else f"1 to {model.levels}, by importance"),
        ("Parameters", f"{sum(value.numel() for value in model.parameters()) / 1e6:.2f} million"),
        ("Networks", f"{type(model.layout).__name__.removesuffix('Layout').lower()}, {model.layout.padding}"),
        ("Codes in files", "packed" if codec.tables is None else "range-coded"),
    ]
    if model.importance is not None:
        least, most = model.quantizer.scales
        facts.insert(6, ("Scales", f"{least:g} to {most:g}"))
    return facts


def _speech_facts(codec: SpeechCodec) -> list[tuple[str, str]]:
    model, sizes = codec.model, codec.tables.sizes
    return [
        ("Model", codec.fingerprint[:16]),
        ("Sample rate", f"{codec.sample_rate / 1000:g} kHz"),
        ("Frames per second", f"{codec.sample_rate / model.hop:g}, of {model.hop} lines"),
        ("Envelope", f"{codec.tables.bands.count} bands, {len(sizes)} of {_sizes(sizes)} codewords"),
        ("Parameters", f"{sum(value.numel() for value in model.parameters()) / 1e6:.2f} million"),
        ("Codes in files", "range-coded"),
    ]


def _sizes(sizes: Sequence[int]) -> str:
    return " or ".join(str(size) for size in sorted(set(sizes)))


def _listening(page: Page, evaluation: AudioEvaluation, codec: SoundCodec, recordings: Recordings) -> None:
    page.heading("Listen")
    depths = "; under them stands how many levels every frame spends" if isinstance(codec, AudioCodec) else ""
    page.paragraph(
        "Starting another version goes on where the last one was, so that rates can be compared on one syllable; a "
        "click on a picture plays from there. Pictures are spectrograms, their brightness over 80 dB below the loudest "
        f"point of the original{depths}. Rates are those of the files."
    )
    model = codec.model
    for comparison in comparisons(evaluation, codec, recordings):
        page.fragment(players(comparison, sample_rate=model.sample_rate, hop=model.hop, levels=evaluation.levels))


def _quality(page: Page, evaluation: AudioEvaluation) -> None:
    figures = audio_figures.figures(evaluation)
    page.heading("Quality against rate")
    page.paragraph(
        "Means over recordings; bands are 95 % confidence intervals of the mean, after Student's t. Rates stand on a "
        "logarithmic axis. Pointing at a mark shows its numbers."
    )
    page.fragment(figures.charts())
    rows = figures.bd_rows()
    if rows:
        page.heading("Bits for the same quality")
        page.paragraph(
            "BD-rate: how many bits the model with variable depth needs beyond each other system, averaged over the "
            "qualities that both reach; negative is fewer. No number where curves do not overlap or do not rise."
        )
        page.table(rows)
    page.heading("All numbers")
    page.paragraph("Mean over recordings, and half the width of its 95 % confidence interval.")
    page.table(figures.rows())


def _levels(page: Page, evaluation: AudioEvaluation) -> None:
    lines = [point for point in evaluation.points if point.kind == "variable"] or [
        point for point in evaluation.points if point.kind == "constant"
    ]
    depths = [point for point in lines if point.depths is not None]
    usage = [point for point in lines if point.usage is not None]
    if depths:
        page.heading("Levels")
        page.paragraph(
            "The share of frames that spend each level, how many they spend on the average, and the part of the files "
            "that says so."
        )
        page.fragment(audio_figures.reached_table(depths, evaluation.levels))
    if usage:
        page.paragraph(
            "How evenly each level uses its codewords: perplexity over the size of the codebook. 1 is perfectly even. "
            "A level that few frames reach cannot be."
        )
        page.fragment(audio_figures.usage_table(usage, evaluation.levels))


def _method(page: Page, evaluation: AudioEvaluation) -> None:
    page.heading("How this was measured")
    machine = dict(evaluation.machine)
    versions = machine.pop("versions", {})
    more = f"; {len(evaluation.skipped) - _LEFT_OUT} more" if len(evaluation.skipped) > _LEFT_OUT else ""
    told = {
        "Command": evaluation.command,
        "Machine": ", ".join(f"{name} {value}" for name, value in machine.items()),
        "Versions": ", ".join(f"{name} {value}" for name, value in versions.items()),
        "Not measured": "; ".join(evaluation.peers_absent),
        "Left out": "; ".join(evaluation.skipped[:_LEFT_OUT]) + more,
    }
    page.facts([(name, value) for name, value in told.items() if value], wide=True)
