import numpy as np
import pytest
import torch

import codeword
from codeword import Gradient, Keep, MovingAverage, ProductQuantizer, ReviveDead, Uniform, VectorQuantizer
from contracts.steps import assert_same_state, vectors
from reference.learning import MovingAverages

ROUNDING = 1e-5  # of float32 averages over a few steps


def started(table, decay=0.9, smoothing=0.0, revival=None):
    table = torch.as_tensor(table, dtype=torch.float32)
    learning = MovingAverage(decay=decay, smoothing=smoothing)
    quantizer = VectorQuantizer(table.shape[1], len(table), learning=learning, revival=revival or Keep())
    quantizer.codebook.assign(table)
    return quantizer.train()


def step(quantizer, x):
    quantizer(torch.as_tensor(x, dtype=torch.float32))
    codeword.update(quantizer)


def test_one_step_by_hand():
    quantizer = started([[0.0], [10.0]])
    step(quantizer, [[1.0], [2.0], [9.0]])
    book = quantizer.codebook
    # Counts are .9 of 1 and .1 of (2, 1), sums .9 of (0, 10) and .1 of (3, 9); codewords are their ratios.
    torch.testing.assert_close(book.average_counts, torch.tensor([1.1, 1.0]))
    torch.testing.assert_close(book.average_sums, torch.tensor([[0.3], [9.9]]))
    torch.testing.assert_close(book.vectors, torch.tensor([[0.3 / 1.1], [9.9]]))
    step(quantizer, [[1.0]])
    # Nothing chose the second row: its statistics decay, yet it stays where it is.
    torch.testing.assert_close(book.average_counts, torch.tensor([1.09, 0.9]))
    torch.testing.assert_close(book.vectors, torch.tensor([[0.37 / 1.09], [9.9]]))


def test_laplace_smoothing_by_hand():
    quantizer = started([[0.0], [10.0]], smoothing=0.5)
    step(quantizer, [[1.0], [2.0], [9.0]])
    # N~ = (N + .5) / (2.1 + 2 * .5) * 2.1
    torch.testing.assert_close(
        quantizer.codebook.vectors, torch.tensor([[0.3 / (1.6 / 3.1 * 2.1)], [9.9 / (1.5 / 3.1 * 2.1)]])
    )


@pytest.mark.parametrize("smoothing", [0.0, 1e-5, 0.3])
def test_many_steps_equal_loops(smoothing):
    table = vectors(9, 3, seed=5)
    quantizer, slow = started(table, smoothing=smoothing), MovingAverages(table, 0.9, smoothing)
    for number in range(6):
        x = vectors(20, 3, seed=number)
        step(quantizer, x)
        slow.step(x)
    book = quantizer.codebook
    np.testing.assert_allclose(book.vectors.numpy(), slow.table, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(book.average_counts.numpy(), slow.counts, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(book.average_sums.numpy(), slow.sums, rtol=0, atol=ROUNDING)
    assert int(book.steps) == 6


def test_unused_rows_stay_where_they_are():
    quantizer = started([[0.0, 0.0], [30.0, 0.0]], decay=0.8, smoothing=1e-5)
    for number in range(80):
        step(quantizer, vectors(16, 2, seed=number))
    assert torch.equal(quantizer.codebook.vectors[1], torch.tensor([30.0, 0.0]))
    step(quantizer, [[29.0, 1.0]])  # and one vector is enough to win it back
    torch.testing.assert_close(quantizer.codebook.vectors[1], torch.tensor([29.0, 1.0]), rtol=0, atol=1e-2)


def test_a_step_without_vectors_moves_nothing():
    quantizer = started(vectors(4, 2))
    step(quantizer, vectors(20, 2))
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    step(quantizer, torch.zeros(0, 2))
    codeword.update(quantizer)
    quantizer(vectors(5, 2), torch.zeros(5, dtype=torch.bool))
    codeword.update(quantizer)
    assert all(torch.equal(v, before[k]) for k, v in quantizer.state_dict().items() if not k.endswith("steps"))


@pytest.mark.parametrize("learning", [MovingAverage(decay=0.5), Gradient()])
def test_assigned_codewords_survive_the_steps_after(learning):
    quantizer = VectorQuantizer(2, 8, learning=learning, revival=Keep()).train()
    for number in range(5):
        step(quantizer, vectors(40, 2, seed=number))
    table = 20.0 + 10 * vectors(8, 2, seed=9)
    quantizer.codebook.assign(table)
    assert torch.equal(quantizer.codebook.vectors.detach(), table)
    step(quantizer, table[:5])  # every chosen codeword is the mean of what chose it
    torch.testing.assert_close(quantizer.codebook.vectors.detach(), table, rtol=ROUNDING, atol=0)
    with pytest.raises(ValueError, match="holds"):
        quantizer.codebook.assign(table[:3])


def test_who_never_calls_update_trains():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(2, 16, learning=MovingAverage(decay=0.8), seeding=Uniform(radius=0.1)).train()
    codeword.seed(quantizer, vectors(10, 2))
    x = vectors(400, 2)
    first = (quantizer(x).vectors - x).square().mean()
    for _ in range(40):
        quantizer(x)
    assert (quantizer(x).vectors - x).square().mean() < 0.2 * first
    assert int(quantizer.codebook.steps) == 41


def test_with_and_without_update_the_codebook_is_the_same():
    calling, silent = started(vectors(5, 2)), started(vectors(5, 2))
    for number in range(4):
        step(calling, vectors(20, 2, seed=number))
        silent(vectors(20, 2, seed=number))
    silent(torch.zeros(0, 2))  # the last step is applied at the start of the next forward
    assert_same_state(calling, silent)


def test_accumulated_forwards_are_one_step():
    whole, parts = (started(vectors(12, 2), revival=ReviveDead(hits=0.5)) for _ in range(2))
    codeword.update(parts)  # says that update will be called: forwards wait for it
    x = vectors(90, 2)[vectors(90, 2)[:, 0] > 0]  # half the codewords die
    for _ in range(4):
        step(whole, x)
        for part in x.split(17):
            parts(part)
        codeword.update(parts)
    assert_same_state(whole, parts, rtol=ROUNDING, atol=ROUNDING)
    assert int(parts.codebook.steps) == 4
    assert (whole.codebook.vectors[:, 0] > 0).sum() > (vectors(12, 2)[:, 0] > 0).sum()  # some have been revived


def test_a_forward_never_alters_the_codebook():
    quantizer = started(vectors(5, 2))
    codeword.update(quantizer)
    before = quantizer.codebook.vectors.clone()
    for number in range(3):
        quantizer(vectors(20, 2, seed=number))
        assert torch.equal(quantizer.codebook.vectors, before)
    codeword.update(quantizer)
    assert not torch.equal(quantizer.codebook.vectors, before)


def test_a_row_with_one_bad_number_spoils_no_block():
    quantizer = ProductQuantizer([started(vectors(4, 2)), started(vectors(4, 2))]).train()
    x = vectors(30, 4)
    x[3, 0] = float("nan")
    step(quantizer, x)
    slow = MovingAverages(vectors(4, 2), 0.9, 0.0)
    slow.step(np.delete(x[:, :2].numpy(), 3, axis=0))
    np.testing.assert_allclose(quantizer.parts[0].codebook.vectors.numpy(), slow.table, rtol=0, atol=ROUNDING)


def test_bfloat16_counts_do_not_saturate():
    quantizer = started([[0.0], [10.0]], decay=0.99).to(torch.bfloat16)
    x = torch.zeros(40, 1, dtype=torch.bfloat16)
    for _ in range(301):  # steps of which the last is still pending
        quantizer(x)
    expected = 0.99**300 + 40 * (1 - 0.99**300)
    torch.testing.assert_close(quantizer.codebook.average_counts[0], torch.tensor(expected), rtol=1e-4, atol=0)


def test_update_takes_any_model():
    codeword.update(torch.nn.Linear(2, 2))
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), VectorQuantizer(2, 4)).train()
    codeword.seed(model, vectors(20, 3))
    assert model.training
    assert int(model[1].codebook.steps) == 0
    assert float(model[1].codebook.pending_counts.sum()) == 0
    model.eval()
    codeword.seed(model, vectors(20, 3))
    assert not any(module.training for module in model.modules())
    with pytest.raises(ValueError, match="features"):
        codeword.seed(model[1], vectors(20, 3))
    assert not any(module.training for module in model.modules())


def test_a_codebook_in_evaluation_mode_is_frozen():
    quantizer = VectorQuantizer(3, 6, revival=ReviveDead(threshold=0.9, hits=0.1)).train()
    codeword.seed(quantizer, vectors(40, 3))
    quantizer.codebook.eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    x = vectors(40, 3, seed=1).requires_grad_()
    for _ in range(3):
        out = quantizer(5 + x)
        codeword.update(quantizer)
    out.loss.backward()
    assert (x.grad != 0).all()
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_impossible_decays_are_refused(decay):
    with pytest.raises(ValueError, match="decay"):
        MovingAverage(decay=decay)
