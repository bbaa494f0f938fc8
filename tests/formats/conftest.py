"""Vector codes to write, and the option that rewrites golden files."""

import io

import numpy as np
import pytest

from codeword.entropy.tables import CodeTables
from codeword.formats.vector_payload import VectorHeader
from codeword.formats.vectors import VectorCodesWriter

MODEL = "5a" * 32


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden/*.cw; a breaking change")


@pytest.fixture
def update_golden(request):
    return request.config.getoption("--update-golden", default=False)


class Sample:
    """Codes, a header and tables that belong together, and the bytes of a file of them."""

    def __init__(self, *, count, sizes, payload, variable_depth, chunk_rows):
        # Integer arithmetic alone, so that no random generator is part of a golden file.
        row, level = np.arange(count)[:, None], np.arange(len(sizes))
        mixed = (row * 2654435761 + level * 40503 + row * row * (97 + level)) >> 7
        self.codes = (mixed % 1009 * (mixed % 1009)) // 1009 % np.array(sizes)
        if variable_depth:
            depths = (row * 7 + row * row * 3) % (len(sizes) + 1)
            self.codes = np.where(level < depths, self.codes, -1)
        self.header = VectorHeader(dim=6, sizes=sizes, model=MODEL, payload=payload, variable_depth=variable_depth)
        self.tables = CodeTables.from_codes(self.codes, sizes, variable_depth=variable_depth)
        self.chunk_rows = chunk_rows

    def data(self):
        file = io.BytesIO()
        with VectorCodesWriter(file, self.header, tables=self.tables, chunk_rows=self.chunk_rows) as writer:
            writer.write(self.codes)
        return file.getvalue()


@pytest.fixture(params=["packed", "packed-depth", "ranged", "ranged-depth"])
def sample(request):
    payload, _, depth = request.param.partition("-")
    return Sample(count=70, sizes=(8, 5, 3), payload=payload, variable_depth=bool(depth), chunk_rows=16)


@pytest.fixture
def make_sample():
    return Sample
