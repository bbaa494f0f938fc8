"""The accelerator's kernel against the processor's, in triton's interpreter where there is no accelerator."""

import os

import pytest
import torch

from codeword.functional.nearest import nearest

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")
pytest.importorskip("triton", reason="triton comes with accelerator builds of torch")
from codeword.functional.nearest_triton import nearest_triton

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize(("rows", "dim", "size"), [(0, 8, 5), (1, 1, 1), (65, 3, 64), (130, 40, 70), (64, 64, 257)])
def test_same_codes_as_the_processor(rows: int, dim: int, size: int) -> None:
    torch.manual_seed(rows + dim + size)
    x, codebook = torch.randn(rows, dim) + 50, torch.randn(size, dim) + 50
    assert torch.equal(nearest_triton(x.to(DEVICE), codebook.to(DEVICE)).cpu(), nearest(x, codebook))


def test_ties_go_to_the_lowest_index() -> None:
    codebook = torch.randn(3, 8).repeat(50, 1).to(DEVICE)
    assert nearest_triton(codebook, codebook).cpu().tolist() == [k % 3 for k in range(150)]


def test_rows_that_are_not_finite_get_some_codeword() -> None:
    x = torch.full((2, 8), float("nan"), device=DEVICE)
    assert nearest_triton(x, torch.randn(70, 8, device=DEVICE)).max() < 70
