import csv
import math
from pathlib import Path

import pytest
import torch

from codeword.functional.complexity import (
    Convention,
    Cost,
    MachineLimit,
    additive_decode_cost,
    additive_encode_cost,
    additive_wmops,
    icm_cost,
    machine_limit,
    nearest_cost,
    product_decode_cost,
    product_encode_cost,
    product_wmops,
    residual_beam_cost,
    residual_greedy_cost,
    residual_wmops,
    scan_cost,
    share_of_limit,
)
from reference import operations

PUBLISHED = Convention.PUBLISHED
RELATIVE = 1e-9
GOLDEN = Path(__file__).parents[1] / "golden" / "complexity_recomputed.csv"
ROWS = list(csv.DictReader(GOLDEN.read_text().splitlines()))
NAMES = [f"{row['fig']}-{row['bits']}bit" for row in ROWS]


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_golden_values(row):
    """Weighted operations are whole numbers, so millions of them with 6 decimals are exact."""
    dim, levels, size, beam = (int(row[name]) for name in ("D", "M", "K", "H"))
    assert additive_wmops(dim, size, levels, beam, convention=PUBLISHED) == float(row["AVQ_WMOP"])
    assert residual_wmops(dim, size, levels, convention=PUBLISHED) == float(row["RVQ_WMOP_published(M-1 stages)"])
    assert residual_wmops(dim, size, levels) == float(row["RVQ_WMOP_correct"])
    assert product_wmops(dim, size, levels, convention=PUBLISHED) == float(row["PVQ_WMOP_published(M-1)"])
    assert product_wmops(dim, size, levels) == float(row["PVQ_WMOP_correct"])


def test_golden_file_is_whole():
    assert len(ROWS) == 16
    assert {row["fig"] for row in ROWS} == {"Fig4c", "Fig6b"}


@pytest.mark.parametrize(
    ("published", "wmops"),
    [
        (-1.9889373052702652, residual_wmops(128, 8, 4, convention=PUBLISHED)),
        (-2.5728385970740346, product_wmops(128, 8, 4, convention=PUBLISHED)),
        (-0.4864920792092946, additive_wmops(128, 8, 4, 8, convention=PUBLISHED)),
        (-0.31026327412521015, additive_wmops(64, 8, 4, 16, convention=PUBLISHED)),
        (2.328012459262243, additive_wmops(128, 1024, 4, 64, convention=PUBLISHED)),
        (0.07325558942615694, residual_wmops(128, 1024, 4, convention=PUBLISHED)),
        (-0.8218925114194595, product_wmops(64, 1024, 4, convention=PUBLISHED)),
    ],
)
def test_logarithms_stored_with_the_published_figures(published, wmops):
    assert math.log10(wmops) == pytest.approx(published, rel=RELATIVE)


@pytest.mark.parametrize("row", [row for row in ROWS if int(row["H"]) <= int(row["K"])])
def test_additive_count_is_the_same_under_both_conventions(row):
    settings = [int(row[name]) for name in ("D", "K", "M", "H")]
    assert additive_wmops(*settings) == float(row["AVQ_WMOP"])


def test_correction_adds_one_level():
    short, whole = residual_wmops(64, 256, 4, convention=PUBLISHED), residual_wmops(64, 256, 4)
    assert short == pytest.approx(residual_wmops(64, 256, 3) + 64e-6, rel=RELATIVE)  # but the final sum has M terms
    assert short / whole == pytest.approx(3 / 4, abs=1e-3)
    block = product_wmops(48, 256, 3) - 2 * 48e-6  # three blocks of 16, as three of the four of 64 dimensions
    assert product_wmops(64, 256, 4, convention=PUBLISHED) == pytest.approx(block + 2 * 64e-6, rel=RELATIVE)


def test_one_level_is_a_plain_nearest_search():
    expected = (16 * (3 * 8 - 1) + 2 * 15 + 8) / 1e6
    assert residual_wmops(8, 16, 1) == pytest.approx(expected, rel=RELATIVE)
    assert product_wmops(8, 16, 1) == pytest.approx(expected + 16e-6, rel=RELATIVE)
    assert additive_wmops(8, 16, 1, 1) == pytest.approx((16 * 23 + 2 * 15 + 1) / 1e6, rel=RELATIVE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: additive_wmops(64, 8, 4, 16), "beam must be at most the codebook size 8, got 16"),
        (lambda: residual_wmops(64, 8, 1, convention=PUBLISHED), "leaves one level out and needs two, got 1"),
        (lambda: product_wmops(63, 8, 4), "63 dimensions do not split into 4 equal blocks"),
        (lambda: residual_wmops(0, 8, 4), "dim must be at least 1, got 0"),
        (lambda: product_wmops(8, 0, 4), "size must be at least 1, got 0"),
        (lambda: residual_wmops(8, 8, -1), "levels must be at least 1, got -1"),
        (lambda: additive_wmops(8, 8, 2, 0), "beam must be at least 1, got 0"),
        (lambda: residual_beam_cost(8, [4, 4], 0), "beam must be at least 1, got 0"),
        (lambda: share_of_limit(Cost(flops=1), 0.0, MachineLimit(1, 1, 1, 1)), "seconds must be positive, got 0"),
    ],
)
def test_settings_that_make_no_sense(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_costs_add_and_scale():
    cost = Cost(1, 2, 3, 4) + Cost(10, 20, 30, 40) * 2
    assert cost == Cost(21, 42, 63, 84)


def test_encoders_by_hand():
    assert nearest_cost(128, 256) == Cost(flops=65536, comparisons=256, bytes=520)
    assert product_encode_cost(128, [256] * 8) == nearest_cost(16, 256) * 8
    assert product_encode_cost(6, [4, 3]) == nearest_cost(3, 4) + nearest_cost(3, 3)
    greedy = residual_greedy_cost(128, [256] * 8)
    assert greedy == Cost(flops=524288 + 7 * 128, comparisons=2048, bytes=512 + 64)
    wide = residual_beam_cost(128, [256] * 8, 5)
    assert wide == Cost(524288, 5 * 256 * 28, 256 + 7 * 5 * 256, 576)
    assert additive_encode_cost(128, [256] * 8, 5, 2) == wide + icm_cost([256] * 8, 2)
    assert icm_cost([256] * 8, 1).table_adds == 8 * 7 * 256


@pytest.mark.parametrize("sizes", [[8], [3, 7], [2, 2, 2, 2], [5, 1, 6]])
@pytest.mark.parametrize("beam", [1, 2, 5, 100])
def test_beam_and_sweeps_equal_an_encoder_that_counts(sizes, beam):
    assert residual_beam_cost(6, sizes, beam) == operations.beam_with_tables(6, sizes, beam)
    assert icm_cost(sizes, 3) == operations.icm(sizes, 3)


def test_decoders_and_scan_by_hand():
    assert additive_decode_cost(128, 8) == Cost(flops=7 * 128, bytes=64 + 512)
    assert product_decode_cost(128, 8) == Cost(bytes=64 + 512)
    assert scan_cost([256] * 8) == Cost(table_adds=8, comparisons=1, bytes=8)
    assert scan_cost([256] * 8, queries=64, norm_bytes=4) == Cost(table_adds=9 * 64, comparisons=64, bytes=12)
    assert scan_cost([16] * 16).bytes == 8
    assert scan_cost([3, 5, 1]).bytes == 1  # 2 + 3 + 0 bits


def test_least_time_is_arithmetic_or_traffic_whichever_is_longer():
    limit = MachineLimit(flops=100, table_adds=50, comparisons=25, bytes=10)
    assert limit.seconds(Cost(flops=100, table_adds=100, comparisons=25, bytes=10)) == 4
    assert limit.seconds(Cost(flops=100, bytes=90)) == 9
    assert share_of_limit(Cost(bytes=90), 18.0, limit) == 0.5


def test_machine_limit_bounds_what_a_real_search_reaches():
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    limit = machine_limit()
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (threads, precision)
    assert 1e8 < limit.bytes < 1e14
    assert limit.flops > limit.comparisons > 1e6  # a fused multiply-add does more than a load and a minimum
    assert limit.table_adds > 1e6
