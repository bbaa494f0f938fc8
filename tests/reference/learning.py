"""Moving averages and the published replacement, in loops over float64 numbers."""

import numpy as np


class MovingAverages:
    """BRIDLE equations (9) to (13) with Laplace smoothing; rows that nothing chose stay."""

    def __init__(self, table, decay, smoothing):
        self.table = np.array([list(map(float, row)) for row in table])
        self.counts = np.ones(len(table))
        self.sums = self.table.copy()
        self.decay, self.smoothing = decay, smoothing

    def step(self, x):
        x = np.array([list(map(float, row)) for row in x])
        chosen = [int(np.argmin([((row - c) ** 2).sum() for c in self.table])) for row in x]
        for k in range(len(self.table)):
            mine = [row for row, code in zip(x, chosen, strict=True) if code == k]
            self.counts[k] = self.decay * self.counts[k] + (1 - self.decay) * len(mine)
            self.sums[k] = self.decay * self.sums[k] + (1 - self.decay) * sum(mine, np.zeros(x.shape[1]))
        n = self.counts.sum()
        for k in set(chosen):
            smoothed = (self.counts[k] + self.smoothing) / (n + len(self.table) * self.smoothing) * n
            self.table[k] = self.sums[k] / smoothed


def replacement_parents(used, draws):
    """Which row overwrites each unused row, as published: used rows tiled if they are too few, shuffled, in turn.

    Args:
        used: One bool a row.
        draws: Random numbers; the pool is shuffled into their order.
    """
    keepers = [k for k, flag in enumerate(used) if flag]
    losers = [k for k, flag in enumerate(used) if not flag]
    if not keepers:
        return {k: k for k in losers}
    pool = keepers * int(len(losers) / len(keepers) + 1) if len(keepers) < len(losers) else keepers
    order = sorted(range(len(pool)), key=lambda place: draws[place])
    return {k: pool[place] for k, place in zip(losers, order, strict=False)}
