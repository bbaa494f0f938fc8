"""Files that a stranger might have, and a way to type commands."""

import shutil
from typing import NamedTuple

import numpy as np
import pytest

from codeword import BinaryQuantizer, Normalized, ScalarQuantizer
from codeword.cli import main
from codeword.codecs.vectors import VectorCodec
from codeword.data.vectors import open_vectors
from codeword.evaluation.indexing import build_index
from codeword.recipes.vectors import Family, VectorsConfig, train

DIM = 8
FAMILIES = {"vector": 1, "product": 2, "optimized": 2, "residual": 2, "additive": 2}


@pytest.fixture(scope="package")
def shelf(one_thread, tmp_path_factory):
    """Data, models of every family, codes and indexes; never written to."""
    folder = tmp_path_factory.mktemp("shelf")
    random = np.random.default_rng(0)
    x = random.standard_normal((300, DIM)).astype(np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "queries.npy", random.standard_normal((12, DIM)).astype(np.float32))
    for family, levels in FAMILIES.items():
        config = VectorsConfig(quantizer=Family(family), levels=levels, size=8, steps=2, beam=2, sweeps=1)
        train(config, folder / "x.npy", folder / family)
    for name, quantizer in {
        "scalar": Normalized(ScalarQuantizer([5] * DIM, features_per_code=2)),
        "whole": ScalarQuantizer([5] * 16),
        "binary": BinaryQuantizer(DIM, bits_per_code=4),
    }.items():
        VectorCodec(quantizer).save_pretrained(folder / name)
    for name in (*FAMILIES, "scalar", "binary"):
        VectorCodec.from_pretrained(folder / name).encode(open_vectors(folder / "x.npy"), folder / f"{name}.cw")
    build_index(folder / "product", folder / "x.npy").save(folder / "product.index")
    build_index(folder / "residual", folder / "x.npy", lists=4).save(folder / "lists.index")
    return folder


@pytest.fixture
def place(shelf, tmp_path, monkeypatch):
    """A working folder of one's own that holds what is on the shelf."""
    folder = tmp_path / "place"
    shutil.copytree(shelf, folder)
    monkeypatch.chdir(folder)
    return folder


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys):
    """Type a command."""

    def command(line):
        capsys.readouterr()
        code = 0
        try:
            main(line.split())
        except SystemExit as stop:
            code = stop.code or 0
        return Ran(code, *capsys.readouterr())

    return command


@pytest.fixture
def refused(run, place):
    """Type a command that must fail: one line, exit code 2, and no file the poorer or the richer."""

    def command(line):
        before = _state(place)
        ran = run(line)
        assert ran.code == 2, ran
        assert ran.err.startswith("codeword: ")
        assert ran.err.count("\n") == 1, ran.err
        assert "Traceback" not in ran.err
        assert _state(place) == before
        return ran.err

    return command


def _state(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
