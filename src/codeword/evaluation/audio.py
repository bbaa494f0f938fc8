"""Rate and quality of an audio model on recordings, in the bytes of real files.

::

    clip ─► compress at every scale, depth and rate ─► .cw bytes ─► decompress ─► align ─► metrics ─► mean, interval
      └───► peers at their rates ────────────────────► files ────────────────────┘
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from codeword.codecs.audio.choice import RateChoice
from codeword.codecs.audio.codec import AudioCodec
from codeword.codecs.rates import Kbps, Levels, Scale
from codeword.codecs.speech.codec import SpeechCodec
from codeword.data.audio_errors import AudioError
from codeword.evaluation.audio_listening import SoundCodec, setting
from codeword.evaluation.audio_peers import PEERS, check_peers
from codeword.evaluation.audio_recordings import Recordings
from codeword.evaluation.audio_results import AudioEvaluation, ClipInfo
from codeword.evaluation.audio_scores import OWN_METRICS, Scorer
from codeword.evaluation.audio_tally import OwnTally, PeerTally, SpeechTally
from codeword.evaluation.machine import machine
from codeword.functional.threads import one_thread

_SCALES = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)  # in levels
_MANY = 8  # constant depths that are all measured
_SPEECH_KBPS = (8.0, 9.6, 13.2, 16.4, 24.4, 32.0)
_PACKAGES = ("codeword", "torch", "numpy", "soxr", "pesq", "pystoi", "visqol-python", "av")

Tally: TypeAlias = OwnTally | SpeechTally | PeerTally
Progress = Callable[[float, float | None], object]


@dataclass(frozen=True, kw_only=True)
class AudioMeasures:
    """What to measure.

    Attributes:
        rates: Settings of the model; by default those of :func:`usual_rates`.
        metrics: Names from ``METRICS`` in ``audio_scores``.
        peers: Names from ``PEERS`` in ``audio_peers``.
        peer_kbps: Rates whose nearest ones of every peer are measured; by default all that a peer has.
    """

    rates: tuple[RateChoice, ...] = ()
    metrics: tuple[str, ...] = OWN_METRICS
    peers: tuple[str, ...] = ()
    peer_kbps: tuple[float, ...] = ()


def usual_rates(codec: SoundCodec) -> tuple[RateChoice, ...]:
    """Scales from half to four times the levels, if depth varies, and constant depths: all, or every other of many.

    Of the codec for speech, the rates of the NSVQ paper.
    """
    if isinstance(codec, SpeechCodec):
        return tuple(map(Kbps, _SPEECH_KBPS))
    levels = codec.model.levels
    depths = range(1, levels + 1) if levels <= _MANY else sorted({1, *range(2, levels, 2), levels})
    constant = tuple(Levels(depth) for depth in depths)
    if codec.model.importance is None:
        return constant
    least, most = codec.model.quantizer.scales
    scales = sorted({min(max(share * levels, least), most) for share in _SCALES})
    return (*(Scale(scale) for scale in scales), *constant)


def evaluate(
    codec: SoundCodec,
    recordings: Recordings,
    measures: AudioMeasures | None = None,
    *,
    command: str = "",
    progress: Progress | None = None,
) -> AudioEvaluation:
    """Measure a model, and peers, on recordings of one channel.

    Args:
        codec: The model; files are packed if it comes without tables.
        recordings: Opened at its sample rate.
        measures: What to measure.
        command: How to do it again, to be written down.
        progress: Called with the seconds of audio done, and all seconds.

    Raises:
        ValueError: In one line: a setting does not suit the model, a package is missing, nothing can be read.
    """
    measures = measures or AudioMeasures()
    rates, rate = measures.rates or usual_rates(codec), codec.sample_rate
    check_peers(measures.peers)
    lacking = {name: PEERS[name].lacks() for name in measures.peers if PEERS[name].route() is None}
    there = [name for name in dict.fromkeys(measures.peers) if name not in lacking]
    tallies = _own(codec, rates)
    tallies += [
        PeerTally(name, PEERS[name], kbps, rate)
        for name in there
        for kbps in PEERS[name].rates_near(measures.peer_kbps)
    ]
    clips, unread = _measure(recordings, tallies, Scorer(measures.metrics, rate), progress)
    places = {name: place for place, name in enumerate(("variable", "constant", "lines", *there))}
    points = [tally.point() for tally in tallies if not tally.failure]
    points.sort(key=lambda point: (places[point.system if point.kind == "peer" else point.kind], point.kbps.mean))
    return AudioEvaluation(
        model=codec.fingerprint,
        sample_rate=rate,
        levels=len(codec.tables.sizes) if isinstance(codec, SpeechCodec) else codec.model.levels,
        clips=clips,
        points=tuple(points),
        peers_absent=(
            *(f"{name} (no {what})" for name, what in lacking.items()),
            *(tally.failure for tally in tallies if tally.failure),
        ),
        command=command,
        machine=machine(_PACKAGES),
        skipped=(*recordings.skipped, *unread),
    )


def _own(codec: SoundCodec, rates: Sequence[RateChoice]) -> list[Tally]:
    tallies: list[Tally] = []
    for rate in rates:
        if isinstance(codec, AudioCodec):
            codec.check_rate(rate)
            tallies.append(OwnTally(codec, rate))
        elif isinstance(rate, Kbps):
            codec.check_rate(rate)
            tallies.append(SpeechTally(codec, rate))
        else:
            raise ValueError(f"a codec for speech is asked for rates in kbps, got {setting(rate)}")
    return tallies


def _measure(
    recordings: Recordings, tallies: Sequence[Tally], scorer: Scorer, progress: Progress | None
) -> tuple[tuple[ClipInfo, ...], tuple[str, ...]]:
    """The clips that every tally was given, and why others could not be read."""
    infos = [recordings.info(number) for number in range(len(recordings))]
    total, done = sum(info.seconds for info in infos), 0.0
    clips: list[ClipInfo] = []
    unread: list[str] = []
    for number, info in enumerate(infos):
        try:
            signal = recordings.read(number)
        except AudioError as error:
            unread.append(str(error))
            continue
        for part, tally in enumerate(tallies, 1):
            if not tally.failure:
                with one_thread():
                    tally.add(signal, scorer)
            if progress is not None:
                progress(done + info.seconds * part / len(tallies), total)
        done += info.seconds
        clips.append(info)
    if not clips:
        raise AudioError(f"there is nothing to evaluate on: {'; '.join(unread[:3])}")
    return tuple(clips), tuple(unread)
