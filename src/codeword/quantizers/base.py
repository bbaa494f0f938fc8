"""The contract of every quantizer, and the one ``forward`` they share."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from codeword.functional.matmul import wide
from codeword.functional.ranks import mean_count
from codeword.quantizers.config import build, describe
from codeword.quantizers.estimator import Estimator
from codeword.types import Quantized, Selected

CONFIG, WEIGHTS, VERSION = "config.json", "model.safetensors", 1


class FullPrecisionBuffers(nn.Module):
    """Moves with its model, but keeps its own buffers in their precision: bfloat16 would lose small increments."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FullPrecisionBuffers":
        before = {n: b for n, b in self._buffers.items() if b is not None and b.is_floating_point()}
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            after = self._buffers[name]
            if after is not None and after.dtype != buffer.dtype:
                self._buffers[name] = buffer.to(after.device)
        return self


class Quantizer(FullPrecisionBuffers, ModelHubMixin, ABC):
    """Vectors to codes and back, trainable inside a network.

    ::

        x (*batch, dim) ──┬──────────────► select ──► codes (*batch, levels), losses (*batch)
                          │                   │ codewords
                          └──► estimator ◄────┘
                                   │
                                   ▼
                           vectors (*batch, dim)

    Only the outermost quantizer's ``forward`` uses its estimator; inner ones are asked for ``select``.

    Attributes:
        dim: Features of a vector.
        sizes: Codebook size of every level.
        estimator: How the gradient crosses the search.
        gates: How many gates a vector takes: the stages of a residual quantizer, 0 where there is nothing to gate.
    """

    dim: int
    sizes: tuple[int, ...]
    estimator: Estimator
    gates: int = 0

    @property
    def levels(self) -> int:
        """Codes per vector."""
        return len(self.sizes)

    @property
    def bits_per_vector(self) -> float:
        """Information of a full code, the sum of log2(size)."""
        return sum(math.log2(size) for size in self.sizes)

    def forward(
        self,
        x: Float[Tensor, "*batch dim"],
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
    ) -> Quantized:
        """Quantize inside a network.

        Args:
            x: Vectors.
            mask: True where a vector is real. Padding comes back as zeros and codes of -1 and touches no statistic.
            gate: Non-increasing over levels, 0 or 1 in value; how many levels each vector spends.

        Raises:
            ValueError: If shapes or dtype do not fit, a gate is given to a quantizer without levels to gate, the
                codebook is not seeded in evaluation mode, or nothing would train the codebook.
        """
        self._check(x, mask, gate)
        if not x.is_floating_point():
            raise ValueError(f"a forward returns vectors of the dtype of its input, got {x.dtype}: pass x.float()")
        dtype, x = x.dtype, wide(x)
        if mask is not None:
            x = torch.where(mask.unsqueeze(-1), x, 0.0)  # whatever padding holds reaches no gradient, not even NaN
        straight = self.estimator.straight or not self.training
        selected = self.select(x, mask=mask, gate=gate, straight=straight)
        vectors = selected.vectors if straight else self.estimator(x, selected.vectors)
        if selected.carrier is not None:
            vectors = vectors + selected.carrier
        codes, losses = selected.codes, selected.losses
        if mask is not None:
            vectors = torch.where(mask.unsqueeze(-1), vectors, 0.0)
            codes = torch.where(mask.unsqueeze(-1), codes, -1)
        return Quantized(vectors.to(dtype), codes, _mean_loss(losses, mask) if self.training else losses.new_zeros(()))

    def encode(
        self, x: Float[Tensor, "*batch dim"], depth: int | Int[Tensor, "*batch"] | None = None
    ) -> Int[Tensor, "*batch levels"]:
        """Codes of vectors: deterministic, without gradient, the same however vectors are batched.

        Args:
            x: Vectors.
            depth: Levels to spend, one number for all or one per vector; codes beyond are -1.
        """
        self._check(x, None, None)
        if depth is not None and not self.gates:
            raise ValueError(f"{type(self).__name__} has no levels to leave out: depth must be None, got {depth}")
        if depth is not None:
            depth = torch.as_tensor(depth, device=x.device).expand(x.shape[:-1])
            if depth.numel() and (int(depth.min()) < 0 or int(depth.max()) > self.gates):
                raise ValueError(
                    f"depth must lie in 0..{self.gates} for this quantizer, got {int(depth.min())}..{int(depth.max())}"
                )
        with torch.no_grad():
            return self.search_codes(wide(x), depth)

    @abstractmethod
    def select(
        self,
        x: Float[Tensor, "*batch dim"],
        *,
        mask: Bool[Tensor, "*batch"] | None = None,
        gate: Float[Tensor, "*batch gates"] | None = None,
        straight: bool = True,
        target: Float[Tensor, "*batch dim"] | None = None,
    ) -> Selected:
        """Codewords for an enclosing quantizer, in one of two gradients.

        Args:
            x: Vectors, with the gradient of the output path.
            mask: True where a vector is real.
            gate: How many levels each vector spends.
            straight: Whether the codewords carry the gradient of ``x`` passed straight through (inside projections);
                otherwise they are differentiable in the codebook.
            target: The values of ``x`` with the gradient of the losses; ``None`` means ``x`` itself.
        """

    @abstractmethod
    def search_codes(
        self, x: Float[Tensor, "*batch dim"], depth: Int[Tensor, "*batch"] | None
    ) -> Int[Tensor, "*batch levels"]:
        """The search behind ``encode``; ``depth`` has been checked."""

    @abstractmethod
    def decode(self, codes: Int[Tensor, "*batch levels"]) -> Float[Tensor, "*batch dim"]:
        """Vectors of codes; a code of -1 adds nothing.

        Raises:
            ValueError: If the number of levels does not fit or, on the processor, a code lies beyond its codebook.
        """

    @abstractmethod
    def codebooks(self) -> list[Float[Tensor, "_ dim"]]:
        """One table per level in the space of ``x``, such that a decoded vector is the sum of its rows.

        Raises:
            ValueError: For a quantizer whose decoder is not such a sum.
        """

    @abstractmethod
    def scores(self, x: Float[Tensor, "*batch dim"], level: int = 0) -> Float[Tensor, "*batch size"]:
        """Scores of a level's codewords for soft codes and sampling; the largest is the code of a greedy search."""

    @abstractmethod
    def arguments(self) -> dict[str, object]:
        """The constructor's arguments by name, for the saved configuration."""

    def _check(self, x: Tensor, mask: Tensor | None, gate: Tensor | None) -> None:
        name = type(self).__name__
        if x.shape[-1:] != (self.dim,):
            raise ValueError(
                f"{name} quantizes vectors of {self.dim} features, features last: got shape {tuple(x.shape)}; "
                "ChannelsFirst(quantizer) takes (batch, channels, *positions)"
            )
        if gate is not None and gate.shape != (*x.shape[:-1], self.gates):
            raise ValueError(
                f"{name} takes {f'a gate of shape {(*x.shape[:-1], self.gates)}' if self.gates else 'no gate'}: "
                f"got one of shape {tuple(gate.shape)}"
            )
        if mask is not None and mask.shape != x.shape[:-1]:
            raise ValueError(f"the mask of {name} must have shape {tuple(x.shape[:-1])}, got {tuple(mask.shape)}")
        if self.training:
            self.check_training(self.estimator)

    def check_training(self, estimator: Estimator) -> None:
        """Refuse an estimator under which a part would never learn; composed quantizers ask their parts.

        Raises:
            ValueError: Naming the part and the repair.
        """

    def check_levels(self, codes: Tensor) -> None:
        """Refuse codes with another number of levels or, on the processor, codes beyond their codebook."""
        if codes.shape[-1] != self.levels:
            raise ValueError(
                f"{type(self).__name__} decodes {self.levels} codes per vector (-1 for absent levels), "
                f"got shape {tuple(codes.shape)}"
            )
        # On the processor alone: elsewhere the host would wait. One pass finds that all is well in the usual case.
        if codes.device.type != "cpu" or torch.compiler.is_compiling() or not codes.numel():
            return
        if int(codes.max()) >= min(self.sizes):
            for level, (size, part) in enumerate(zip(self.sizes, codes.unbind(-1), strict=True)):
                if int(part.max()) >= size:
                    raise ValueError(
                        f"level {level} holds the code {int(part.max())}, outside its codebook of size {size}: "
                        "codes are 0 to size - 1, or -1 where a level is absent"
                    )

    def _save_pretrained(self, save_directory: Path) -> None:
        save_file(weights(self), save_directory / WEIGHTS)
        config = {"format": "codeword quantizer", "version": VERSION, "quantizer": describe(self)}
        (save_directory / CONFIG).write_text(json.dumps(config, indent=2) + "\n")

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        **_: object,
    ) -> "Quantizer":
        folder = Path(model_id)
        if not folder.is_dir():
            download = snapshot_download(
                model_id,
                allow_patterns=[CONFIG, WEIGHTS],
                revision=revision,
                cache_dir=cache_dir,
                token=token,
                force_download=force_download,
                local_files_only=local_files_only,
            )
            folder = Path(download)
        model = load(folder)
        if not isinstance(model, cls):
            raise ValueError(f"{model_id} holds a {type(model).__name__}, not a {cls.__name__}: load it as such")
        return model


def load(folder: str | Path) -> Quantizer:
    """Read a quantizer that ``save_pretrained`` wrote, of whatever class.

    Raises:
        ValueError: If the folder holds no quantizer, or one of a version or shape that does not fit.
    """
    folder = Path(folder)
    path = folder / CONFIG
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise ValueError(f"{folder} is no codeword model: it needs {CONFIG} and {WEIGHTS}")
    try:
        config = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != "codeword quantizer":
        raise ValueError(f"{path} does not describe a codeword quantizer: was it written by save_pretrained?")
    if config.get("version") != VERSION:
        raise ValueError(f"{path} is of version {config.get('version')}; this codeword reads version {VERSION}")
    model = build(config.get("quantizer"))
    if not isinstance(model, Quantizer):
        raise ValueError(f"{path} describes a {type(model).__name__}, not a quantizer")
    try:
        put_weights(model, load_file(folder / WEIGHTS))
    except (RuntimeError, OSError, SafetensorError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{folder / WEIGHTS} is damaged or does not fit {path}: {what}") from error
    return model.eval()


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model, under the first of its names where a part stands in several places."""
    first: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    return {name: v.detach().contiguous() for name, v in state.items() if first.setdefault(id(v), name) == name}


def put_weights(model: nn.Module, given: dict[str, Tensor]) -> None:
    """Give a model what ``weights`` has returned.

    Raises:
        RuntimeError: If names or shapes do not fit.
    """
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(v), name) for name, v in model.state_dict(keep_vars=True).items()}
    model.load_state_dict(given | {name: given[own] for name, own in names.items() if own in given}, strict=True)


def _mean_loss(losses: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return losses.mean() if losses.numel() else losses.sum()
    # Divided by the mean count over ranks, so that averaging gradients over ranks gives the mean over all vectors.
    return torch.where(mask, losses, 0.0).sum() / mean_count(mask.sum().float()).clamp_min(1.0)
