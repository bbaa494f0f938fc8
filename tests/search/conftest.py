"""FAISS, where it is installed."""

import pytest


@pytest.fixture
def faiss():
    module = pytest.importorskip("faiss")
    module.omp_set_num_threads(1)
    return module
