import pytest
import torch

from codeword.functional.beam import beam_search
from codeword.functional.cross_tables import cross_tables
from codeword.functional.icm import icm
from codeword.functional.plain_search import plain_beam, plain_icm


def problem(rows=60, dim=5, sizes=(7, 4, 9), offset=0.0):
    generator = torch.Generator().manual_seed(0)
    books = [torch.randn(size, dim, generator=generator) / (m + 1) for m, size in enumerate(sizes)]
    books[0] += offset
    return torch.randn(rows, dim, generator=generator) + offset, books


@pytest.mark.parametrize("rows", [0, 1, 60])
@pytest.mark.parametrize("width", [1, 2, 5, 1000])
@pytest.mark.parametrize("sizes", [(7, 4, 9), (3,), (1, 6)])
def test_the_beam_is_that_of_beam_search(rows, width, sizes):
    x, books = problem(rows, sizes=sizes)
    assert torch.equal(plain_beam(x, books, width), beam_search(x, cross_tables(books), width))


@pytest.mark.parametrize("rows", [0, 1, 60])
@pytest.mark.parametrize("sweeps", [0, 1, 3])
@pytest.mark.parametrize("sizes", [(7, 4, 9), (3,), (1, 6)])
def test_the_sweeps_are_those_of_icm(rows, sweeps, sizes):
    x, books = problem(rows, sizes=sizes)
    start = torch.zeros(rows, len(sizes), dtype=torch.int64)
    assert torch.equal(plain_icm(x, start, books, sweeps), icm(x, start, cross_tables(books), sweeps=sweeps))


def test_an_offset_costs_no_digits():
    x, books = problem(offset=5000.0)
    codes = plain_beam(x, books, 4)
    assert torch.equal(codes, beam_search(x, cross_tables(books), 4))
    assert torch.equal(plain_icm(x, codes, books, 2), icm(x, codes, cross_tables(books), sweeps=2))
