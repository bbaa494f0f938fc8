"""Figures of every validation, and alarms that come when a level collapses and not before."""

import warnings

import pytest
import torch

from codeword.functional import usage
from codeword.metrics.tokens import TokenCounts
from codeword.pretraining.watch import CodeWatch, CollapseWarning

SIZES = (32, 20)


def even(count=100):
    """All codewords alike, in batches of whole samples with some padding."""
    numbers = torch.arange(count * 16)
    codes = torch.stack([numbers % size for size in SIZES], dim=-1).reshape(count, 16, 2)
    codes[::5, 12:] = -1
    return codes


def narrow(words):
    """The second level uses its first codewords only."""
    codes = even()
    codes[..., 1] = torch.where(codes[..., 1] < 0, -1, codes[..., 1] % words)
    return codes


def validated(watch, codes):
    for part in codes.split(33):
        watch.add(part)
    return watch.figures()


def test_figures_are_those_of_all_codes_of_one_validation():
    watch = CodeWatch(SIZES)
    validated(watch, even())
    found = validated(watch, narrow(15))
    counts = usage.histogram(narrow(15)[..., 1], SIZES[1])
    assert found["usage_1"] == 0.75
    assert found["perplexity_share_1"] == pytest.approx(float(usage.perplexity_share(counts)), abs=1e-12)
    assert (found["usage_0"], found["collapsed_levels"]) == (1, 0)
    assert found["entropy_1"] == pytest.approx(float(usage.entropy(counts)), abs=1e-12)
    assert found["effective_usage_1"] == pytest.approx(float(usage.effective_code_usage(counts)), abs=1e-12)


def test_levels_and_places_are_those_of_the_report():
    watch, counts = CodeWatch(SIZES), TokenCounts(SIZES, 16)
    for part in even().split(33):
        counts.add(part)
    found, report = validated(watch, even()), counts.report()
    assert found["joint_entropy"] == report.codes.joint_entropy > 6
    assert found["shared_0_1"] == report.pairs[0].less_floor > 1
    for level, place in enumerate(report.places):
        assert (found[f"entropy_given_place_{level}"], found[f"leak_{level}"]) == (
            place.entropy_given_place,
            place.leak,
        )
    assert found["entropy_given_place_0"] == pytest.approx(1.0, abs=0.01)  # of 32 codewords a place sees two


def test_tables_that_would_be_too_large_are_left_out(monkeypatch):
    monkeypatch.setattr("codeword.metrics.tokens._ENTRIES", 1000)
    found = validated(CodeWatch(SIZES), even())
    assert found["usage_0"] == 1.0 and "joint_entropy" not in found


def test_a_level_of_low_perplexity_is_told_once_and_again_after_it_recovered():
    watch = CodeWatch(SIZES, drop=1.0)
    low = "level 1 of the tokenizer collapses: perplexity 1.0 of 20 codewords is below 0.1 of them; revive"
    for _ in range(2):
        with pytest.warns(CollapseWarning, match=low) as told:
            assert validated(watch, narrow(1))["collapsed_levels"] == 1
        assert len(told) == 1
        assert validated(watch, narrow(1))["collapsed_levels"] == 1  # a warning would be an error here
        assert validated(watch, narrow(2))["collapsed_levels"] == 0


def test_a_fall_of_usage_by_more_than_half_is_told():
    watch = CodeWatch(SIZES)
    validated(watch, even())
    validated(watch, narrow(10))  # half is left: not more than half was lost
    with pytest.warns(CollapseWarning, match="20.0% of 20 codewords are used, 50.0% at the validation before"):
        validated(watch, narrow(4))


def test_few_codes_are_not_judged():
    watch = CodeWatch(SIZES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few = torch.zeros(8 * SIZES[1] - 1, 1, 2, dtype=torch.int64)
        assert validated(watch, few)["collapsed_levels"] == 0
        assert validated(watch, few[:0])["usage_0"] == 0
    with pytest.warns(CollapseWarning, match="level 1"):
        validated(watch, torch.zeros(8 * SIZES[1], 1, 2, dtype=torch.int64))
