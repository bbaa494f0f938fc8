"""``codeword complexity``."""

from dataclasses import dataclass

from codeword.cli.common import print_table


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """What encoding one vector costs: published WMOPS, corrected WMOPS, and the operations of our own algorithms."""

    dim: int = 64
    """Features of a vector."""
    size: int = 256
    """Codewords per level."""
    levels: int = 4
    """Codes per vector."""
    beam: int = 16
    """Width of the beam of additive and residual codes."""
    sweeps: int = 4
    """Sweeps of iterated conditional modes."""
    measure: bool = False
    """Also measure this machine's limits and how near our encoders come to them (some seconds)."""

    def run(self) -> None:
        """Compute and print."""
        from codeword.evaluation.cost import CostSettings, cost_rows, limit_rows

        settings = CostSettings(self.dim, self.size, self.levels, self.beam, self.sweeps)
        print_table(cost_rows(settings))
        if self.measure:
            print()
            print_table(limit_rows(settings))
