import math

import pytest
import torch

from codeword.functional import usage
from codeword.metrics.codes import code_report

BITS = 1e-9  # tolerance of an entropy


def hierarchy():
    """Level 2 repeats level 1 with one free bit; level 3 is independent of both; the last vector ends at level 1."""
    first = torch.arange(64) % 4
    second = first * 2 + (torch.arange(64) // 4) % 2
    third = (torch.arange(64) // 8) % 8
    codes = torch.stack([first, second, third], dim=-1)
    return torch.cat([codes, torch.tensor([[0, -1, -1], [-1, -1, -1]])])


def test_levels_and_joint_by_hand():
    report = code_report(hierarchy(), [4, 8, 16])
    first, second, third = report.levels
    assert (report.num_vectors, report.num_complete) == (65, 64)
    assert report.bits_per_vector == pytest.approx(2 + 3 + 4, abs=BITS)
    assert (first.num_codes, second.num_codes, third.num_codes) == (65, 64, 64)
    assert (first.usage_rate, second.usage_rate, third.usage_rate) == (1, 1, 0.5)
    assert second.entropy == pytest.approx(3, abs=BITS)
    assert second.conditional_entropy == pytest.approx(1, abs=BITS)
    assert second.information == pytest.approx(2, abs=BITS)
    assert third.entropy_share == pytest.approx(3 / 4, abs=BITS)
    assert third.perplexity_share == pytest.approx(1 / 2, abs=BITS)
    assert third.information == pytest.approx(0, abs=BITS)
    assert third.information_floor > third.information  # no shuffle is as even as this design
    assert (first.information, first.information_floor) == (0, 0)
    assert first.conditional_entropy == first.entropy
    assert report.joint_entropy == pytest.approx(6, abs=BITS)
    assert report.total_correlation == pytest.approx(2 + 3 + 3 - 6, abs=BITS)
    assert second.effective_code_usage == pytest.approx(1 / (3 * math.log(8)), abs=BITS)


def test_side_information_of_every_level():
    codes = torch.stack([torch.arange(4).expand(5, 4), torch.zeros(5, 4, dtype=torch.int64)], dim=-1)
    report = code_report(codes, [4, 2], side=torch.arange(4))
    assert report.levels[0].entropy == pytest.approx(2, abs=BITS)
    assert report.levels[0].entropy_given_side == pytest.approx(0, abs=BITS)
    assert "bits|side" in report.table()
    assert code_report(codes, [4, 2]).levels[0].entropy_given_side is None


def test_report_agrees_with_the_functions():
    codes = torch.randint(0, 9, (300, 3), generator=torch.Generator().manual_seed(0))
    report = code_report(codes, [9, 9, 11])
    assert report.joint_entropy == usage.joint_entropy(codes)
    assert report.levels[2].size == 11
    assert report.levels[1].information == usage.mutual_information(codes[:, 1], codes[:, 0])
    assert report.levels[2].perplexity == usage.perplexity(usage.histogram(codes[:, 2], 11))


def test_table_says_what_would_be_misread():
    table = code_report(hierarchy(), [4, 8, 16]).table()
    lines = table.splitlines()
    assert lines[0] == "codes of 65 vectors, 9.00 bits each at fixed length"
    assert lines[1].split()[0] == "level"
    assert lines[1].split()[-1] == "ECU"
    assert [line.split()[:3] for line in lines[2:5]] == [["1", "4", "65"], ["2", "8", "64"], ["3", "16", "64"]]
    assert len({len(line) for line in lines[1:5]}) == 1
    assert "cannot show more than 6.000 bits" in table
    assert any("ECU" in line and "SHRINKS as usage gets better" in line for line in lines)


def test_no_vectors_one_vector_one_codeword():
    empty = code_report(torch.empty(0, 2, dtype=torch.int64), [4, 4])
    assert (empty.num_vectors, empty.num_complete, empty.joint_entropy, empty.total_correlation) == (0, 0, 0, 0)
    assert "codes of 0 vectors" in empty.table()
    single = code_report(torch.tensor([3, 1]), [4, 4])
    assert (single.num_vectors, single.levels[0].perplexity, single.levels[0].usage_rate) == (1, 1, 0.25)
    assert "inf" in single.table()
    alone = code_report(torch.zeros(5, 1, dtype=torch.int64), [1]).levels[0]
    assert (alone.entropy_share, alone.perplexity_share) == (1, 1)


def test_wrong_sizes_are_named():
    codes = torch.tensor([[1, 5]])
    with pytest.raises(ValueError, match="codes have 2 levels, got 3 codebook sizes"):
        code_report(codes, [8, 8, 8])
    with pytest.raises(ValueError, match=r"codes must lie in -1\.\.3, got 5\.\.5"):
        code_report(codes, [8, 4])
