"""What only a process of its own can show: exit codes, signals, full disks, readers that go away."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

PROGRAM = [sys.executable, "-m", "codeword"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def _run(*command, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, text=True, env=ENVIRONMENT, check=False, **options)


def _listing(folder):
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def test_exit_codes_and_streams():
    good, bad = _run(*PROGRAM, "--version"), _run(*PROGRAM, "encod")
    assert (good.returncode, good.stderr) == (0, "")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.count("\n") == 1


def test_a_fault_of_ours_keeps_its_traceback():
    broken = _run(
        sys.executable,
        "-c",
        "import codeword.cli as c, codeword.cli.parsing as p; p.parse = lambda words: 1 / 0; c.main([])",
    )
    assert broken.returncode == 1
    assert "ZeroDivisionError" in broken.stderr


def test_a_reader_that_goes_away_is_no_fault():
    ran = _run("bash", "-c", f"{sys.executable} -m codeword --help | true; exit ${{PIPESTATUS[0]}}")
    assert ran.stderr == ""
    assert ran.returncode == 141


def test_an_output_that_takes_nothing_is_one_line():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ran = _run(*PROGRAM, "--version", stdout=full)
    assert ran.returncode == 2
    assert ran.stderr == "codeword: standard output: no space left on device\n"


def test_a_full_disk_leaves_everything_as_it_was(place):
    lines = [
        "encode product x.npy new.cw",
        "decode product product.cw new.npy",
        "index product x.npy new",
        "train vectors x.npy --out new --quantizer product --levels 2 --size 8 --steps 2",
        "encode product x.npy product.cw --overwrite",
    ]
    program = f"""
import resource
from codeword.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (256, 256))
for line in {lines}:
    try:
        main(line.split())
    except SystemExit as stop:
        print(stop.code)
"""
    before = _listing(place)
    ran = _run(sys.executable, "-c", program)
    assert ran.stdout.split() == ["2"] * len(lines)
    complaints = ran.stderr.splitlines()
    assert len(complaints) == len(lines)
    assert all(line.startswith("codeword: cannot write ") for line in complaints)
    assert _listing(place) == before


def _started(line, place, pattern):
    """A command that has begun to write; its hidden file is there."""
    # Where the tests run in the background, a shell may have them ignore interrupts, and their children with them.
    command = ["env", "--default-signal=INT", *PROGRAM, *line.split()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    deadline = time.monotonic() + 60
    while not list(place.glob(pattern)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


@pytest.fixture
def much(place):
    """Vectors that take seconds to encode."""
    np.save(place / "much.npy", np.random.default_rng(0).standard_normal((600_000, 8), dtype=np.float32))
    return place


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_nothing(much, sent, code):
    before = _listing(much)
    process = _started("encode additive much.npy additive.cw --overwrite", much, ".additive.cw.*.part")
    process.send_signal(sent)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == code
    assert complaint == "codeword: interrupted; nothing half-written was left\n"
    assert _listing(much) == before


def test_a_kill_leaves_the_old_file(much):
    before = _listing(much)
    process = _started("encode additive much.npy additive.cw --overwrite", much, ".additive.cw.*.part")
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    after = {name: size for name, size in _listing(much).items() if not name.endswith(".part")}
    assert after == before
