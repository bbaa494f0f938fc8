"""What ``import codeword`` offers."""

import subprocess
import sys

import codeword
import codeword.quantizers as home

CONTRACTS = {"Bounding", "Corners", "Estimator", "Geometry", "Learning", "Revival", "Search", "Seeding", "register"}


def test_every_quantizer_and_everything_it_is_composed_of_has_a_name():
    public = {name for name, value in vars(home).items() if callable(value) and not name.startswith("_")}
    offered = set(codeword.__all__)
    assert public - CONTRACTS - offered == set()
    assert public >= CONTRACTS
    tokens = {"flatten_levels", "unflatten_levels", "delay_levels", "undelay_levels"}
    assert offered - public == tokens | {"Quantized", "Selected", "__version__"}
    assert sorted(codeword.__all__) == dir(codeword)
    for name in offered:
        assert getattr(codeword, name) is not None


def test_a_star_brings_them_all_and_the_package_alone_brings_no_torch():
    code = "import sys, codeword; assert 'torch' not in sys.modules; from codeword import *; VectorQuantizer(2, 3)"
    subprocess.run([sys.executable, "-c", code], check=True)
