"""A report on how well the codes of a quantizer use its codebooks, level by level and jointly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from codeword.functional import usage

_TITLES = ["level", "size", "codes", "used", "bits", "of log2 K", "perplexity", "of K"]


@dataclass(frozen=True, kw_only=True)
class LevelUsage:
    """How one level uses its codebook; entropies and information in bits.

    Attributes:
        size: Codewords in the codebook.
        num_codes: Vectors that have a code at this level.
        usage_rate: Fraction of the codewords that occur.
        entropy: Of the level's codes.
        perplexity: ``2 ** entropy``.
        conditional_entropy: Of the level's codes for who knows those of the level before; of the first level, its
            entropy.
        information: What the level shares with the level before; of the first level, 0.
        information_floor: What the same codes seem to share once shuffled: the reading that means "independent".
        entropy_given_side: Of the level's codes for who knows the side information; ``None`` when there is none.
        effective_code_usage: BRIDLE's ECU as published, which shrinks as usage gets better.
    """

    size: int
    num_codes: int
    usage_rate: float
    entropy: float
    perplexity: float
    conditional_entropy: float
    information: float
    information_floor: float
    entropy_given_side: float | None
    effective_code_usage: float

    @property
    def entropy_share(self) -> float:
        """Entropy over ``log2 size``; 1 for a codebook of one codeword, which cannot do better."""
        return self.entropy / math.log2(self.size) if self.size > 1 else 1.0

    @property
    def perplexity_share(self) -> float:
        """Perplexity over ``size``."""
        return self.perplexity / self.size


@dataclass(frozen=True, kw_only=True)
class CodeReport:
    """How a set of codes uses the codebooks of a quantizer.

    Attributes:
        num_vectors: Vectors with a code at one level or more; the others are padding.
        num_complete: Vectors with a code at every level; the joint numbers are about these.
        levels: One entry a level.
        joint_entropy: Of whole code tuples, in bits; never above ``log2(num_complete)``.
        total_correlation: Sum of the levels' entropies less the joint entropy, in bits, over the complete vectors:
            what coding the levels one by one wastes.
    """

    num_vectors: int
    num_complete: int
    levels: tuple[LevelUsage, ...]
    joint_entropy: float
    total_correlation: float

    @property
    def bits_per_vector(self) -> float:
        """Bits of a code at fixed length, ``sum_m log2 K_m``."""
        return math.fsum(math.log2(level.size) for level in self.levels)

    def table(self) -> str:
        """The report as lines of plain text, one a level, with the remarks without which it would be misread."""
        titles = [*_TITLES, "bits|previous", "shared (floor)", "ECU"]
        if any(level.entropy_given_side is not None for level in self.levels):
            titles.insert(-1, "bits|side")
        rows = [titles, *(_cells(number, level) for number, level in enumerate(self.levels, start=1))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        ceiling = math.log2(self.num_complete) if self.num_complete else 0.0
        lines = [f"codes of {self.num_vectors} vectors, {self.bits_per_vector:.2f} bits each at fixed length"]
        lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        lines += [
            f"all levels at once: {self.joint_entropy:.3f} bits, {self.total_correlation:.3f} less than one by one",
            f"({self.num_complete} vectors with a code at every level cannot show more than {ceiling:.3f} bits)",
            "shared: with the level before; floor: what the same codes show once shuffled, when nothing is shared",
            "ECU: BRIDLE's Effective Code Usage as published, used / (bits ln K): it SHRINKS as usage gets better",
        ]
        return "\n".join(lines)


def code_report(
    codes: Int[Tensor, "*batch levels"], sizes: Sequence[int], *, side: Int[Tensor, "*#batch"] | None = None
) -> CodeReport:
    """Describe how ``codes`` (-1: absent) use codebooks of the given sizes.

    Shapes: codes ``(*batch, levels)``; side information ``(*batch)`` or what broadcasts to it, for instance positions
    in a sequence.

    Raises:
        ValueError: There is not one size a level, or a code does not fit its codebook.
    """
    if len(sizes) != codes.shape[-1]:
        raise ValueError(f"codes have {codes.shape[-1]} levels, got {len(sizes)} codebook sizes: give one size a level")
    present = codes >= 0
    complete = codes[present.all(dim=-1)]
    joint = float(usage.joint_entropy(complete))
    apart = math.fsum(float(usage.entropy(usage.histogram(complete[..., m], size))) for m, size in enumerate(sizes))
    return CodeReport(
        num_vectors=int(present.any(dim=-1).sum()),
        num_complete=len(complete),
        levels=tuple(_level_usage(codes, m, size, side) for m, size in enumerate(sizes)),
        joint_entropy=joint,
        total_correlation=max(apart - joint, 0.0),
    )


def _level_usage(
    codes: Int[Tensor, "*batch levels"], level: int, size: int, side: Int[Tensor, "*#batch"] | None
) -> LevelUsage:
    own = codes[..., level]
    counts = usage.histogram(own, size)
    bits = float(usage.entropy(counts))
    conditional, shared, floor = bits, 0.0, 0.0
    if level:
        previous = codes[..., level - 1]
        conditional = float(usage.conditional_entropy(own, previous))
        shared = float(usage.mutual_information(own, previous))
        floor = float(usage.shuffled_information(own, previous))
    return LevelUsage(
        size=size,
        num_codes=int(counts.sum()),
        usage_rate=float(usage.usage_rate(counts)),
        entropy=bits,
        perplexity=float(usage.perplexity(counts)),
        conditional_entropy=conditional,
        information=shared,
        information_floor=floor,
        entropy_given_side=None if side is None else float(usage.conditional_entropy(own, side)),
        effective_code_usage=float(usage.effective_code_usage(counts)),
    )


def _cells(number: int, level: LevelUsage) -> list[str]:
    cells = [
        str(number),
        str(level.size),
        str(level.num_codes),
        f"{level.usage_rate:.1%}",
        f"{level.entropy:.3f}",
        f"{level.entropy_share:.1%}",
        f"{level.perplexity:.1f}",
        f"{level.perplexity_share:.1%}",
        f"{level.conditional_entropy:.3f}",
        f"{level.information:.3f} ({level.information_floor:.3f})",
    ]
    if level.entropy_given_side is not None:
        cells.append(f"{level.entropy_given_side:.3f}")
    return [*cells, f"{level.effective_code_usage:.4f}"]
