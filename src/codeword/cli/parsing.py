"""Arguments to verbs; what does not fit is one line that names the nearest thing that does."""

import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr
from difflib import get_close_matches
from functools import reduce
from operator import or_
from typing import Annotated, Any, Protocol, get_type_hints, runtime_checkable

import tyro

from codeword import __version__
from codeword.cli.complexity import Complexity
from codeword.cli.compress import Compress
from codeword.cli.data import CheckData, DataStatistics
from codeword.cli.decode import Decode
from codeword.cli.decompress import Decompress
from codeword.cli.demo import Demo
from codeword.cli.encode import Encode
from codeword.cli.evaluate import EvaluateAudio, EvaluateImage, EvaluateVectors
from codeword.cli.export import ExportAudio
from codeword.cli.extract import Extract
from codeword.cli.finetune import EvaluateClassifier, Finetune
from codeword.cli.index import Index
from codeword.cli.inspect import Inspect
from codeword.cli.pretrain import Pretrain
from codeword.cli.probe import Probe
from codeword.cli.recipes import Recipes
from codeword.cli.search import Search
from codeword.cli.tokens import EvaluateTokens, Tokens
from codeword.cli.train import TrainAudio, TrainImage, TrainSpeech, TrainVectors

VERBS = {
    "train vectors": TrainVectors,
    "train audio": TrainAudio,
    "train image": TrainImage,
    "train speech": TrainSpeech,
    "pretrain": Pretrain,
    "finetune": Finetune,
    "probe": Probe,
    "extract": Extract,
    "tokens": Tokens,
    "compress": Compress,
    "decompress": Decompress,
    "encode": Encode,
    "decode": Decode,
    "index": Index,
    "search": Search,
    "evaluate vectors": EvaluateVectors,
    "evaluate audio": EvaluateAudio,
    "evaluate image": EvaluateImage,
    "evaluate tokens": EvaluateTokens,
    "evaluate classifier": EvaluateClassifier,
    "inspect": Inspect,
    "data check": CheckData,
    "data statistics": DataStatistics,
    "export audio": ExportAudio,
    "recipes": Recipes,
    "complexity": Complexity,
    "demo": Demo,
}
_BOX = "│╭╮╰╯ "


@runtime_checkable
class Verb(Protocol):
    """What a command line stands for."""

    def run(self) -> None:
        """Do it."""
        ...


def parse(arguments: Sequence[str]) -> Verb | None:
    """The verb that arguments ask for; ``None`` where the answer has been printed already.

    Raises:
        ValueError: If they fit no verb.
        SystemExit: With 0, after help was printed.
    """
    first, *rest = arguments or [""]
    for verb, kind in VERBS.items():
        words = verb.split()
        if list(arguments[: len(words)]) == words:
            rest = arguments[len(words) :]
            _check_flags(verb, rest)
            return _parsed(kind, f"codeword {verb}", rest)
    kinds = {verb.split()[1]: kind for verb, kind in VERBS.items() if verb.startswith(f"{first} ")}
    if kinds:
        if rest[:1] in (["-h"], ["--help"]):
            return _parsed(_subcommands(kinds), f"codeword {first}", ["--help"])
        given = f"{rest[0]!r}{_perhaps(rest[0], kinds)}" if rest else "nothing"
        raise ValueError(f"codeword {first} takes {' or '.join(kinds)}, got {given}")
    if first == "--version":
        print(f"codeword {__version__}")
        return None
    if first in ("-h", "--help"):
        return _parsed(_subcommands(VERBS), "codeword", ["--help"])
    if not first:
        raise ValueError(f"a command is needed: {', '.join(VERBS)}; codeword --help says what they do")
    known = [*(verb.split()[0] for verb in VERBS), "--version", "--help"]
    raise ValueError(f"there is no command {first!r}{_perhaps(first, known)}: codeword --help lists all")


def _subcommands(verbs: Mapping[str, Any]) -> Any:
    return reduce(or_, [Annotated[verb, tyro.conf.subcommand(name)] for name, verb in verbs.items()])


def _parsed(kind: Any, program: str, arguments: Sequence[str]) -> Verb:
    complaint = io.StringIO()
    about = f"Learn discrete codes by vector quantization, store them, search in them. Version {__version__}."
    try:
        with redirect_stderr(complaint):
            return tyro.cli(
                kind,
                prog=program,
                description=about if program == "codeword" else None,
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    raise ValueError(f"{_summary(complaint.getvalue())}; see {program} --help")


def _check_flags(verb: str, arguments: Iterable[str]) -> None:
    hints = get_type_hints(VERBS[verb], include_extras=True)
    named = [name for name, hint in hints.items() if tyro.conf.Positional not in getattr(hint, "__metadata__", ())]
    names = [name.replace("_", "-") for name in named]
    known = [f"--{name}" for name in names]
    for argument in arguments:
        flag = argument.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in (*known, "--help", *(f"--no-{name}" for name in names)):
            raise ValueError(f"{verb} has no option {flag}{_perhaps(flag, known)}: see codeword {verb} --help")


def _perhaps(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), n=1)
    return f", perhaps {near[0]}" if near else ""


def _summary(box: str) -> str:
    """The first paragraph of what tyro prints in a box: a title, then paragraphs between rules."""
    lines = [line.strip(_BOX) for line in box.splitlines()]
    lines = [line for line in lines if line][1:]
    if lines and _is_rule(lines[0]):
        lines = lines[1:]
    end = next((place for place, line in enumerate(lines) if _is_rule(line)), len(lines))
    text = " ".join(" ".join(lines[:end]).replace("(required)", "").split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _is_rule(line: str) -> bool:
    return set(line) <= {"─", "-"}
