"""Audio files of every version ever released stay readable, and today's writer still makes the same bytes.

pytest tests/formats --update-golden      rewrites them: a breaking change, to be named in the changelog
"""

import json
from pathlib import Path

import numpy as np
import pytest

from codeword.entropy.frames import FrameTables
from codeword.formats.audio import AudioFileReader
from codeword.formats.inspection import inspect
from formats.audio_samples import VARIANTS, sample_of, write

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", VARIANTS)
def test_golden_file(name, update_golden):
    sample = sample_of(name)
    path = GOLDEN / f"audio_{name.replace('-', '_')}_v1.cw"
    tables_path = path.with_suffix(".json")
    if update_golden:
        path.write_bytes(sample.data())
        if sample.tables is not None:
            counts = {key: table.tolist() for key, table in sample.tables.arrays().items()}
            tables_path.write_text(json.dumps(counts) + "\n")
    tables = None
    if tables_path.is_file():
        stored = json.loads(tables_path.read_text())
        tables = FrameTables.from_arrays({key: np.array(table) for key, table in stored.items()})
    reader = AudioFileReader(path, tables=tables)
    assert np.array_equal(reader.read_all(), sample.codes)
    assert np.array_equal(reader.read(20, 63, 2), sample.codes[:, 20:63, :2])
    assert reader.num_samples == sample.num_samples
    reader.close()
    assert inspect(path).intact
    # The tables are those of the file: how they are learned may change, what they write may not.
    again = write(sample.codes, sample.header, tables=tables, num_samples=sample.num_samples)
    assert path.read_bytes() == again
