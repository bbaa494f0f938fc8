"""What an evaluation of an audio model found: points of rate and quality, as JSON and back."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from codeword.evaluation.intervals import Interval
from codeword.formats.atomic import atomic_write

_VERSION = 1

Kind = Literal["variable", "constant", "lines", "peer"]


class ClipInfo(NamedTuple):
    """What was coded.

    Attributes:
        name: The file, within its folder; with ``@`` and the second where a part of it begins.
        seconds: Length.
    """

    name: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Point:
    """One system at one setting, over all clips.

    Attributes:
        system: ``codeword``, or the name of a peer, such as ``opus``.
        setting: What was asked for, such as ``scale=8``, ``levels=4`` or ``6 kbps``.
        kind: ``variable`` or ``constant`` depth of our own model, ``lines`` of a model of speech, or ``peer``.
        kbps: Of the files, all of their bytes counted.
        metrics: By the names of ``METRICS``; left out where no clip has a value.
        per_clip: For every clip, ``kbps`` and the metrics that are defined for it; in the order of the clips.
        usage: Of every level, perplexity over size of the codes that are in the files, 0 where there are none; of our
            own model only.
        depths: Share of the frames that have 1 level, 2 levels ...; of our own model only.
        mean_levels: Levels of a frame, on the average; of our own model only.
        depth_share: Part of the files' bytes that say how deep frames are; of our own model only.
    """

    system: str
    setting: str
    kind: Kind
    kbps: Interval
    metrics: dict[str, Interval]
    per_clip: tuple[dict[str, float], ...]
    usage: tuple[float, ...] | None = None
    depths: tuple[float, ...] | None = None
    mean_levels: float | None = None
    depth_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class AudioEvaluation:
    """A model, and perhaps its peers, on a set of recordings.

    Attributes:
        model: Fingerprint of the model.
        sample_rate: Samples per second at which signals are compared, those of the model.
        levels: Codebooks of the model.
        clips: What was coded.
        points: Of the model with variable depth, then with constant depth, then of every peer; each from few bits to
            many.
        peers_absent: Peers that were asked for and not measured, with the reason in brackets.
        command: How to do it again.
        machine: Processor, threads and versions.
        skipped: Recordings that were left out, and why.
    """

    model: str
    sample_rate: int
    levels: int
    clips: tuple[ClipInfo, ...]
    points: tuple[Point, ...]
    peers_absent: tuple[str, ...] = ()
    command: str = ""
    machine: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    def to_json(self) -> str:
        """As text; NaN and infinity are nowhere in it."""
        content: dict[str, Any] = {"version": _VERSION, **asdict(self)}
        content["clips"] = [clip._asdict() for clip in self.clips]
        for point, told in zip(self.points, content["points"], strict=True):
            told["kbps"] = point.kbps._asdict()
            told["metrics"] = {name: value._asdict() for name, value in point.metrics.items()}
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "AudioEvaluation":
        """Undo :meth:`to_json`.

        Raises:
            ValueError: If it is no such text.
        """
        try:
            content = json.loads(text)
            version = content.pop("version")
            if version != _VERSION:
                raise ValueError(f"version {version}, this codeword reads version {_VERSION}")
            clips = tuple(ClipInfo(**clip) for clip in content.pop("clips"))
            points = tuple(_point(told) for told in content.pop("points"))
            lists: dict[str, Any] = {name: tuple(content.pop(name)) for name in ("peers_absent", "skipped")}
            return cls(**content, **lists, clips=clips, points=points)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"this is no evaluation of an audio model: {error}") from error

    def write(self, path: Path) -> None:
        """Write a JSON file."""
        with atomic_write(path) as file:
            file.write(self.to_json().encode())

    @classmethod
    def read(cls, path: Path) -> "AudioEvaluation":
        """Read a JSON file.

        Raises:
            ValueError: In one line that names the file, if it is another kind of file.
        """
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _point(told: dict[str, Any]) -> Point:
    own: dict[str, Any] = {
        "kbps": Interval(**told["kbps"]),
        "metrics": {name: Interval(**value) for name, value in told["metrics"].items()},
        "per_clip": tuple(told["per_clip"]),
    }
    for name in ("usage", "depths"):
        own[name] = None if told[name] is None else tuple(told[name])
    return Point(**{**told, **own})
