"""What a model loses on vectors, against arithmetic of one's own."""

import numpy as np
import pytest
import torch

from codeword import ProductQuantizer, ScalarQuantizer, VectorQuantizer
from codeword.codecs.vectors import VectorCodec
from codeword.evaluation.cost import CostSettings, cost_rows
from codeword.evaluation.indexing import SearchSettings, build_index, search_report
from codeword.evaluation.inspection import inspect_path
from codeword.evaluation.vectors import evaluate
from codeword.functional.complexity import Convention, additive_wmops, product_wmops, residual_wmops

DIM = 6


def _quantizer():
    parts = []
    for seed, size in enumerate((16, 5)):
        part = VectorQuantizer(DIM // 2, size)
        part.codebook.assign(torch.randn(size, DIM // 2, generator=torch.Generator().manual_seed(seed)))
        parts.append(part)
    return ProductQuantizer(parts)


@pytest.fixture
def model(tmp_path):
    VectorCodec(_quantizer()).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def data(tmp_path):
    x = np.random.default_rng(0).standard_normal((400, DIM)) + 3
    np.save(tmp_path / "x.npy", x)
    return tmp_path / "x.npy"


def test_errors_rates_and_usage(model, data):
    report = evaluate(model, data)
    x, quantizer = np.load(data), _quantizer().eval()
    codes = quantizer.encode(torch.from_numpy(x).float())
    error = ((x - quantizer.decode(codes).numpy()) ** 2).sum(1).mean()
    assert report.distortion.squared_error == pytest.approx(error, rel=1e-5)
    assert report.distortion.relative_error == pytest.approx(error / ((x - x.mean(0)) ** 2).sum(1).mean(), rel=1e-5)
    assert report.fixed_bits == pytest.approx(np.log2(80))
    assert report.file_bits == 8 * report.file_bytes / 400
    assert [level.usage_rate for level in report.codes.levels] == [
        len(np.unique(codes[:, 0])) / 16,
        len(np.unique(codes[:, 1])) / 5,
    ]


def test_a_file_really_has_the_bytes_reported(model, data, tmp_path):
    codec = VectorCodec.from_pretrained(model)
    assert evaluate(model, data).file_bytes == codec.encode(torch.from_numpy(np.load(data)).float(), tmp_path / "x.cw")


def test_what_cannot_be_counted_is_left_out(tmp_path, data):
    VectorCodec(ScalarQuantizer([60] * DIM)).save_pretrained(tmp_path / "whole")
    report = evaluate(tmp_path / "whole", data)
    assert report.codes is None
    assert "not counted" in report.table()


def test_recall_is_that_of_brute_force(model, data, tmp_path):
    build_index(model, data).save(tmp_path / "index")
    queries = np.random.default_rng(1).standard_normal((30, DIM)) + 3
    np.save(tmp_path / "q.npy", queries)
    told = list(search_report(tmp_path / "index", tmp_path / "q.npy", SearchSettings(k=10, base=data)))
    x, quantizer = np.load(data).astype("f4"), _quantizer().eval()
    back = quantizer.decode(quantizer.encode(torch.from_numpy(x))).numpy()
    exact = ((queries[:, None] - x) ** 2).sum(2).argmin(1)
    order = ((queries.astype("f4")[:, None] - back).astype("f8") ** 2).sum(2).argsort(1, kind="stable")[:, :10]
    for rank in (1, 10):
        expected = np.mean([truth in found[:rank] for truth, found in zip(exact, order, strict=True)])
        assert any(line.startswith(f"recall@{rank}: {expected:.4f} ") for line in told), told


def test_lists_hold_every_vector_and_progress_reaches_the_end(model, data):
    seen = []
    index = build_index(model, data, lists=7, progress=lambda done, total: seen.append((done, total)))
    assert len(index) == 400
    assert sum(len(index.members(number)[0]) for number in range(7)) == 400
    assert seen[-1] == (400, 400)


def test_codes_are_known_by_their_bytes_and_not_by_their_name(model, data, tmp_path):
    codec = VectorCodec.from_pretrained(model)
    codec.encode(torch.from_numpy(np.load(data)).float(), tmp_path / "codes.bin")
    assert len(build_index(model, tmp_path / "codes.bin")) == 400
    assert inspect_path(tmp_path / "codes.bin").intact


def test_a_bad_row_met_while_centres_are_learned_has_its_own_number(model, tmp_path):
    x = np.ones((3000, DIM))  # of which centres are learned from 512
    x[2900:] = np.nan
    np.save(tmp_path / "bad.npy", x)
    with pytest.raises(ValueError, match=r"row 29[0-9][0-9] is not finite"):
        build_index(model, tmp_path / "bad.npy", lists=2)


def test_costs_are_those_of_the_formulas():
    rows = {row[0]: row[1:] for row in cost_rows(CostSettings(dim=64, size=256, levels=4, beam=16, sweeps=4))}
    for place, convention in enumerate((Convention.PUBLISHED, Convention.CORRECTED)):
        expected = {
            "product": product_wmops(64, 256, 4, convention=convention),
            "residual, greedy": residual_wmops(64, 256, 4, convention=convention),
            "additive": additive_wmops(64, 256, 4, 16, convention=convention),
        }
        for name, wmops in expected.items():
            assert float(rows[name][place]) == pytest.approx(wmops, rel=1e-5)
    assert int(rows["product"][2]) < int(rows["additive"][2])


def test_a_count_that_a_convention_does_not_have_is_a_dash():
    single = {row[0]: row[1:] for row in cost_rows(CostSettings(dim=8, size=16, levels=1, beam=4, sweeps=0))}
    assert [single[name][0] == "-" for name in ("product", "residual, greedy", "additive")] == [True, True, False]
    assert "-" not in [row[1] for row in single.values()]
    wide = {row[0]: row[1:] for row in cost_rows(CostSettings(dim=8, size=4, levels=2, beam=5, sweeps=0))}
    assert float(wide["additive"][0]) == pytest.approx(
        additive_wmops(8, 4, 2, 5, convention=Convention.PUBLISHED), rel=1e-5
    )
    assert wide["additive"][1] == "-"


@pytest.mark.parametrize("field", ["dim", "size", "levels", "beam"])
def test_impossible_costs_name_the_field(field):
    settings = CostSettings(dim=8, size=8, levels=2, beam=2, sweeps=0)._replace(**{field: 0})
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0"):
        cost_rows(settings)
