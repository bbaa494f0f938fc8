"""Intervals against SciPy, and results that come back from JSON as they were."""

import json

import numpy as np
import pytest
from scipy import stats

from codeword.evaluation.audio_results import AudioEvaluation, ClipInfo, Point
from codeword.evaluation.audio_table import code_rows
from codeword.evaluation.intervals import Interval, interval, student


def evaluation():
    own = Point(
        system="codeword",
        setting="scale=8",
        kind="variable",
        kbps=Interval(3.0, 2.5, 3.5),
        metrics={"si_sdr": Interval(-1.5, -3.0, 0.0)},
        per_clip=({"kbps": 2.9, "si_sdr": -2.0}, {"kbps": 3.1}),
        usage=(0.5, 0.25),
        depths=(0.75, 0.25),
        mean_levels=1.25,
        depth_share=0.1,
    )
    peer = Point(
        system="opus",
        setting="6 kbps",
        kind="peer",
        kbps=Interval(7, 7, 7),
        metrics={},
        per_clip=({"kbps": 7.0}, {"kbps": 7.0}),
    )
    return AudioEvaluation(
        model="ab" * 32,
        sample_rate=16000,
        levels=2,
        clips=(ClipInfo("a.wav", 2.0), ClipInfo("b.wav@1.50", 3.0)),
        points=(own, peer),
        peers_absent=("lc3 (no elc3)",),
        command="codeword evaluate audio",
        machine={"cores": 2, "versions": {"torch": "2"}},
        skipped=("c.wav is empty",),
    )


def test_json_comes_back_as_it_was(tmp_path):
    found = evaluation()
    assert AudioEvaluation.from_json(found.to_json()) == found
    found.write(tmp_path / "r.json")
    assert AudioEvaluation.read(tmp_path / "r.json") == found
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["points"][0]["kbps"] == {"mean": 3.0, "low": 2.5, "high": 3.5}
    assert told["clips"][1] == {"name": "b.wav@1.50", "seconds": 3.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "this is no evaluation of an audio model: 'version'"),
        ("[]", "this is no evaluation"),
        ("nonsense", "this is no evaluation"),
        (evaluation().to_json().replace('"version": 1', '"version": 2'), "version 2, this codeword reads version 1"),
        (evaluation().to_json().replace('"depth_share": 0.1', '"other": 0.1'), "unexpected keyword argument 'other'"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=message) as refused:
        AudioEvaluation.read(tmp_path / "x.json")
    assert str(refused.value).startswith(str(tmp_path / "x.json"))


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 30, 299, 5000])
def test_quantiles_are_students(freedom):
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-4)


def test_an_interval_is_that_of_scipy_and_leaves_out_what_is_not_finite():
    values = np.random.default_rng(0).normal(3, 2, 12)
    low, high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    found = interval([*values.tolist(), float("nan"), float("inf")])
    assert found == pytest.approx((values.mean(), low, high), rel=1e-4)
    assert interval([5.0]) == (5.0, 5.0, 5.0)
    with pytest.raises(ValueError, match="at least one finite value"):
        interval([float("nan")])


def test_intervals_hold_the_mean_as_often_as_they_say():
    draws = np.random.default_rng(1).normal(0, 1, (2000, 5))
    held = np.mean([low <= 0 <= high for _, low, high in map(interval, draws.tolist())])
    assert 0.935 < held < 0.965


def test_rows_of_codes_say_who_has_a_level():
    assert code_rows(evaluation()) == [["setting", "level 1", "level 2"], ["scale=8", "100% 0.50", "25% 0.25"]]
