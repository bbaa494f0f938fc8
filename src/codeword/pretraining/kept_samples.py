"""Samples that are read and augmented once, for data sets that fit into memory; and parts of data sets."""

from collections.abc import Mapping, Sequence

import torch

from codeword.data.epoch_order import Window
from codeword.pretraining.samples import Inputs, Samples


class KeptSamples:
    """The same samples, kept in memory as they are asked for until there is no room for more.

    Fixed views are the same every time, so that a file need not be decoded in every epoch.

    Args:
        samples: Where they come from.
        room: Bytes of all that is kept.
    """

    def __init__(self, samples: Samples, room: int = 2 << 30):
        self.samples, self.grid, self._room = samples, samples.grid, room
        self._kept: dict[tuple[int, int], Inputs] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def inputs(self, numbers: Sequence[int], views: Sequence[int]) -> Inputs:
        wanted = list(zip(numbers, views, strict=True))
        missing = list(dict.fromkeys(one for one in wanted if one not in self._kept))
        found: dict[tuple[int, int], Inputs] = {}
        if missing:
            values, valid = self.samples.inputs([n for n, _ in missing], [v for _, v in missing])
            for row, one in enumerate(missing):
                found[one] = Inputs(values[row], None if valid is None else valid[row])
                self._keep(one, found[one])
        rows = [self._kept.get(one) or found[one] for one in wanted]
        valid_rows = [row.valid for row in rows if row.valid is not None]
        return Inputs(torch.stack([row.values for row in rows]), torch.stack(valid_rows) if valid_rows else None)

    def window(self, size: int) -> Window:
        return self.samples.window(size)

    def configuration(self) -> Mapping[str, object]:
        return self.samples.configuration()

    def _keep(self, one: tuple[int, int], row: Inputs) -> None:
        size = row.values.nbytes + (0 if row.valid is None else row.valid.nbytes)
        if size <= self._room:
            self._room -= size
            # A row of a batch would keep the whole batch.
            self._kept[one] = Inputs(row.values.clone(), None if row.valid is None else row.valid.clone())


class SomeSamples:
    """Some of the samples of a data set.

    Args:
        samples: All of them.
        numbers: Which.
    """

    def __init__(self, samples: Samples, numbers: Sequence[int]):
        self.samples, self.numbers, self.grid = samples, tuple(numbers), samples.grid

    def __len__(self) -> int:
        return len(self.numbers)

    def inputs(self, numbers: Sequence[int], views: Sequence[int]) -> Inputs:
        return self.samples.inputs([self.numbers[number] for number in numbers], views)

    def window(self, size: int) -> Window:
        return Window(size, self.samples.window(size).files[list(self.numbers)])

    def configuration(self) -> Mapping[str, object]:
        return {**self.samples.configuration(), "numbers": list(self.numbers)}
