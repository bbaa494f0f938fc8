"""k-means and rotations by loops in float64: what the trainers are held against."""

import numpy as np


def partition_sums(x, codes, size, weights):
    """Weight and weighted sum of every cluster; negative codes belong to none."""
    counts, sums = np.zeros(size), np.zeros((size, x.shape[1]))
    for vector, code, weight in zip(x.astype(np.float64), codes, weights, strict=True):
        if code >= 0:
            counts[code] += weight
            sums[code] += weight * vector
    return counts, sums


def assign(x, codebook):
    """Nearest codeword of every vector."""
    return np.array([np.square(vector - codebook).sum(1).argmin() for vector in x])


def lloyd_step(x, codebook, weights):
    """Codebook after one step, and the mean squared error before it; every cluster must have a vector."""
    codes = assign(x, codebook)
    counts, sums = partition_sums(x, codes, len(codebook), weights)
    error = (weights * np.square(x - codebook[codes]).sum(1)).sum() / weights.sum()
    return sums / counts[:, None], error


def procrustes(x, goal):
    """The rotation R that brings R x nearest to the goal: the polar factor of their correlation."""
    u, _, vt = np.linalg.svd(goal.T @ x)
    return u @ vt
