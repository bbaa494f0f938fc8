"""What an index is given: matrices that grow, and checks that speak to the caller."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Integer, Shaped
from torch import Tensor

from codeword.data.vectors import check_finite, check_scale

_UNSIGNED = {torch.uint16, torch.uint32, torch.uint64}  # PyTorch can do little with these but convert them
_LARGE = 2.0**40  # far below what check_scale refuses, in any dimension


class Rows:
    """A matrix that grows at the end; parts are joined when it is next read, so many small additions stay cheap."""

    def __init__(self, empty: Shaped[Tensor, "0 ..."]):
        self._parts = [empty]
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def tensor(self) -> Shaped[Tensor, "rows ..."]:
        """All rows."""
        if len(self._parts) > 1:
            self._parts = [torch.cat(self._parts)]
        return self._parts[0]

    def append(self, rows: Shaped[Tensor, "rows ..."]) -> None:
        """Add rows; the matrix takes their type if it is the wider one."""
        wider = torch.promote_types(rows.dtype, self._parts[0].dtype)
        parts = (*self._parts, rows) if self._length else (rows,)  # the first rows also say on which device
        self._parts = [part.detach().to(wider) for part in parts]
        self._length += len(rows)

    def reorder(self, order: Int[Tensor, " rows"]) -> None:
        """Put the rows into another order."""
        self._parts = [self.tensor.index_select(0, order)]


def check_vectors(vectors: Float[Tensor, "..."], dim: int, what: str) -> None:
    """Refuse anything but finite rows of ``dim`` features, whose squared distances are finite in float32.

    Raises:
        ValueError: With the shape, or the first row that is wrong.
    """
    if not isinstance(vectors, Tensor):  # as those who come from FAISS have them
        raise ValueError(f"this index takes {what} as a tensor, got {type(vectors).__name__}: torch.from_numpy(array)")
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise ValueError(f"this index takes {what} of shape (rows, {dim}), got {tuple(vectors.shape)}")
    if not vectors.numel():
        return
    low, high = torch.aminmax(vectors.detach())
    if not max(-float(low), float(high)) < _LARGE:  # NaN as well; the usual case is told by one pass
        check_finite(vectors, name=what)
        check_scale(vectors, name=what)


def check_count(name: str, value: int) -> None:
    """Refuse a count below 1.

    Raises:
        ValueError: With the name of the argument.
    """
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def check_metric(metric: str) -> None:
    """Refuse an unknown metric.

    Raises:
        ValueError: With the two that there are.
    """
    if metric not in ("l2", "ip"):
        raise ValueError(f"the metric of an index is 'l2' or 'ip', got {metric!r}")


def check_codes(codes: Integer[Tensor, "..."], sizes: Sequence[int]) -> Integer[Tensor, "vectors levels"]:
    """The codes, unless there is another number of levels, or one outside its codebook; -1 stands for no codeword.

    Raises:
        ValueError: Naming the first level that is wrong.
    """
    if codes.ndim != 2 or codes.shape[1] != len(sizes):
        raise ValueError(f"this index takes codes of shape (vectors, {len(sizes)}), got {tuple(codes.shape)}")
    check_integers("codes", codes)
    codes = codes.long() if codes.dtype in _UNSIGNED else codes
    if not len(codes):
        return codes
    least, most = (bound.tolist() for bound in codes.aminmax(dim=0))
    for level, size in enumerate(sizes):
        if least[level] < -1 or most[level] >= size:
            raise ValueError(
                f"codes of level {level} must lie in 0..{size - 1}, or be -1 for none: "
                f"got {least[level]}..{most[level]}"
            )
    return codes


def check_integers(name: str, numbers: Tensor) -> None:
    """Refuse fractions, also in files that were altered.

    Raises:
        ValueError: With the type that came.
    """
    if numbers.is_floating_point() or numbers.is_complex():
        raise ValueError(f"{name} must be integers, got {numbers.dtype}")


def compact(codes: Integer[Tensor, "vectors levels"], sizes: Sequence[int]) -> Integer[Tensor, "vectors levels"]:
    """Codes in the narrowest type that holds them all; -1, where it occurs, needs a signed one."""
    if max(sizes) <= 1 << 8 and not bool((codes < 0).any()):
        return codes.to(torch.uint8)
    return codes.to(torch.int16 if max(sizes) <= 1 << 15 else torch.int32)
