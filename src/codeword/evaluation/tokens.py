"""How a tokenizer uses its codebooks on a data set: counts, files of figures, and samples for pictures."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from codeword.formats.atomic import atomic_write
from codeword.metrics.tokens import TokenCounts, TokenReport
from codeword.pretraining.samples import Samples
from codeword.pretraining.token_files import tokens_of
from codeword.pretraining.tokenizer import Tokenizer

Progress = Callable[[float, float | None], object]


class TokenizedSamples(NamedTuple):
    """Some samples with their tokens, for a picture.

    Attributes:
        values: Inputs of the tokenizer.
        codes: Tokens of view 0; -1 in padding.
        grid: Patches along every axis.
    """

    values: Float[Tensor, "batch channels *size"]
    codes: Int[Tensor, "batch patches levels"]
    grid: tuple[int, ...]


def evaluate_tokens(
    tokenizer: Tokenizer, samples: Samples, *, batch: int = 64, progress: Progress | None = None
) -> TokenReport:
    """Count the tokens of view 0 of all samples.

    Args:
        tokenizer: Set to evaluation.
        samples: At least some thousands, for codebooks of some hundred codewords.
        batch: Samples that are tokenized at a time.
        progress: Called with the samples done and all samples.
    """
    counts = TokenCounts(tokenizer.quantizer.sizes, math.prod(samples.grid))
    for codes in tokens_of(tokenizer, samples, range(len(samples)), batch=batch):
        counts.add(codes)
        if progress is not None:
            progress(counts.samples, len(samples))
    return counts.report()


def tokenized(tokenizer: Tokenizer, samples: Samples, numbers: Sequence[int]) -> TokenizedSamples:
    """Some samples with their tokens."""
    values = samples.inputs(numbers, [0] * len(numbers)).values
    codes = torch.cat(list(tokens_of(tokenizer, samples, numbers, batch=max(len(numbers), 1))))
    return TokenizedSamples(values, codes, samples.grid)


def write_reports(reports: Mapping[str, TokenReport], path: Path) -> None:
    """Write reports by name as JSON; what is not a number becomes ``null``."""
    plain = {name: _plain(asdict(report)) for name, report in reports.items()}
    with atomic_write(path) as file:
        file.write(json.dumps(plain, indent=1, allow_nan=False).encode())


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
