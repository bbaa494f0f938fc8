"""What SimVQ promises beyond the contract of every quantizer."""

import pytest
import torch

import codeword
from codeword import (
    FromData,
    Keep,
    NoiseSubstitution,
    Normalized,
    ResidualQuantizer,
    ReviveDead,
    SimVQ,
    Uniform,
    VectorQuantizer,
)

ROUNDING = 1e-5  # of sums of a few float32 numbers of size 1


def clusters(rows=128, dim=8, seed=0, offset=0.0):
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(16, dim, generator=torch.Generator().manual_seed(99)) + offset
    return places[torch.randint(0, 16, (rows,), generator=generator)] + 0.1 * torch.randn(
        rows, dim, generator=generator
    )


def trained(quantizer, steps, dim=8, offset=0.0):
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.02)
    for step in range(steps):
        optimizer.zero_grad()
        quantizer(clusters(dim=dim, seed=step, offset=offset)).loss.backward()
        optimizer.step()
        codeword.update(quantizer, optimizer)
    return quantizer


def test_all_codewords_move_and_the_table_does_not():
    quantizer = VectorQuantizer(8, 64, learning=SimVQ())
    table, before = quantizer.codebook.table.clone(), quantizer.codebook.vectors.detach().clone()
    codes = trained(quantizer, steps=1)(clusters()).codes
    assert torch.equal(quantizer.codebook.table, table)
    assert ((quantizer.codebook.vectors - before).norm(dim=1) > 0).all()
    assert codes.unique().numel() < 64  # those that nothing chose have moved as well
    trained(quantizer, steps=5)
    assert torch.equal(quantizer.codebook.table, table)
    assert [name for name, _ in quantizer.named_parameters()] == ["codebook.transform"]


def test_codewords_are_the_table_under_the_map():
    quantizer = trained(VectorQuantizer(8, 64, learning=SimVQ()), steps=5)
    book = quantizer.codebook
    expected = book.table.double() @ book.transform.detach().double().t()
    torch.testing.assert_close(book.vectors.double(), expected, rtol=0, atol=ROUNDING)
    torch.testing.assert_close(
        quantizer.decode(torch.arange(64).unsqueeze(1)).double(), expected, rtol=0, atol=ROUNDING
    )


def test_the_gradient_of_the_map_is_that_of_the_loss():
    quantizer, x = VectorQuantizer(4, 10, learning=SimVQ(codebook=0.7, commitment=0.3)), clusters(50, 4)
    out = quantizer(x)
    out.loss.backward()
    table, codes = quantizer.codebook.table, out.codes.squeeze(1)
    transform = torch.eye(4, requires_grad=True)
    (0.7 * (x - table[codes] @ transform.t()).square().mean()).backward()
    torch.testing.assert_close(quantizer.codebook.transform.grad, transform.grad, rtol=1e-4, atol=ROUNDING)


def test_training_lowers_the_error_and_uses_more_codewords():
    torch.manual_seed(0)
    quantizer, x = VectorQuantizer(8, 64, learning=SimVQ()), clusters(seed=1000)
    start = quantizer(x)
    trained(quantizer, steps=25)
    out = quantizer.eval()(x)
    assert (out.vectors - x).square().mean() < (start.vectors - x).square().mean() / 1.3
    assert out.codes.unique().numel() >= 8


def test_data_with_an_offset_wants_to_be_normalised():
    plain = VectorQuantizer(8, 64, learning=SimVQ())
    wrapped = Normalized(VectorQuantizer(8, 64, learning=SimVQ()))
    wrapped.standardize(clusters(offset=4.0))
    used = [trained(q, 15, offset=4.0)(clusters(offset=4.0)).codes.unique().numel() for q in (plain, wrapped)]
    assert used[0] < 8 <= used[1]


def test_learns_through_the_output():
    quantizer = VectorQuantizer(8, 64, learning=SimVQ(codebook=0.0, commitment=0.0), estimator=NoiseSubstitution())
    quantizer(clusters()).vectors.square().sum().backward()
    assert quantizer.codebook.transform.grad.norm() > 0
    with pytest.raises(ValueError, match="nothing"):
        VectorQuantizer(8, 64, learning=SimVQ(codebook=0.0))(clusters())


def test_saved_and_loaded_with_its_map(tmp_path):
    stages = [VectorQuantizer(8, 16, learning=SimVQ(codebook=0.5), seeding=Uniform(seed=s)) for s in (1, 2)]
    quantizer = trained(ResidualQuantizer(stages), steps=5).eval()
    quantizer.save_pretrained(tmp_path)
    loaded = codeword.load(tmp_path)
    assert torch.equal(loaded.encode(clusters()), quantizer.encode(clusters()))
    assert torch.equal(loaded.stages[0].codebook.transform, quantizer.stages[0].codebook.transform)
    assert torch.equal(loaded.stages[1].codebook.table, quantizer.stages[1].codebook.table)
    assert loaded.stages[0].codebook.learning == SimVQ(codebook=0.5)


def test_seeds_give_tables():
    tables = [VectorQuantizer(4, 8, learning=SimVQ(), seeding=Uniform(seed=seed)).codebook.table for seed in (0, 0, 1)]
    assert torch.equal(tables[0], tables[1])
    assert not torch.equal(tables[0], tables[2])


def test_assigned_codewords_are_the_codewords():
    quantizer = trained(VectorQuantizer(4, 8, learning=SimVQ()), steps=3, dim=4)
    codewords = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    quantizer.codebook.assign(codewords)
    torch.testing.assert_close(quantizer.codebook.vectors, codewords, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("parts", [{"seeding": FromData()}, {"revival": ReviveDead()}])
def test_what_would_move_the_table_is_refused(parts):
    with pytest.raises(ValueError, match="SimVQ") as error:
        VectorQuantizer(4, 8, learning=SimVQ(), **parts)
    assert "\n" not in str(error.value)
    assert VectorQuantizer(4, 8, learning=SimVQ(), revival=Keep()).codebook.is_seeded


def test_export():
    quantizer, x = trained(VectorQuantizer(8, 64, learning=SimVQ()), steps=3).eval(), clusters()
    program = torch.export.export(quantizer, (x,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    for rows in (x, x[:7]):
        assert torch.equal(program.module()(rows).codes, quantizer.encode(rows))


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.parametrize("training", [True, False])
def test_compiles_whole(training):
    quantizer, x = VectorQuantizer(8, 64, learning=SimVQ()).train(training), clusters()
    out, expected = torch.compile(quantizer, fullgraph=True, backend="aot_eager")(x), quantizer(x)
    assert torch.equal(out.codes, expected.codes)
    torch.testing.assert_close(out.loss, expected.loss)
