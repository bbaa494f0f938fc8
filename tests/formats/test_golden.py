"""Files of every version ever released stay readable, and today's writer still makes the same bytes.

pytest tests/formats --update-golden      rewrites them: a breaking change, to be named in the changelog
"""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from codeword.entropy.tables import CodeTables
from codeword.formats.inspection import inspect
from codeword.formats.vectors import VectorCodesReader

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = {
    "vectors_packed_v1": ((256, 16, 1), "packed", False),
    "vectors_radix_v1": ((5, 1000, 3), "packed", False),
    "vectors_packed_depth_v1": ((256, 5, 10), "packed", True),
    "vectors_ranged_v1": ((40, 5, 1), "ranged", False),
    "vectors_ranged_depth_v1": ((40, 5, 3), "ranged", True),
}


@pytest.mark.parametrize("name", CASES)
def test_golden_file(name, make_sample, update_golden):
    sizes, payload, variable_depth = CASES[name]
    sample = make_sample(count=100, sizes=sizes, payload=payload, variable_depth=variable_depth, chunk_rows=48)
    path, tables_path = GOLDEN / f"{name}.cw", GOLDEN / f"{name}.json"
    if update_golden:
        path.write_bytes(sample.data())
        if payload == "ranged":
            counts = {key: table.tolist() for key, table in sample.tables.arrays().items()}
            tables_path.write_text(json.dumps(counts) + "\n")
    tables = None
    if payload == "ranged":
        stored = json.loads(tables_path.read_text())
        tables = CodeTables.from_arrays({key: np.array(table) for key, table in stored.items()})
        assert tables.fingerprint() == sample.tables.fingerprint()
    reader = VectorCodesReader(io.BytesIO(path.read_bytes()), tables=tables)
    assert np.array_equal(reader.read_all(), sample.codes)
    assert np.array_equal(reader.read(40, 97), sample.codes[40:97])
    assert inspect(path).intact
    assert path.read_bytes() == sample.data()
