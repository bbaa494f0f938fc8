"""Whatever index a file holds."""

import os

from codeword.search.coded import CodedIndex
from codeword.search.flat import FlatIndex
from codeword.search.inverted import InvertedIndex
from codeword.search.storage import read

_KINDS = {kind.KIND: kind for kind in (FlatIndex, CodedIndex, InvertedIndex)}


def load_index(path: str | os.PathLike[str]) -> FlatIndex | CodedIndex | InvertedIndex:
    """Read an index that its ``save`` has written.

    Raises:
        ValueError: If the file is missing, damaged, foreign, or of another version.
    """
    saved = read(path)
    kind = saved.header.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"{saved.path} holds an index of kind {kind!r}; known are {', '.join(sorted(_KINDS))}")
    return _KINDS[kind].restore(saved)
