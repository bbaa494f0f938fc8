"""What readers of damaged files promise, of every kind of file."""

import numpy as np

from codeword.formats.errors import FormatError


def check_damaged(opened, codes, start, stop):
    """Every way to read a file gives what was written, or a FormatError of one line.

    ``opened`` opens it, ``start`` and ``stop`` are a stretch of the items.
    """
    for read in (
        lambda reader: np.array_equal(reader.read_all(), codes),
        lambda reader: np.array_equal(reader.read(start, stop), codes[start:stop]),
        lambda reader: rows_are_right_or_lost(reader.salvage(), codes),
    ):
        try:
            assert read(opened())
        except FormatError as error:
            assert error.where
            assert "\n" not in str(error)


def rows_are_right_or_lost(salvaged, codes):
    """All that salvage did not call lost is what was written."""
    found, report = salvaged
    lost = np.ones(len(codes), dtype=bool)
    lost[: len(found)] = False
    for start, stop in report.missing:
        assert (found[start:stop] == -1).all()
        lost[start:stop] = True
    intact = ~lost[: len(found)]
    assert len(found) <= len(codes)
    assert np.array_equal(found[intact], codes[: len(found)][intact])
    assert report.num_items == intact.sum()
    assert report.problems or not lost.any()
    return True
