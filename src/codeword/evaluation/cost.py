"""What encoding costs: as published, corrected, and for the algorithms that run here."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from codeword.functional.complexity import (
    Convention,
    Cost,
    additive_encode_cost,
    additive_wmops,
    machine_limit,
    product_encode_cost,
    product_wmops,
    residual_beam_cost,
    residual_greedy_cost,
    residual_wmops,
    share_of_limit,
)
from codeword.quantizers import (
    AdditiveQuantizer,
    Beam,
    Greedy,
    ProductQuantizer,
    Quantizer,
    Refined,
    ResidualQuantizer,
    VectorQuantizer,
)

_MEASURED_VECTORS = 8192


class CostSettings(NamedTuple):
    """A multi-codebook quantizer in numbers."""

    dim: int
    size: int
    levels: int
    beam: int
    sweeps: int


def cost_rows(settings: CostSettings) -> list[tuple[str, ...]]:
    """WMOPS of the ICASSP calculator, as published and corrected, and operations of our algorithms, per vector.

    Raises:
        ValueError: If the settings do not fit, such as blocks that do not divide the dimension.
    """
    _check(settings)
    dim, size, levels, beam, _ = settings
    product_wmops(dim, size, levels)  # refuses blocks that do not divide the dimension
    published: dict[str, Callable[[Convention], float]] = {
        "product": lambda c: product_wmops(dim, size, levels, convention=c),
        "residual, greedy": lambda c: residual_wmops(dim, size, levels, convention=c),
        "additive": lambda c: additive_wmops(dim, size, levels, beam, convention=c),
    }
    rows: list[tuple[str, ...]] = [
        ("per vector", "WMOPS published", "WMOPS corrected", "flops", "table adds", "comparisons", "bytes")
    ]
    for name, cost in _costs(settings).items():
        wmops = published.get(name)
        known = ("", "") if wmops is None else tuple(_wmops(wmops, c) for c in Convention)
        rows.append((name, *known, str(cost.flops), str(cost.table_adds), str(cost.comparisons), str(cost.bytes)))
    return rows


def _wmops(count: Callable[[Convention], float], convention: Convention) -> str:
    """A count, or a dash where a convention has none: for one level, or a beam wider than the codebook."""
    try:
        return f"{count(convention):.6g}"
    except ValueError:
        return "-"


def limit_rows(settings: CostSettings) -> list[tuple[str, ...]]:
    """Measured encoding speed of random codebooks beside what this machine could do at best."""
    _check(settings)
    dim, size, levels, beam, sweeps = settings
    limit = machine_limit()
    torch.manual_seed(0)
    x = torch.randn(_MEASURED_VECTORS, dim)
    searches = {"residual, greedy": Greedy(), f"residual, beam {beam}": Beam(beam)}
    quantizers: dict[str, Quantizer] = {
        "product": ProductQuantizer([_level(dim // levels, size) for _ in range(levels)]),
        **{n: ResidualQuantizer([_level(dim, size) for _ in range(levels)], search=s) for n, s in searches.items()},
        "additive": AdditiveQuantizer([_level(dim, size) for _ in range(levels)], search=Refined(Beam(beam), sweeps)),
    }
    rows: list[tuple[str, ...]] = [("encoding here", "vectors per second", "share of the machine's limit")]
    for name, cost in _costs(settings).items():
        seconds = _seconds(quantizers[name], x)
        share = share_of_limit(cost * len(x), seconds, limit)
        rows.append((name, f"{len(x) / seconds:.0f}", f"{share:.1%}"))
    return rows


def _check(settings: CostSettings) -> None:
    for name, bound in CostSettings(dim=1, size=1, levels=1, beam=1, sweeps=0)._asdict().items():
        if settings._asdict()[name] < bound:
            raise ValueError(f"{name} must be at least {bound}, got {settings._asdict()[name]}")


def _costs(settings: CostSettings) -> dict[str, Cost]:
    dim, size, levels, beam, sweeps = settings
    sizes = [size] * levels
    return {
        "product": product_encode_cost(dim, sizes),
        "residual, greedy": residual_greedy_cost(dim, sizes),
        f"residual, beam {beam}": residual_beam_cost(dim, sizes, beam),
        "additive": additive_encode_cost(dim, sizes, beam, sweeps),
    }


def _level(dim: int, size: int) -> VectorQuantizer:
    level = VectorQuantizer(dim, size)
    level.codebook.assign(torch.randn(size, dim))
    return level.eval()


def _seconds(quantizer: Quantizer, x: torch.Tensor) -> float:
    quantizer.encode(x[:256])
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        quantizer.encode(x)
        best = min(best, time.perf_counter() - start)
    return best
