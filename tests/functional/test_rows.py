import pytest
import torch

from codeword.functional.rows import joined_rows, sum_of_rows


def problem(sizes, dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tables = [torch.randn(size, dim, generator=generator, dtype=torch.float64) for size in sizes]
    codes = torch.stack([torch.randint(-1, size, (5, 7), generator=generator) for size in sizes], -1)
    return codes, tables


def picked(codes, tables):
    """Rows one by one: (vectors, levels, dim)."""
    zeros = torch.zeros(tables[0].shape[1], dtype=torch.float64)
    return torch.stack(
        [
            torch.stack([tables[m][k] if k >= 0 else zeros for m, k in enumerate(row)])
            for row in codes.flatten(0, -2).tolist()
        ]
    )


def test_rows_of_tables_of_any_size_are_added_or_joined():
    codes, tables = problem((3, 1, 8), 4)
    words = picked(codes, tables)
    torch.testing.assert_close(sum_of_rows(codes, tables), words.sum(1).view(5, 7, 4))
    assert torch.equal(joined_rows(codes, tables), words.view(5, 7, 12))


def test_narrow_integers_and_no_vectors():
    codes, tables = problem((300, 5), 3)
    for dtype in (torch.int16, torch.int32):
        assert torch.equal(sum_of_rows(codes.to(dtype), tables), sum_of_rows(codes, tables))
        assert torch.equal(joined_rows(codes.to(dtype), tables), joined_rows(codes, tables))
    assert sum_of_rows(codes[:0], tables).shape == (0, 7, 3)
    assert joined_rows(codes[:0], tables).shape == (0, 7, 6)


def test_gradients_reach_the_rows_that_were_taken():
    codes, tables = problem((3, 4), 2)
    for table in tables:
        table.requires_grad_()
    for call in (sum_of_rows, joined_rows):
        gradients = torch.autograd.grad(call(codes, tables).sum(), tables)
        for m, gradient in enumerate(gradients):
            counts = torch.bincount(codes[..., m][codes[..., m] >= 0], minlength=len(tables[m]))
            assert torch.equal(gradient, counts.double().unsqueeze(1).expand_as(gradient))


@pytest.mark.parametrize("call", [sum_of_rows, joined_rows])
def test_a_code_beyond_all_tables_is_refused(call):
    codes, tables = problem((3, 4), 2)
    codes[0, 0, 1] = 4
    with pytest.raises((RuntimeError, IndexError)):
        call(codes, tables)
