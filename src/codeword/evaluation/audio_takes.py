"""Some recordings of an evaluation at some of its rates, cut to what one listens to."""

import math
from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from codeword.codecs.audio.choice import RateChoice
from codeword.codecs.rates import Kbps, Levels, Scale
from codeword.codecs.speech.codec import SpeechCodec
from codeword.evaluation.audio_figures import name
from codeword.evaluation.audio_listening import SoundCodec, hear_speech, listen
from codeword.evaluation.audio_peers import PEERS
from codeword.evaluation.audio_recordings import Recordings
from codeword.evaluation.audio_results import AudioEvaluation, Point
from codeword.evaluation.audio_scores import LATEST_SECONDS
from codeword.evaluation.players import Comparison, Take, flac
from codeword.metrics.audio import align

RECORDINGS, VARIABLE, PEERS_HEARD = 3, 4, 2  # how many are heard
_LONGEST = 6.0  # seconds of an excerpt
_BYTES = 5_500_000  # of sound if versions took what the originals do; text takes a third more
_PARTS = 10  # steps of the search for the loudest excerpt, in an excerpt


def comparisons(evaluation: AudioEvaluation, codec: SoundCodec, recordings: Recordings) -> Iterator[Comparison]:
    """Excerpts of up to three recordings, as they were and as they come back at some of the rates.

    Whole recordings are coded, as the evaluation did it; then the loudest seconds are cut out of all versions.

    Args:
        evaluation: Whose rates are taken.
        codec: The model.
        recordings: Those of the evaluation.
    """
    points = chosen_points(evaluation)
    known = {clip.name for clip in evaluation.clips}
    numbers = [number for number in range(len(recordings)) if recordings.info(number).name in known]
    places = [numbers[place] for place in spread(len(numbers), RECORDINGS)]
    rate, hop = codec.sample_rate, codec.model.hop
    signals = {number: recordings.read(number) for number in places}
    seconds = _seconds(list(signals.values()), rate, 1 + len(points))
    for number, signal in signals.items():
        start = hop * (loudest(signal, round(seconds * rate)) // hop)
        stop = min(start + hop * round(seconds * rate / hop), len(signal))
        original = Take("Original", f"{16 * rate / 1000:g} kbps as samples of 16 bits", signal[start:stop], None)
        takes = [_take(codec, signal, point, slice(start, stop)) for point in points]
        detail = f"{(stop - start) / rate:.1f} seconds from {start / rate:.1f} s on"
        yield Comparison(recordings.info(number).name, detail, (original, *takes))


def chosen_points(evaluation: AudioEvaluation) -> list[Point]:
    """Points to listen to, from few bits to many.

    Variable depth from the lowest rate to the highest, constant depth at the rates next to those in between, and of
    two peers the rate next to the model's highest.
    """
    kinds = ("variable", "constant", "lines")
    ours = {kind: [point for point in evaluation.points if point.kind == kind] for kind in kinds}
    most = ours["variable"] or ours["constant"] or ours["lines"]
    found = [most[place] for place in spread(len(most), VARIABLE)]
    if ours["variable"]:
        found += [_nearest(ours["constant"], point) for point in found[1:-1] if ours["constant"]]
    systems = list(dict.fromkeys(point.system for point in evaluation.points if point.kind == "peer"))
    highest = most[-1:]
    for system in systems[:PEERS_HEARD]:
        theirs = [point for point in evaluation.points if point.system == system]
        found += [_nearest(theirs, point) for point in highest]
    distinct = {(point.system, point.setting): point for point in found}
    return sorted(distinct.values(), key=lambda point: point.kbps.mean)


def spread(count: int, most: int) -> list[int]:
    """Places among so many, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(number * (count - 1) / (most - 1)) for number in range(most)]


def loudest(signal: Float[Tensor, " time"], length: int) -> int:
    """Where the stretch of so many samples with the most energy begins, to a tenth of its length."""
    step = -(-length // _PARTS)
    energy = F.pad(signal.double().square(), (0, -len(signal) % step)).view(-1, step).sum(1)
    if len(signal) <= length:
        return 0
    return min(int(energy.unfold(0, _PARTS, 1).sum(1).argmax()) * step, len(signal) - length)


def _seconds(signals: Sequence[Float[Tensor, " time"]], rate: int, versions: int) -> float:
    """How long excerpts may be, so that all versions of all signals keep to the bytes."""
    longest = round(_LONGEST * rate)
    excerpts = [signal[(start := loudest(signal, longest)) : start + longest] for signal in signals]
    num_bytes = versions * sum(len(flac(excerpt, rate)) for excerpt in excerpts)
    return _LONGEST * min(1.0, _BYTES / max(num_bytes, 1))


def _nearest(points: Sequence[Point], to: Point) -> Point:
    return min(points, key=lambda point: abs(math.log(point.kbps.mean / to.kbps.mean)))


def _take(codec: SoundCodec, signal: Float[Tensor, " time"], point: Point, part: slice) -> Take:
    if point.kind == "peer":
        return _peer_take(signal, point, codec.sample_rate, part)
    if isinstance(codec, SpeechCodec):
        kbps = float(point.setting.removeprefix("kbps="))
        compressed, back = hear_speech(codec, signal, Kbps(kbps))
        return Take(f"{compressed.kbps:.2f} kbps, {name(point)}", f"asked for {kbps:g} kbps", back[part], None)
    (heard,) = listen(codec, signal, [_choice(point)])
    hop = codec.model.hop
    depths = heard.depths[part.start // hop : -(-part.stop // hop)]
    detail = f"{point.setting}, {depths.mean():.1f} levels a frame"
    return Take(f"{heard.kbps:.2f} kbps, {name(point)}", detail, heard.audio[part], depths)


def _peer_take(signal: Float[Tensor, " time"], point: Point, rate: int, part: slice) -> Take:
    """What a peer makes of a signal, its delay removed."""
    num_bytes, back = PEERS[point.system].code(signal, rate, float(point.setting.removesuffix(" kbps")))
    late = align(signal, back, round(LATEST_SECONDS * rate)).delay
    moved = F.pad(back, (max(-late, 0), 0))[max(late, 0) :]
    whole = F.pad(moved, (0, max(len(signal) - len(moved), 0)))
    title = f"{8e-3 * num_bytes * rate / len(signal):.2f} kbps, {name(point)}"
    return Take(title, f"asked for {point.setting}", whole[part], None)


def _choice(point: Point) -> RateChoice:
    kind, _, value = point.setting.partition("=")
    match kind:
        case "scale":
            return Scale(float(value))
        case "levels":
            return Levels(int(value))
        case _:
            return Kbps(float(value))
