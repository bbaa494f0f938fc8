"""Tokens of a frozen tokenizer, made once for every view of every sample and kept on a disk."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from codeword.formats.atomic import atomic_write
from codeword.pretraining.samples import Samples
from codeword.pretraining.tokenizer import Tokenizer

_TOKENS, _STATE = "tokens.npy", "tokens.json"
_LARGEST = np.iinfo(np.uint16).max  # stands for -1

Progress = Callable[[float, float | None], object]


class TokenCache:
    """Codes by sample and view, as they were when they were made.

    Filling may be interrupted: what was finished is not made again. A cache of another tokenizer, of other samples or
    of other augmentations is refused.

    Args:
        folder: Where; made if it is not there.
        tokenizer: What makes the tokens.
        samples: Of what.
        views: Views of every sample.

    Raises:
        ValueError: In one line, if the folder holds tokens of something else.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, samples: Samples, views: int):
        self.folder, self.samples, self.views = folder, samples, views
        self._tokenizer = tokenizer
        patches = int(np.prod(samples.grid))
        shape = (len(samples), views, patches, tokenizer.quantizer.levels)
        identity: dict[str, object] = {
            "tokenizer": tokenizer.fingerprint(),
            "shape": list(shape),
            **{f"data: {name}": value for name, value in samples.configuration().items()},
        }
        self._identity = json.loads(json.dumps(identity))
        state = self._state()
        if state is None:
            folder.mkdir(parents=True, exist_ok=True)
            self._codes = np.lib.format.open_memmap(folder / _TOKENS, "w+", dtype=np.uint16, shape=shape)
            self._write(0)
        else:
            self._refuse_another(state)
            self._codes = np.lib.format.open_memmap(folder / _TOKENS, "r+")

    @property
    def done(self) -> int:
        """Samples whose tokens are all there."""
        state = self._state()
        return 0 if state is None else int(str(state["done"]))

    def fill(self, *, batch: int = 256, progress: Progress | None = None) -> None:
        """Make the tokens that are not there yet."""
        count, step = len(self.samples), max(1, batch // self.views)
        for start in range(self.done, count, step):
            stop = min(start + step, count)
            # All views of a sample at once: some may come from one decoded clip.
            pairs = [(number, view) for number in range(start, stop) for view in range(self.views)]
            x, valid = self.samples.inputs(*map(list, zip(*pairs, strict=True)))
            codes = self._tokenizer.encode(x, valid)
            kept = torch.where(codes < 0, _LARGEST, codes).cpu().numpy().astype(np.uint16)
            self._codes[start:stop] = kept.reshape(stop - start, self.views, *kept.shape[1:])
            self._codes.flush()
            self._write(stop)
            if progress is not None:
                progress(stop, count)

    def read(self, samples: Sequence[int], views: Sequence[int]) -> Int[Tensor, "batch patches levels"]:
        """Tokens of views of samples; -1 in padding.

        Raises:
            ValueError: If some have not been made.
        """
        if max(samples, default=-1) >= self.done:
            raise ValueError(
                f"{self.folder} has the tokens of {self.done} of {len(self.samples)} samples: fill it first"
            )
        codes = torch.from_numpy(self._codes[list(samples), list(views)].astype(np.int64))
        return torch.where(codes == _LARGEST, -1, codes)

    def _state(self) -> Mapping[str, object] | None:
        path = self.folder / _STATE
        return json.loads(path.read_text()) if path.is_file() else None

    def _refuse_another(self, state: Mapping[str, object]) -> None:
        for name, value in self._identity.items():
            if state.get(name) != value:
                raise ValueError(
                    f"{self.folder} holds tokens made with another {name} ({_short(state.get(name))}, now "
                    f"{_short(value)}): remove the folder, or name another one"
                )

    def _write(self, done: int) -> None:
        with atomic_write(self.folder / _STATE) as file:
            file.write(json.dumps({**self._identity, "done": done}, indent=1).encode())


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
