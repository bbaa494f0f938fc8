"""A closed-form run that is killed and resumed ends with the bits of the run that was never stopped."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from codeword.quantizers import VectorQuantizer
from codeword.training.checkpoint import save_checkpoint
from codeword.training.em import train
from codeword.training.run import EMConfig
from contracts.families import DIM, FAMILIES, QUICK, same, vectors

OFTEN = EMConfig(steps=3, rounds=4, seeds=2, checkpoint_seconds=0.0)
KILLED = ("optimized", "residual", "additive")
WRITES = (1, 3)  # at which of its checkpoints a run dies, one run after the other


class KilledError(Exception):
    pass


def killed_at(calls):
    """A progress function that stops the run at one of its calls."""

    def progress(_):
        nonlocal calls
        calls -= 1
        if not calls:
            raise KilledError

    return progress


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_killed_run_resumes_to_the_same_bits(family, share, tmp_path):
    x, held, path = vectors(400), vectors(200, seed=1), tmp_path / "run.safetensors"
    whole, resumed, again = (FAMILIES[family]() for _ in range(3))
    calls = []
    report = train(whole, x, OFTEN, validation=held, progress=calls.append)
    with pytest.raises(KilledError):
        train(resumed, x, OFTEN, validation=held, checkpoint=path, progress=killed_at(int(share * len(calls))))
    second = train(resumed, x, OFTEN, validation=held, checkpoint=path)
    assert same(whole, resumed)
    assert second.history == report.history
    assert train(again, x, OFTEN, validation=held, checkpoint=path).history == report.history
    assert same(whole, again)


def test_sigkill_in_the_middle_of_a_write(tmp_path):
    """Every family dies at several checkpoints in turn, each time when half of the file is written."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, __file__, str(tmp_path)], env=environment, check=True, timeout=120)
    for family in KILLED:
        path = tmp_path / f"{family}.safetensors"
        assert list(tmp_path.glob(f".{path.name}.*.part")), "the kill must hit the middle of a write"
        whole, resumed = FAMILIES[family](), FAMILIES[family]()
        report = train(whole, vectors(400), OFTEN)
        assert train(resumed, vectors(400), OFTEN, checkpoint=path).history == report.history
        assert same(whole, resumed)
        assert not list(tmp_path.glob(f".{path.name}.*.part")), "what the kill has left is removed"


def die_in_writes(folder):
    """Run every family in a process of its own that kills itself at a checkpoint, and go on where it died."""
    torch.set_num_threads(1)
    for family in KILLED:
        for number in WRITES:
            child = os.fork()
            if not child:
                written = [0]

                def fsync(descriptor, number=number, written=written):
                    written[0] += 1
                    if written[0] == 2 * number - 1:  # the file, then its folder
                        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
                        os.kill(os.getpid(), 9)

                os.fsync = fsync
                train(FAMILIES[family](), vectors(400), OFTEN, checkpoint=folder / f"{family}.safetensors")
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantizer": lambda: VectorQuantizer(DIM, 5)}, "other data, quantizer or configuration"),
        ({"x": vectors(100, seed=7)}, "other data"),
        ({"x": torch.cat([vectors(100)[:99], vectors(1, seed=7)])}, "other data"),
        ({"weights": torch.full((100,), 2.0)}, "other data"),
        ({"validation": vectors(30, seed=3)}, "other data"),
        ({"config": replace(QUICK, patience=2)}, "configuration"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(change, message, tmp_path):
    path = tmp_path / "run.safetensors"
    train(VectorQuantizer(DIM, 4), vectors(100), QUICK, checkpoint=path)
    with pytest.raises(ValueError, match=message):
        train(
            change.get("quantizer", lambda: VectorQuantizer(DIM, 4))(),
            change.get("x", vectors(100)),
            change.get("config", QUICK),
            weights=change.get("weights"),
            validation=change.get("validation"),
            checkpoint=path,
        )
    seldom = replace(QUICK, checkpoint_seconds=1e9)
    train(VectorQuantizer(DIM, 4), vectors(100), seldom, checkpoint=path)  # how often it is written is no matter


def test_foreign_and_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    train(VectorQuantizer(DIM, 4), vectors(100), QUICK, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged"):
        train(VectorQuantizer(DIM, 4), vectors(100), QUICK, checkpoint=path)
    save_checkpoint(path, {"settings": {}})
    with pytest.raises(ValueError, match="of another kind of training"):
        train(VectorQuantizer(DIM, 4), vectors(100), QUICK, checkpoint=path)


def test_what_a_checkpoint_spares_is_told_apart(tmp_path):
    path, seen = tmp_path / "run.safetensors", []
    with pytest.raises(KilledError):
        train(VectorQuantizer(DIM, 4), vectors(100), OFTEN, checkpoint=path, progress=killed_at(5))
    train(VectorQuantizer(DIM, 4), vectors(100), OFTEN, checkpoint=path, progress=seen.append)
    assert seen[0].skipped == 200  # two steps were saved, the third was not over
    assert seen[0].done == 300


if __name__ == "__main__":
    die_in_writes(Path(sys.argv[1]))
