"""Help, versions and typing errors."""

import subprocess
import sys
import warnings

import pytest

import codeword
from codeword.cli.errors import user_errors
from codeword.cli.parsing import VERBS
from codeword.pretraining.watch import CollapseWarning


def test_version(run):
    ran = run("--version")
    assert ran == (0, f"codeword {codeword.__version__}\n", "")


def test_help_names_every_verb(run):
    ran = run("--help")
    assert ran.code == 0
    assert not ran.err
    for verb in (
        "train vectors",
        "train audio",
        "compress",
        "decompress",
        "encode",
        "decode",
        "index",
        "search",
        "evaluate vectors",
        "evaluate audio",
        "export audio",
        "data check",
        "inspect",
        "complexity",
        "demo",
    ):
        assert verb in VERBS
        assert f"• {verb} " in ran.out or f"* {verb} " in ran.out


def test_help_of_training_names_what_can_be_trained(run):
    ran = run("train --help")
    assert ran.code == 0
    assert "vectors" in ran.out
    assert "audio" in ran.out


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_says_what_it_does_and_has_no_nameless_arguments(run, verb):
    ran = run(f"{verb} --help")
    assert ran.code == 0
    assert f"usage: codeword {verb}" in ran.out
    words = " ".join(ran.out.split())
    assert VERBS[verb].__doc__.split(":")[0][:40] in words
    assert "None" not in words  # an option that may be left out says so in words


def test_help_needs_no_torch():
    """It is what makes help fast; half a second is left to the machine."""
    program = "import sys, codeword.cli.parsing; sys.exit(any(m in sys.modules for m in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "a command is needed: train vectors, train audio, train image, train speech, pretrain, finetune, probe"),
        ("encod a b c", "there is no command 'encod', perhaps encode"),
        ("xyzzy", "there is no command 'xyzzy': codeword --help lists all"),
        ("--versio", "perhaps --version"),
        ("train vectors x.npy --out m --level 4", "train vectors has no option --level, perhaps --levels"),
        ("train vectors x.npy --out m --quantiser residual", "perhaps --quantizer"),
        ("train vectors x.npy --out m --stpes=3", "perhaps --steps"),
        ("search a b --outt c", "search has no option --outt, perhaps --out"),
        ("data statistics small-image --data b", "data statistics has no option --data: see"),
        ("decode a b c --salvag", "perhaps --salvage"),
        ("train vectors x.npy", "missing from codeword train vectors: --out MODEL"),
        ("train vectors x.npy --out", "missing value for argument '--out'"),
        (
            "train vector x.npy --out m",
            "codeword train takes vectors or audio or image or speech, got 'vector', perhaps vectors",
        ),
        ("train", "codeword train takes vectors or audio or image or speech, got nothing"),
        (
            "evaluate model x.npy",
            "codeword evaluate takes vectors or audio or image or tokens or classifier, got 'model'",
        ),
        ("train vectors x.npy --out m --quantizer residul", "invalid choice 'residul'"),
        ("train vectors x.npy --out m --levels eight", "--levels: invalid literal for int() with base 10: 'eight'"),
        ("train vectors x.npy --out m --size 8.5", "error parsing --size"),
        ("train vectors x.npy --out m --validation half", "error parsing --validation"),
        ("encode product x.npy", "missing from codeword encode: CODES"),
        ("encode product x.npy y.cw z", "unrecognized options: z; see codeword encode --help"),
        ("encode product x.npy y.cw --coding rangd", "invalid choice 'rangd'"),
        ("complexity --dim", "missing value"),
        ("inspect", "missing from codeword inspect: FILE"),
    ],
)
def test_typing_errors_are_one_line_with_the_way_out(refused, line, message):
    assert message in refused(line)


def test_a_warning_of_ours_is_one_line():
    before = warnings.formatwarning
    with user_errors():
        told = warnings.formatwarning("level 1 collapses", CollapseWarning, "watch.py", 3)
        assert told == "codeword: level 1 collapses\n"
        assert warnings.formatwarning("other", UserWarning, "x.py", 3).startswith("x.py:3: UserWarning: other")
    assert warnings.formatwarning is before
