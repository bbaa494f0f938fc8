"""Search by brute force in float64: every query against every vector, one at a time."""

import numpy as np


def reconstruct(codes, codebooks):
    """Sums of codewords; a negative code adds nothing."""
    vectors = np.zeros((len(codes), codebooks[0].shape[1]))
    for row, code in enumerate(codes):
        for book, index in zip(codebooks, code, strict=True):
            if index >= 0:
                vectors[row] += book[index].astype(np.float64)
    return vectors


def neighbours(queries, vectors, k, metric="l2"):
    """Numbers and distances of the k best vectors of every query; ties go to the lowest number, gaps are -1."""
    ids, distances = np.full((len(queries), k), -1), np.full((len(queries), k), np.inf if metric == "l2" else -np.inf)
    vectors = np.asarray(vectors, dtype=np.float64)
    for row, query in enumerate(np.asarray(queries, dtype=np.float64)):
        values = np.square(vectors - query).sum(1) if metric == "l2" else vectors @ query
        order = np.lexsort((np.arange(len(vectors)), values if metric == "l2" else -values))[:k]
        ids[row, : len(order)], distances[row, : len(order)] = order, values[order]
    return ids, distances


def in_lists(queries, centroids, lists, vectors, k, probes, metric="l2"):
    """The same, among the vectors whose list is one of the ``probes`` best of a query."""
    ids, distances = np.full((len(queries), k), -1), np.full((len(queries), k), np.inf if metric == "l2" else -np.inf)
    cells, _ = neighbours(queries, centroids, min(probes, len(centroids)), metric)
    for row in range(len(queries)):
        inside = np.flatnonzero(np.isin(lists, cells[row]))
        found, values = neighbours(queries[row : row + 1], vectors[inside], k, metric)
        ids[row] = np.where(found[0] >= 0, inside[found[0]] if len(inside) else -1, -1)
        distances[row] = values[0]
    return ids, distances
