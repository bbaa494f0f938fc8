"""The published stand-alone training of a codebook, in NumPy float64: Adam on the squared error."""

import numpy as np


def nearest(x, table):
    return np.array([np.argmin([np.sum((row - word) ** 2) for word in table]) for row in x])


def train(batches, table, rate=1e-3):
    """Adam (Kingma and Ba 2015, algorithm 1) on mean |x - c|^2 / D: what noise substitution comes to without a network.

    Yields the loss before every step and the table after it.
    """
    table = np.array(table, dtype=np.float64)
    first, second = np.zeros_like(table), np.zeros_like(table)
    for step, batch in enumerate(batches, 1):
        x = np.asarray(batch, dtype=np.float64)
        code = nearest(x, table)
        gradient = np.zeros_like(table)
        for row, word in zip(x, code, strict=True):
            gradient[word] += 2 * (table[word] - row) / x.size
        loss = np.mean((x - table[code]) ** 2)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        table -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        yield loss, table.copy()
